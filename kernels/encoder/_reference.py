"""The definitions, in plain torch. Differentiable, traceable, any device and floating dtype."""

from torch import Tensor
from torch.nn import functional


def linear(x: Tensor, weight: Tensor, bias: Tensor | None, gelu: bool) -> Tensor:
    """See `kernels.encoder.linear`."""
    y = functional.linear(x, weight, bias)
    return functional.gelu(y) if gelu else y


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """See `kernels.encoder.attention`."""
    return functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale).transpose(1, 2).contiguous()
