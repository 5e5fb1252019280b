"""What a kernel can refuse.

KernelError
├── ShapeMismatch       (ValueError)    the arguments do not fit each other
└── BackendUnavailable  (RuntimeError)  KERNELS= asks for a backend that cannot run here
"""


class KernelError(Exception):
    """Base of every error this package raises."""


class ShapeMismatch(KernelError, ValueError):
    """The arguments do not fit each other; the message names the shapes."""


class BackendUnavailable(KernelError, RuntimeError):
    """KERNELS= asks for a backend that cannot run on these arguments or on this machine; the message says why."""
