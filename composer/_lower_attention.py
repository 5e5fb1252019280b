"""Operations that attend, as torch modules: between tokens, to one vector, to a fixed number of places.

What they learn starts where the composition equals its best known part: cross attention adds nothing, attention pooling
is the mean.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention


class AttentionPool(nn.Module):
    """Drops axis `dim` of x by a mean whose weights are a softmax of x times a learned query; starts as the mean.

    forward(x, mask (B, n) bool or None) -> x without axis `dim`; zeros for a row that is all hidden. query (width,).
    """

    def __init__(self, dim: int, features: int, width: int) -> None:
        super().__init__()
        self.dim, self.features = dim, features
        self.query = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        last = (self.dim, self.features) == (x.dim() - 2, x.dim() - 1)
        x = x if last else x.movedim((self.dim, self.features), (-2, -1))  # (B, ..., n, D)
        weights = _softmax((x * self.query).sum(-1), mask)
        pooled = (weights.unsqueeze(-1) * x).sum(-2)
        return pooled if last else pooled.movedim(-1, self.features - (self.features > self.dim))


class Perceiver(nn.Module):
    """Axis `dim` of x as `count` places, each a mean weighted by its own learned query (count, width).

    forward(x, mask (B, n) bool or None). Queries start small, so that every place starts close to the mean, and are
    drawn from a seed, so that they do not stay alike. Jaegle et al. 2021, arXiv:2103.03206, without its feed-forwards.
    """

    def __init__(self, dim: int, features: int, width: int, count: int, seed: int) -> None:
        super().__init__()
        self.dim, self.features = dim, features
        self.query = nn.Parameter(0.02 * torch.randn(count, width, generator=torch.Generator().manual_seed(seed)))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = x.movedim((self.dim, self.features), (-2, -1))  # (B, ..., n, D)
        scores = self.query @ x.transpose(-1, -2) / math.sqrt(x.shape[-1])  # (B, ..., count, n)
        return (_softmax(scores, mask) @ x).movedim((-2, -1), (self.dim, self.features))


class Attend(nn.Module):
    """forward(q, kv, mask (B, n) bool or None) -> q plus what it reads from kv, `layers` times; the shape of q.

    Layer by layer q + Wo attention(Wq norm(q), Wk norm(kv), Wv norm(kv)). With init `zero`, Wo starts at zero and the
    result is q. All axes of kv but the batch and the features are places; `masked` is the one the mask goes along. A
    row whose places are all hidden reads nothing.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        layers: int,
        init: str,
        seed: int,
        *,
        features: tuple[int, int] = (-1, -1),
        masked: int = 1,
    ) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.features, self.masked = features, masked
        self.layers = nn.ModuleList(_Layer(width, heads, init, generator) for _ in range(layers))

    def forward(self, q: Tensor, kv: Tensor, mask: Tensor | None = None) -> Tensor:
        q = q.movedim(self.features[0], -1)
        shape = q.shape
        q = q.reshape(shape[0], -1, shape[-1])  # (B, n, D)
        seen = None if mask is None else _spread(mask, kv, self.masked, self.features[1])
        kv = kv.movedim(self.features[1], -1).flatten(1, -2) if kv.dim() > 2 else kv.unsqueeze(1)
        for layer in self.layers:
            q = layer(q, kv, seen)
        return q.reshape(shape).movedim(-1, self.features[0])


class _Layer(nn.Module):
    def __init__(self, width: int, heads: int, init: str, generator: torch.Generator) -> None:
        super().__init__()
        self.heads = heads
        self.norm_q, self.norm_kv = nn.LayerNorm(width), nn.LayerNorm(width)
        self.wq, self.wk, self.wv, self.wo = (nn.Linear(width, width) for _ in range(4))
        for linear in (self.wq, self.wk, self.wv, self.wo):
            nn.init.xavier_uniform_(linear.weight, generator=generator)
            nn.init.zeros_(linear.bias)
        if init == "zero":
            nn.init.zeros_(self.wo.weight)

    def forward(self, q: Tensor, kv: Tensor, seen: Tensor | None) -> Tensor:
        read = self.norm_kv(kv)
        parts = (self.wq(self.norm_q(q)), self.wk(read), self.wv(read))
        queries, keys, values = (x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in parts)  # (B, heads, n, d)
        if seen is None:
            found = scaled_dot_product_attention(queries, keys, values)
        else:
            some = seen.any(1)
            allowed = (seen | ~some[:, None])[:, None, None, :]  # a softmax over nothing is no number
            found = scaled_dot_product_attention(queries, keys, values, attn_mask=allowed)
            found = found * some[:, None, None, None]
        made: Tensor = q + self.wo(found.transpose(1, 2).flatten(-2))
        return made


def _softmax(scores: Tensor, mask: Tensor | None) -> Tensor:
    """Over the last axis, which the mask (B, n) goes along; zeros where nothing is seen."""
    if mask is None:
        return scores.softmax(-1)
    seen = mask if scores.dim() == 2 else mask.view([mask.shape[0], *[1] * (scores.dim() - 2), mask.shape[1]])
    weights = scores.masked_fill(~seen, torch.finfo(scores.dtype).min).softmax(-1)
    return weights * seen


def _spread(mask: Tensor, x: Tensor, masked: int, features: int) -> Tensor:
    """The mask (B, n) of axis `masked` over all places of x: (B, places) in the order they are flattened in."""
    shape = [mask.shape[0], *[1] * (x.dim() - 1)]
    shape[masked] = mask.shape[1]
    sizes = list(x.shape)
    sizes[features] = 1
    return mask.view(shape).expand(sizes).movedim(features, -1).flatten(1)
