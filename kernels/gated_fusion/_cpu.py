"""Gated fusion through `_cpu.c`: float32 tensors on the CPU, with gradients."""

import ctypes
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from kernels import _build

SOURCE = Path(__file__).with_name("_cpu.c")

# Rows are cut into chunks by the shape alone, never by the thread count, so that sums over rows keep their bits.
# At most 64 chunks bound the buffer of partial sums; at least 16 rows keep it small beside the blocks.
MOST_CHUNKS, LEAST_ROWS = 64, 16
ONE_THREAD_BELOW = 1 << 15  # elements in all blocks; waking a second thread costs about as much as reading these


def refusal(tensors: Sequence[Tensor | None]) -> str | None:
    """Why this backend cannot take these arguments, or None when it can. The first call compiles the kernel."""
    for x in tensors:
        if x is None:
            continue
        if x.device.type != "cpu":
            return f"a tensor is on {x.device}"
        if x.dtype != torch.float32:
            return f"a tensor is {x.dtype} and the kernel takes torch.float32"
        if type(x) not in (Tensor, torch.nn.Parameter) or x.layout != torch.strided:
            return f"a tensor is a {type(x).__name__} without plain memory"
        if x.dim() == 2 and x.shape[1] == 0:
            return "the blocks have no columns"
    return _build.refusal(SOURCE)


def gated_fusion(
    blocks: Sequence[Tensor], gate_logits: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    """See `kernels.gated_fusion`. The arguments have passed `refusal`."""
    y: Tensor = _GatedFusion.apply(gate_logits, weight, bias, eps, *blocks)  # type: ignore[no-untyped-call]
    return y


class _GatedFusion(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, *blocks: Tensor
    ) -> Tensor:
        rows, width = blocks[0].shape
        blocks = tuple(_adjacent(block) for block in blocks)
        logits = _adjacent(logits)
        weight = None if weight is None else weight.contiguous()
        bias = None if bias is None else bias.contiguous()
        y, gates = logits.new_empty((rows, width)), logits.new_empty((rows, len(blocks)))
        mean, rstd = logits.new_empty(rows), logits.new_empty(rows)
        _kernel().gated_fusion_forward(
            *_blocks(blocks), rows, width,
            logits.data_ptr(), logits.stride(0), _pointer(weight), _pointer(bias), eps,
            y.data_ptr(), gates.data_ptr(), mean.data_ptr(), rstd.data_ptr(),
            _chunk(rows), _threads(blocks),
        )  # fmt: skip
        ctx.save_for_backward(gates, weight, mean, rstd, *blocks)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        gates, weight, mean, rstd, *blocks = ctx.saved_tensors
        rows, width = blocks[0].shape
        dy = _adjacent(dy)
        wanted = ctx.needs_input_grad[4:]
        dblocks = [dy.new_empty((rows, width)) if want else None for want in wanted]
        dlogits = torch.empty_like(gates)
        dweight, dbias = (None, None) if weight is None else (torch.empty_like(weight), torch.empty_like(weight))
        chunk, threads = _chunk(rows), _threads(blocks)
        partial = None if weight is None else dy.new_empty((-(-rows // chunk), 2, width))
        scratch = dy.new_empty((threads, 2, width))
        _kernel().gated_fusion_backward(
            *_blocks(blocks), rows, width,
            gates.data_ptr(), _pointer(weight), mean.data_ptr(), rstd.data_ptr(),
            dy.data_ptr(), dy.stride(0), (ctypes.c_void_p * len(blocks))(*(_pointer(d) for d in dblocks)),
            dlogits.data_ptr(), _pointer(dweight), _pointer(dbias), _pointer(partial), scratch.data_ptr(),
            chunk, threads,
        )  # fmt: skip
        return dlogits, dweight, dbias if ctx.needs_input_grad[2] else None, None, *dblocks


@cache
def _kernel() -> ctypes.CDLL:
    """The compiled functions with their argument types."""
    lib = _build.functions(SOURCE)
    pointer, size = _build.POINTER, _build.SIZE
    tail = [size, _build.NUMBER]  # chunk, threads
    blocks = [pointer, pointer, size, size, size]  # data, strides, K, B, D
    lib.gated_fusion_forward.argtypes = [
        *blocks,
        pointer,
        size,
        pointer,
        pointer,
        _build.REAL,
        *[pointer] * 4,
        *tail,
    ]
    lib.gated_fusion_backward.argtypes = [*blocks, *[pointer] * 4, pointer, size, *[pointer] * 6, *tail]
    lib.gated_fusion_forward.restype = lib.gated_fusion_backward.restype = None
    return lib


def _blocks(blocks: Sequence[Tensor]) -> tuple[Any, Any, int]:
    count = len(blocks)
    data = (ctypes.c_void_p * count)(*(block.data_ptr() for block in blocks))
    return data, (ctypes.c_int64 * count)(*(block.stride(0) for block in blocks)), count


def _pointer(x: Tensor | None) -> int | None:
    return None if x is None else x.data_ptr()


def _adjacent(x: Tensor) -> Tensor:
    """`x` with adjacent elements in a row; any distance between rows is fine."""
    return x if x.stride(1) == 1 or x.shape[1] == 1 else x.contiguous()


def _chunk(rows: int) -> int:
    return max(LEAST_ROWS, -(-rows // MOST_CHUNKS))


def _threads(blocks: Sequence[Tensor]) -> int:
    return 1 if len(blocks) * blocks[0].numel() < ONE_THREAD_BELOW else torch.get_num_threads()
