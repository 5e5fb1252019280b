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
    """Drops axis `dim` of x by its mean, its maximum, its first or last element; what the mask hides does not count.

    forward(x (B, ..., n, ...), mask (B, n) bool or None) -> x without axis `dim`; zeros for a row that is all hidden.
    """

    def __init__(self, kind: str, dim: int) -> None:
        super().__init__()
        self.kind, self.dim = kind, dim

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        if self.kind == "first":
            return x.select(self.dim, 0)
        if self.kind == "last":
            return self._last(x, mask)
        if mask is None:
            return x.mean(self.dim) if self.kind == "mean" else x.amax(self.dim)
        seen = mask.view([*mask.shape[:1], *[1] * (self.dim - 1), mask.shape[1], *[1] * (x.dim() - self.dim - 1)])
        count = seen.sum(self.dim)
        if self.kind == "mean":
            return (x * seen).sum(self.dim) / count.clamp(min=1).to(x.dtype)
        top = x.masked_fill(~seen, -math.inf).amax(self.dim)
        return torch.where(count > 0, top, torch.zeros_like(top))

    def _last(self, x: Tensor, mask: Tensor | None) -> Tensor:
        if mask is None:
            return x.select(self.dim, -1)
        places = torch.arange(mask.shape[1], device=mask.device)
        at = (places * mask).amax(1).view(-1, *[1] * (x.dim() - 1))  # (B, 1, ...)
        shape = list(x.shape)
        shape[self.dim] = 1
        found = x.gather(self.dim, at.expand(shape)).squeeze(self.dim)
        return found * mask.any(1).view(-1, *[1] * (found.dim() - 1))

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
    """Mixes K operands (B, ..., D) row by row with gates whose logits are linear in all operands side by side.

    weight (K, K*D), bias (K,). The gates are a softmax, or a sigmoid each. Starts by letting the first operand through
    (init `first`) or with equal parts.
    """

    def __init__(self, count: int, width: int, init: str, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.weight = nn.Parameter(torch.zeros(count, count * width))
        self.bias = nn.Parameter(_first_logits(count, kind) if init == "first" else _equal_logits(count, kind))

    def forward(self, *xs: Tensor) -> Tensor:
        shape = xs[0].shape
        rows = [x if x.dim() == 2 else x.reshape(-1, x.shape[-1]) for x in xs]
        logits = linear(torch.cat(rows, -1), self.weight, self.bias)  # (B, K)
        made = self._mix(rows, logits)
        return made if len(shape) == 2 else made.view(shape)

    def _mix(self, xs: list[Tensor], logits: Tensor) -> Tensor:
        if self.kind == "softmax":
            try:
                return gated_fusion(xs, logits)
            except BackendUnavailable as error:
                raise NoBackend(str(error)) from error
        return _weighted(xs, logits.sigmoid())


class Route(Gate):
    """A softmax gate of which only the `top_k` largest gates of a row count; the others are zero.

    They are not scaled up again, so that a single route learns too (Fedus et al. 2021, arXiv:2101.03961, eq. 2).
    """

    def __init__(self, count: int, width: int, top_k: int) -> None:
        super().__init__(count, width, "first", "softmax")
        self.top_k = top_k

    def _mix(self, xs: list[Tensor], logits: Tensor) -> Tensor:
        gates = logits.softmax(-1)
        kept = torch.zeros_like(gates).scatter(-1, gates.topk(self.top_k, dim=-1).indices, 1.0)
        return _weighted(xs, gates * kept)


class RouteByTag(nn.Module):
    """forward(*xs, tag (B,) int) -> of each row the operand that its tag numbers; zeros for a tag that is none."""

    def forward(self, *given: Tensor) -> Tensor:
        *xs, tag = given
        total = torch.zeros_like(xs[0])
        for k, x in enumerate(xs):
            total = torch.where((tag == k).view(-1, *[1] * (x.dim() - 1)), x, total)
        return total


def _weighted(xs: Sequence[Tensor], gates: Tensor) -> Tensor:
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


class Head(nn.Module):
    """forward(x (B, D)) -> (B, K): class logits, or the target's value for K = 1. Starts at zero, or random.

    weight (K, D), bias (K,); `temperature` () does not touch the output: probabilities are softmax(y / temperature), or
    with `sets`, where a row may have several labels, sigmoid(y / temperature), and labels are said from `threshold` on.
    """

    temperature: Tensor

    def __init__(self, width: int, outputs: int, sets: bool = False, seed: int | None = None) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.zeros(outputs, width)), nn.Parameter(torch.zeros(outputs))
        if seed is not None:
            nn.init.xavier_uniform_(self.weight, generator=torch.Generator().manual_seed(seed))
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


class Const(nn.Module):
    """forward() -> the value as a batch of one; it is part of the graph and not saved with what was learned."""

    value: Tensor

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.register_buffer("value", value.unsqueeze(0), persistent=False)

    def forward(self) -> Tensor:
        return self.value


class Spread(nn.Module):
    """forward(*xs) -> `inner` of xs, where those in `single` have one row that every row of the others sees."""

    def __init__(self, inner: nn.Module, single: Sequence[bool]) -> None:
        super().__init__()
        self.inner, self.single = inner, tuple(single)

    def forward(self, *xs: Tensor) -> Tensor:
        rows = next(x.shape[0] for x, single in zip(xs, self.single, strict=True) if not single)
        made: Tensor = self.inner(
            *(x.expand(rows, *[-1] * (x.dim() - 1)) if single else x for x, single in zip(xs, self.single, strict=True))
        )
        return made


class Score(nn.Module):
    """forward(x (B, K) logits or probabilities) -> (B,) probability of the likeliest class."""

    def __init__(self, level: str) -> None:
        super().__init__()
        self.level = level

    def forward(self, x: Tensor) -> Tensor:
        return (x.softmax(-1) if self.level == "logits" else x).amax(-1)
