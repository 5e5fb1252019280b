"""Gated fusion: K feature blocks become one, mixed row by row with softmax gates, then optionally normalised."""

from collections.abc import Sequence

from torch import Tensor

from kernels._dispatch import choose
from kernels.errors import ShapeMismatch
from kernels.gated_fusion import _cpu, _reference

__all__ = ["gated_fusion"]


def gated_fusion(
    blocks: Sequence[Tensor] | Tensor,
    gate_logits: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """y[b] = LayerNorm(sum over k of softmax(gate_logits[b])[k] * blocks[k][b]); the LayerNorm only with a weight.

    blocks       K tensors (B, D), or one (K, B, D); any floating dtype, any strides, K >= 1
    gate_logits  (B, K)
    weight       (D,) or None;  bias (D,) or None, only together with weight
    return       (B, D) in the blocks' dtype; sums in float32 or wider

    Forward and backward each read every block once from memory: K·B·D·4 bytes in and B·D·4 out, and the same again plus
    K·B·D·4 out for gradients. float32 on the CPU runs `_cpu.c` (same bits for any number of threads; gradients of
    gradients only through the reference), anything else the reference; KERNELS=reference|cpu forces one. There is no
    Triton kernel. Raises ShapeMismatch, BackendUnavailable.
    """
    parts = list(blocks.unbind(0)) if isinstance(blocks, Tensor) else list(blocks)
    _check(parts, gate_logits, weight, bias)
    if choose("gated_fusion", {"cpu": lambda: _cpu.refusal([*parts, gate_logits, weight, bias])}) == "cpu":
        return _cpu.gated_fusion(parts, gate_logits, weight, bias, eps)
    return _reference.gated_fusion(parts, gate_logits, weight, bias, eps)


def _check(blocks: list[Tensor], logits: Tensor, weight: Tensor | None, bias: Tensor | None) -> None:
    if not blocks:
        raise ShapeMismatch("gated_fusion needs at least one block. Pass K >= 1 blocks of shape (B, D).")
    shape = blocks[0].shape
    for k, block in enumerate(blocks):
        if block.dim() != 2 or block.shape != shape or block.dtype != blocks[0].dtype:
            found = f"block {k} is {tuple(block.shape)} {block.dtype}, block 0 is {tuple(shape)} {blocks[0].dtype}"
            raise ShapeMismatch(f"{found}. All blocks must be (B, D) of one dtype.")
    if tuple(logits.shape) != (shape[0], len(blocks)):
        raise ShapeMismatch(
            f"gate_logits is {tuple(logits.shape)}; {len(blocks)} blocks of {shape[0]} rows need (B, K)."
        )
    if bias is not None and weight is None:
        raise ShapeMismatch("bias is given without weight. Pass both for a LayerNorm, or neither.")
    for name, vector in (("weight", weight), ("bias", bias)):
        if vector is not None and tuple(vector.shape) != (shape[1],):
            raise ShapeMismatch(f"{name} is {tuple(vector.shape)}; blocks of width {shape[1]} need ({shape[1]},).")
