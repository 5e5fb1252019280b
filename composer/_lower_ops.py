"""The composer's own operations as torch modules: plain shapes in and out, no graph in sight.

Everything here traces under torch.export with a dynamic batch and length. Parameters start where a composition that has
not been fitted equals its best known part: a gate lets its first operand through, a head answers zero.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, normalize

from composer.errors import NoBackend
from kernels.errors import BackendUnavailable
from kernels.gated_fusion import gated_fusion

GATE_LEAK = 5e-4
"""What an unfitted gate lets through of all operands but the first together (composition-ir: 0.05 %)."""


class Pool(nn.Module):
    """Drops axis `dim` of x by its mean, its maximum or its first element; what the mask hides does not count.

    forward(x (B, ..., n, ...), mask (B, n) bool or None) -> x without axis `dim`; zeros for a row that is all hidden.
    """

    def __init__(self, kind: str, dim: int) -> None:
        super().__init__()
        self.kind, self.dim = kind, dim

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        if self.kind == "first":
            return x.select(self.dim, 0)
        if mask is None:
            return x.mean(self.dim) if self.kind == "mean" else x.amax(self.dim)
        seen = mask.view([*mask.shape[:1], *[1] * (self.dim - 1), mask.shape[1], *[1] * (x.dim() - self.dim - 1)])
        count = seen.sum(self.dim)
        if self.kind == "mean":
            return (x * seen).sum(self.dim) / count.clamp(min=1).to(x.dtype)
        top = x.masked_fill(~seen, -math.inf).amax(self.dim)
        return torch.where(count > 0, top, torch.zeros_like(top))

    def extra_repr(self) -> str:
        return f"{self.kind}, dim={self.dim}"


class Concat(nn.Module):
    """forward(*xs) -> the operands side by side along `dim`."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, *xs: Tensor) -> Tensor:
        return torch.cat(xs, self.dim)


class Sum(nn.Module):
    """forward(*xs) -> sum of weight[k] * xs[k]. `weight` (K,) is a parameter when learned, else part of the graph."""

    def __init__(self, weights: Sequence[float], learned: bool) -> None:
        super().__init__()
        # Fixed weights are no buffer: they belong to the graph and must not be saved with what was learned.
        self._fixed = None if learned else tuple(map(float, weights))
        if learned:
            self.weight = nn.Parameter(torch.tensor(weights, dtype=torch.float32))

    def forward(self, *xs: Tensor) -> Tensor:
        scales: Sequence[Tensor | float] = self.weight.unbind() if self._fixed is None else self._fixed
        total = scales[0] * xs[0]
        for scale, x in zip(scales[1:], xs[1:], strict=True):
            total = total + scale * x
        return total


class Gate(nn.Module):
    """Mixes K operands (B, D) row by row with gates whose logits are linear in all operands side by side.

    weight (K, K*D), bias (K,). The gates are a softmax, or a sigmoid each. Starts by letting the first operand through
    (init `first`) or with equal parts.
    """

    def __init__(self, count: int, width: int, init: str, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.weight = nn.Parameter(torch.zeros(count, count * width))
        self.bias = nn.Parameter(_first_logits(count, kind) if init == "first" else _equal_logits(count, kind))

    def forward(self, *xs: Tensor) -> Tensor:
        logits = linear(torch.cat(xs, -1), self.weight, self.bias)  # (B, K)
        if self.kind == "softmax":
            try:
                return gated_fusion(xs, logits)
            except BackendUnavailable as error:
                raise NoBackend(str(error)) from error
        gates = logits.sigmoid()
        return torch.stack([gates[:, k : k + 1] * x for k, x in enumerate(xs)]).sum(0)


def _first_logits(count: int, kind: str) -> Tensor:
    """Gates of 1 - GATE_LEAK for the first operand and GATE_LEAK for all others together."""
    logits = torch.zeros(count)
    if kind == "sigmoid":
        leak = GATE_LEAK / max(count - 1, 1)
        logits[:] = math.log(leak / (1 - leak))
        logits[0] = math.log((1 - GATE_LEAK) / GATE_LEAK)
    elif count > 1:
        logits[0] = math.log((1 - GATE_LEAK) / GATE_LEAK * (count - 1))
    return logits


def _equal_logits(count: int, kind: str) -> Tensor:
    """Gates of 1 / count each."""
    return torch.zeros(count) if kind == "softmax" or count == 1 else torch.full((count,), -math.log(count - 1))


class Project(nn.Module):
    """forward(x) -> x with axis `dim` of d_in features made d_out: linear, with bias; starts at Xavier values or zero.

    Xavier values also stand for `procrustes` until a fit has rows to align the two spaces on.
    """

    def __init__(self, d_in: int, d_out: int, init: str, seed: int, dim: int) -> None:
        super().__init__()
        self.dim, self.init = dim, init
        weight = torch.zeros(d_out, d_in)
        if init != "zero":
            nn.init.xavier_uniform_(weight, generator=torch.Generator().manual_seed(seed))
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(torch.zeros(d_out))

    def forward(self, x: Tensor) -> Tensor:
        return linear(x.movedim(self.dim, -1), self.weight, self.bias).movedim(-1, self.dim)


class Head(nn.Module):
    """forward(x (B, D)) -> (B, K): class logits, or the target's value for K = 1. Starts at zero.

    weight (K, D), bias (K,); `temperature` () does not touch the output: probabilities are softmax(y / temperature), or
    with `sets`, where a row may have several labels, sigmoid(y / temperature), and labels are said from `threshold` on.
    """

    temperature: Tensor

    def __init__(self, width: int, outputs: int, sets: bool = False) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.zeros(outputs, width)), nn.Parameter(torch.zeros(outputs))
        self.register_buffer("temperature", torch.ones(()))
        if sets:
            self.register_buffer("threshold", torch.full((), 0.5))

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


class Cast(nn.Module):
    """forward(x) -> x in `dtype`, times `scale`, within `clip`, then in `domain`; each only where given.

    Domains, along the last axis: l2 (unit length), probs (softmax), logits (logarithm, finite for a zero).
    """

    def __init__(
        self, dtype: torch.dtype | None, domain: str | None, clip: Sequence[float] | None, scale: float | None
    ) -> None:
        super().__init__()
        self.dtype, self.domain, self.scale = dtype, domain, scale
        self.clip = None if clip is None else (float(clip[0]), float(clip[1]))

    def forward(self, x: Tensor) -> Tensor:
        x = x if self.dtype is None else x.to(self.dtype)
        x = x if self.scale is None else x * self.scale
        x = x if self.clip is None else x.clamp(*self.clip)
        match self.domain:
            case "l2":
                return normalize(x, dim=-1)
            case "probs":
                return x.softmax(-1)
            case "logits":
                return x.clamp(min=torch.finfo(x.dtype).tiny).log()
        return x


class Layout(nn.Module):
    """forward(x) -> x with its axes in another order; a view."""

    def __init__(self, order: Sequence[int]) -> None:
        super().__init__()
        self.order = tuple(order)

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(self.order)


class Expand(nn.Module):
    """forward(x) -> x with a new axis at `dim`, its only slice repeated `count` times; a view."""

    def __init__(self, dim: int, count: int) -> None:
        super().__init__()
        self.dim, self.count = dim, count

    def forward(self, x: Tensor) -> Tensor:
        x = x.unsqueeze(self.dim)
        return x.expand([self.count if axis == self.dim else -1 for axis in range(x.dim())])
