"""What a kernel can refuse.

KernelError
├── ShapeMismatch       (ValueError)    the arguments do not fit each other
├── NotFinite           (ValueError)    NaN or infinity where only numbers may be
└── BackendUnavailable  (RuntimeError)  KERNELS= asks for a backend that cannot run here
"""


class KernelError(Exception):
    """Base of every error this package raises."""


class ShapeMismatch(KernelError, ValueError):
    """The arguments do not fit each other; the message names the shapes."""


class NotFinite(KernelError, ValueError):
    """NaN or infinity is among the values, or would be among the results; the message is a clause that says which."""


class BackendUnavailable(KernelError, RuntimeError):
    """KERNELS= asks for a backend that cannot run on these arguments or on this machine; the message says why."""
