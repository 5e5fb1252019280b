"""Linear layers and attention through `_cpu.c`: float32 tensors on a processor with AMX, without gradients."""

import ctypes
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from kernels import _build

SOURCE = Path(__file__).with_name("_cpu.c")

LEAST_PRODUCTS = 1 << 20
"""Below so many multiplications the call costs more than it saves (measured: 37 x 100 x 55)."""
LEAST_KEYS = 24
"""Shorter sequences take torch's attention as long or less (measured: 16 keys, 12 heads of 32)."""
MOST_WIDTH = 256
"""Of a head: what lies between steps is bounded by it."""

_packed: Any = WeakTensorKeyDictionary()
"""Weight -> (its version, its tiles). Freed with the weight."""


def refusal_of_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> str | None:
    """Why this backend cannot take these arguments, or None when it can. The first call compiles the kernel."""
    if x.numel() * weight.shape[0] < LEAST_PRODUCTS:
        return "the matrices are too small to gain"
    if weight.is_inference():
        return "the weight was made in inference mode, and nobody would see it change"
    return _refusal([x, weight, bias]) or _machine()


def refusal_of_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> str | None:
    """As `refusal_of_linear`."""
    if k.shape[2] < LEAST_KEYS or q.numel() == 0:
        return "the sequence is too short to gain"
    if q.shape[-1] > MOST_WIDTH:
        return f"heads are wider than {MOST_WIDTH}"
    if q.shape[:2] != k.shape[:2] or k.shape != v.shape:
        return "keys and values have another shape than queries"
    if mask is not None and (mask.dim() != 4 or mask.shape[1] != 1):
        return "the mask differs between heads"
    if any(x.stride(3) != 1 for x in (q, k, v)):
        return "elements of a row are not adjacent"
    return _refusal([q, k, v, mask]) or _machine()


def _refusal(tensors: list[Tensor | None]) -> str | None:
    learns = torch.is_grad_enabled()
    for x in tensors:
        if x is None:
            continue
        if x.device.type != "cpu":
            return f"a tensor is on {x.device}"
        if x.dtype != torch.float32:
            return f"a tensor is {x.dtype} and the kernel takes torch.float32"
        if learns and x.requires_grad:
            return "a tensor requires gradients"
        if type(x) not in (Tensor, torch.nn.Parameter) or x.layout != torch.strided:
            return f"a tensor is a {type(x).__name__} without plain memory"
    return None


@cache
def _machine() -> str | None:
    if reason := _build.refusal(SOURCE):
        return reason
    ready = _build.functions(SOURCE).encoder_ready()
    return None if ready else "the processor has no AMX for bf16, or the system does not give it out"


def linear(x: Tensor, weight: Tensor, bias: Tensor | None, gelu: bool) -> Tensor:
    """See `kernels.encoder.linear`. The arguments have passed `refusal_of_linear`."""
    n, k = weight.shape
    rows = x.reshape(-1, k)
    rows = rows if rows.stride(1) == 1 else rows.contiguous()
    bias = None if bias is None else bias.contiguous()
    tiles, y = _tiles(weight), rows.new_empty((len(rows), n))
    _worked(
        _kernel().encoder_linear(
            rows.data_ptr(), len(rows), k, rows.stride(0), tiles.data_ptr(), n,
            None if bias is None else bias.data_ptr(), gelu, y.data_ptr(), n, torch.get_num_threads(),
        )
    )  # fmt: skip
    return y.view(*x.shape[:-1], n)


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """See `kernels.encoder.attention`. The arguments have passed `refusal_of_attention`."""
    (b, h, queries, width), keys = q.shape, k.shape[2]
    strides = (ctypes.c_int64 * 9)(*(x.stride(axis) for x in (q, k, v) for axis in range(3)))
    beside, beside_strides = None, None
    if mask is not None:
        mask = mask.expand(b, 1, queries, keys)
        mask = mask if mask.stride(3) == 1 else mask.contiguous()
        beside, beside_strides = mask.data_ptr(), (ctypes.c_int64 * 2)(mask.stride(0), mask.stride(2))
    y = q.new_empty((b, queries, h, width))
    _worked(
        _kernel().encoder_attention(
            q.data_ptr(), k.data_ptr(), v.data_ptr(), strides, beside, beside_strides,
            b, h, queries, keys, width, scale, y.data_ptr(), torch.get_num_threads(),
        )
    )  # fmt: skip
    return y


def _tiles(weight: Tensor) -> Tensor:
    """The weight as the kernel reads it, made once."""
    version, found = _packed.get(weight, (None, None))
    if version != weight._version:
        (n, k), plain = weight.shape, weight.detach().contiguous()
        found = torch.empty(-(-n // 32) * 2 * -(-k // 32) * 2048, dtype=torch.uint8)
        _kernel().encoder_pack(plain.data_ptr(), n, k, plain.stride(0), found.data_ptr())
        _packed[weight] = weight._version, found
    tiles: Tensor = found
    return tiles


def _worked(failed: int) -> None:
    if failed:
        raise MemoryError("no memory is left for the parts of a matrix product")


@cache
def _kernel() -> ctypes.CDLL:
    """The compiled functions with their argument types."""
    lib = _build.functions(SOURCE)
    pointer, size, number = _build.POINTER, _build.SIZE, _build.NUMBER
    lib.encoder_pack.argtypes = [pointer, size, size, size, pointer]
    lib.encoder_pack.restype = None
    lib.encoder_linear.argtypes = [
        *[pointer, size, size, size, pointer, size],
        *[pointer, number, pointer, size, number],
    ]
    lib.encoder_attention.argtypes = [*[pointer] * 6, *[size] * 5, _build.REAL, pointer, number]
    return lib
