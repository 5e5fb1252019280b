"""Operations on axes as torch modules: other orders, new axes, other lengths. What they learn starts at no change."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from composer._layout import read_layout


class Layout(nn.Module):
    """forward(x) -> x with its axes in another order; a view."""

    def __init__(self, order: Sequence[int]) -> None:
        super().__init__()
        self.order = tuple(order)

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(self.order)


class Rearrange(nn.Module):
    """forward(x) -> x after a layout expression: split what the left side splits, reorder, flatten."""

    def __init__(self, expr: str) -> None:
        super().__init__()
        left, right = read_layout(expr)
        self._split = [[length for _, length in term.parts] for term in left]
        atoms = [name for term in left for name in ([n for n, _ in term.parts] or [term.name])]
        self.order = [atoms.index(name) for term in right for name in ([n for n, _ in term.parts] or [term.name])]
        self._joined = [max(len(term.parts), 1) for term in right]

    def forward(self, x: Tensor) -> Tensor:
        shape: list[int] = []
        for size, parts in zip(x.shape, self._split, strict=True):
            known = math.prod(length for length in parts if length is not None)
            shape += [size // known if length is None else length for length in parts] or [size]
        x = x.reshape(shape).permute(self.order)
        for at, count in enumerate(self._joined):
            x = x.flatten(at, at + count - 1)
        return x


class Expand(nn.Module):
    """forward(x) -> x with a new axis at `dim`, its only slice repeated `count` times; a view."""

    def __init__(self, dim: int, count: int) -> None:
        super().__init__()
        self.dim, self.count = dim, count

    def forward(self, x: Tensor) -> Tensor:
        x = x.unsqueeze(self.dim)
        return x.expand([self.count if axis == self.dim else -1 for axis in range(x.dim())])


class Prefix(nn.Module):
    """forward(x) -> x with a new axis at `dim` of `count` slots, each with its own learned scale and shift of x.

    scale, shift (count, width) along the features at `features` of the result. Starts as what `Expand` gives.
    """

    def __init__(self, dim: int, count: int, width: int, features: int) -> None:
        super().__init__()
        self.dim, self.features = dim, features
        self.scale, self.shift = nn.Parameter(torch.zeros(count, width)), nn.Parameter(torch.zeros(count, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x.unsqueeze(self.dim)
        shape = [1] * x.dim()
        shape[self.dim], shape[self.features] = self.scale.shape  # the new axis comes before every feature axis
        return x * (1 + self.scale.view(shape)) + self.shift.view(shape)


class Resample(nn.Module):
    """forward(x, mask (B, n) bool or None) -> x with `count` places along `dim`, of what the mask shows of each row.

    interpolate  places spread evenly over the row, first and last included, linear in between
    stride       every so many-th place, without mixing
    pad-crop     the first `count` places, zeros where there are fewer

    A mask begins with what is seen, as host encoders make them. A row of which nothing is seen becomes zeros.
    """

    def __init__(self, mode: str, dim: int, count: int) -> None:
        super().__init__()
        self.mode, self.dim, self.count = mode, dim, count

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        rows = x.movedim(self.dim, 1)
        places = torch.arange(self.count, device=x.device)
        everything = torch.full((rows.shape[0], 1), rows.shape[1], device=x.device)
        length = everything if mask is None else mask.sum(1, keepdim=True)  # (B, 1)
        last = (length - 1).clamp(min=0)
        match self.mode:
            case "interpolate":
                exact = places * last.to(x.dtype) / max(self.count - 1, 1)  # (B, count)
                low = exact.floor().long().minimum(last)
                part = (exact - low).view(*low.shape, *[1] * (rows.dim() - 2))
                made = _take(rows, low) * (1 - part) + _take(rows, (low + 1).minimum(last)) * part
                seen = (length > 0).expand(low.shape)
            case "stride":
                made, seen = _take(rows, (places * length // self.count).minimum(last)), length.gt(0)
            case _:
                made, seen = _take(rows, places.expand(rows.shape[0], -1).minimum(last)), places < length
        seen = seen.expand(rows.shape[0], self.count).view(rows.shape[0], self.count, *[1] * (rows.dim() - 2))
        return torch.where(seen, made, torch.zeros_like(made)).movedim(1, self.dim)


class ResampleMask(nn.Module):
    """forward(mask (B, n) bool) -> (B, count) bool: what `Resample` with pad-crop shows."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, mask: Tensor) -> Tensor:
        return torch.arange(self.count, device=mask.device) < mask.sum(1, keepdim=True)


class ConcatMask(nn.Module):
    """forward(*given) -> the operands' masks side by side; where an operand has none, every place of its value counts.

    dims  for each operand: None where its mask is given, else the axis of its value that is joined
    """

    def __init__(self, dims: Sequence[int | None]) -> None:
        super().__init__()
        self.dims = tuple(dims)

    def forward(self, *given: Tensor) -> Tensor:
        parts = [
            x if dim is None else torch.ones(x.shape[0], x.shape[dim], dtype=torch.bool, device=x.device)
            for x, dim in zip(given, self.dims, strict=True)
        ]
        return torch.cat(parts, 1)


def _take(rows: Tensor, at: Tensor) -> Tensor:
    """rows (B, n, ...), at (B, m) -> (B, m, ...)."""
    index = at.view(*at.shape, *[1] * (rows.dim() - 2)).expand(-1, -1, *rows.shape[2:])
    return rows.gather(1, index)
