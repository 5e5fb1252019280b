"""Which backend computes an operation: decided here, by device, dtype and what this machine has, and nowhere else."""

import os
import sys
from collections.abc import Callable, Mapping
from typing import Literal, cast, get_args

from kernels.errors import BackendUnavailable

Backend = Literal["reference", "cpu", "triton"]
BACKENDS: tuple[str, ...] = get_args(Backend)

#: Asks one backend of one operation whether it can run: None if it can, else the reason it cannot.
Refusal = Callable[[], str | None]


def choose(op: str, refusals: Mapping[Backend, Refusal]) -> Backend:
    """The backend that `op` shall use: the first of triton, cpu that does not refuse, else the reference.

    refusals  the backends the operation has besides its reference, each with the question whether it can run

    KERNELS=reference|cpu|triton, read at every call, forces one; BackendUnavailable says why it cannot run. While torch
    traces (compile or export) the answer is always the reference: the compiler fuses it by itself, and an exported file
    must not need this package.
    """
    torch = sys.modules.get("torch")  # what never imported it is not traced by it
    if torch is not None and torch.compiler.is_compiling():
        return "reference"
    asked = os.environ.get("KERNELS", "").strip().lower()
    if not asked:
        return next((b for b in ("triton", "cpu") if b in refusals and refusals[b]() is None), "reference")
    if asked not in BACKENDS:
        raise BackendUnavailable(f"KERNELS={asked} is no backend. Use {', '.join(BACKENDS)}, or unset it.")
    if asked == "reference":
        return "reference"
    backend = cast(Backend, asked)
    if backend not in refusals:
        have = " or ".join(f"KERNELS={b}" for b in BACKENDS if b == "reference" or b in refusals)
        raise BackendUnavailable(f"KERNELS={asked}: {op} has no {asked} backend. Use {have}, or unset it.")
    if reason := refusals[backend]():
        raise BackendUnavailable(
            f"KERNELS={asked}: {op} cannot run on it, {reason}. Use KERNELS=reference, or unset it."
        )
    return backend
