"""Linear layers and attention, which transformers spend their time on; fast where nothing is learned."""

from torch import Tensor

from kernels._dispatch import choose
from kernels.encoder import _cpu, _reference
from kernels.errors import ShapeMismatch

__all__ = ["attention", "linear"]


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, gelu: bool = False) -> Tensor:
    """y = x weight^T + bias, with `gelu` its exact GELU.

    x       (..., K);  weight  (N, K);  bias  (N,) or None;  any one floating dtype
    return  (..., N), in that dtype

    float32 without gradients on a processor with AMX runs `_cpu.c`: three products of bf16 in place of one of float32,
    2 to 3 times as fast. Its error stays below 2e-5 of the length of a row of x times that of a row of weight, and a
    row's bits depend on nothing but that row. The weight is kept a second time, rearranged, as long as the tensor lives
    and is not changed. Rows with NaN or infinity give NaN where torch may give infinity. Anything else, and what is too
    small to gain, runs the reference; KERNELS=reference|cpu forces one. Raises ShapeMismatch, BackendUnavailable.
    """
    if x.shape[-1] != weight.shape[1]:
        raise ShapeMismatch(f"x is {tuple(x.shape)} and weight {tuple(weight.shape)}: their last axes must be equal.")
    if choose("linear", {"cpu": lambda: _cpu.refusal_of_linear(x, weight, bias)}) == "cpu":
        return _cpu.linear(x, weight, bias, gelu)
    return _reference.linear(x, weight, bias, gelu)


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """y[b, t, h] = softmax over s of (scale <q[b, h, t], k[b, h, s]> + mask[b, 0, t, s]), times v[b, h, s].

    q, k, v  (B, H, ., D), any strides;  mask  broadcasts to (B, 1, T, S), to be added, finite; or None
    return   (B, T, H, D), so that heads lie beside each other

    Which backend runs, and how exact it is, is as in `linear`.
    """
    if choose("attention", {"cpu": lambda: _cpu.refusal_of_attention(q, k, v, mask)}) == "cpu":
        return _cpu.attention(q, k, v, mask, scale)
    return _reference.attention(q, k, v, mask, scale)
