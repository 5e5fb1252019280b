"""The definition of gated fusion, in plain torch. Differentiable, traceable, any device and floating dtype."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import layer_norm


def gated_fusion(
    blocks: Sequence[Tensor], gate_logits: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    """See `kernels.gated_fusion`. Sums in float32 when the blocks are narrower, in their own dtype otherwise."""
    dtype = blocks[0].dtype
    wide = torch.promote_types(dtype, torch.float32)
    gates = torch.softmax(gate_logits.to(wide), dim=-1)  # (B, K)
    mixed = gates[:, 0:1] * blocks[0].to(wide)
    for k in range(1, len(blocks)):
        mixed = mixed + gates[:, k : k + 1] * blocks[k].to(wide)  # (B, D)
    if weight is not None:
        mixed = layer_norm(mixed, (mixed.shape[-1],), weight.to(wide), None if bias is None else bias.to(wide), eps)
    return mixed.to(dtype)
