"""Projections between latent spaces as torch modules, and how they start from rows of both."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, linear, normalize

ALIGNED = ("procrustes", "pca")
"""Inits that wait for rows to start from."""


class Project(nn.Module):
    """forward(x) -> x with axis `dim` of d_in features made d_out; starts at Xavier values or zero until `start`.

    linear      W x + b
    mlp         W x + b + V gelu(U x): U of d_out rows, V starts at zero, so that it starts as linear
    lowrank     B A x + b, A (rank, d_in), B (d_out, rank)
    orthogonal  Q x + b, Q the nearest matrix to W whose rows (or columns) are orthonormal; lengths survive
    relative    cosines of x with d_out anchors (Moschella et al. 2022, arXiv:2209.15430)
    """

    def __init__(
        self, d_in: int, d_out: int, init: str, seed: int, dim: int, kind: str = "linear", rank: int | None = None
    ) -> None:
        super().__init__()
        self.dim, self.init, self.kind = dim, init, kind
        generator = torch.Generator().manual_seed(seed)

        def matrix(rows: int, columns: int, *, zero: bool = False) -> nn.Parameter:
            made = torch.zeros(rows, columns)
            return nn.Parameter(made if zero else nn.init.xavier_uniform_(made, generator=generator))

        rank = min(d_in, d_out) if rank is None else min(rank, d_in, d_out)
        if kind == "lowrank":
            self.down, self.weight = matrix(rank, d_in), matrix(d_out, rank, zero=init == "zero")
        else:
            self.weight = matrix(d_out, d_in, zero=init == "zero" and kind != "orthogonal")
        if kind == "mlp":
            self.up, self.out = matrix(d_out, d_in), matrix(d_out, d_out, zero=True)
        self.bias = nn.Parameter(torch.zeros(d_out)) if kind != "relative" else None

    def forward(self, x: Tensor) -> Tensor:
        last = self.dim in (-1, x.dim() - 1)  # then nothing has to move, and a view costs as much as a small step
        x = x if last else x.movedim(self.dim, -1)
        match self.kind:
            case "relative":
                made = normalize(x, dim=-1) @ normalize(self.weight, dim=-1).T
            case "lowrank":
                made = linear(linear(x, self.down), self.weight, self.bias)
            case "orthogonal":
                made = linear(x, orthonormal(self.weight), self.bias)
            case "mlp":
                made = linear(x, self.weight, self.bias) + linear(gelu(linear(x, self.up)), self.out)
            case _:
                made = linear(x, self.weight, self.bias)
        return made if last else made.movedim(-1, self.dim)

    @torch.no_grad()
    def start(self, x: Tensor, target: Tensor | None = None) -> None:
        """Start from rows x (n, d_in): aligned with `target` (n, d_out) by init procrustes, else by their variance.

        A random projection to fewer features loses what a block knows; its first principal directions keep the most,
        and of no more rows than features they keep all.
        """
        x = x.double()
        mean = x.mean(0)
        if self.kind == "relative":
            self._start_anchors(x)
            return
        if target is not None and self.init == "procrustes":
            weight, offset = _procrustes(x - mean, target.double()), target.double().mean(0)
        else:
            weight, offset = _principal(x - mean, len(self.weight)), None
        if self.bias is not None:
            self.bias.copy_((-(weight @ mean) + (0 if offset is None else offset)).float())
        if self.kind == "lowrank":
            u, s, vt = torch.linalg.svd(weight, full_matrices=False)
            rank = len(self.down)
            self.down.copy_((s[:rank, None] * vt[:rank]).float())
            self.weight.copy_(u[:, :rank].float())
        else:
            self.weight.copy_(weight.float())

    def _start_anchors(self, x: Tensor) -> None:
        """Rows spread over the data, farthest first; what is left when there are too few stays random."""
        x = normalize(x, dim=-1)
        far = torch.full((len(x),), torch.inf, dtype=x.dtype)
        at = int((x @ x.mean(0)).argmax())
        for row in range(min(len(self.weight), len(x))):
            self.weight[row] = x[at].float()
            far = far.minimum(1 - x @ x[at])
            far[at] = -1.0
            at = int(far.argmax())


def orthonormal(weight: Tensor) -> Tensor:
    """The factor Q of weight's QR decomposition, with the signs that leave an orthonormal matrix as it is."""
    tall = weight.shape[0] >= weight.shape[1]
    q, r = torch.linalg.qr(weight if tall else weight.T)
    diagonal = r.diagonal()
    q = q * torch.where(diagonal < 0, -1.0, 1.0).to(q.dtype)
    made: Tensor = q if tall else q.T
    return made


def _principal(x: Tensor, count: int) -> Tensor:
    """The first `count` principal directions of centred rows x, as rows; zeros where there are fewer."""
    _, _, directions = torch.linalg.svd(x, full_matrices=False)
    kept = directions[:count]
    # The sign of a direction is arbitrary, and differs between libraries: make its largest entry positive.
    signs = kept.gather(1, kept.abs().argmax(1, keepdim=True)).sign()
    found = torch.zeros(count, x.shape[1], dtype=x.dtype)
    found[: len(kept)] = kept * signs
    return found


def _procrustes(x: Tensor, target: Tensor) -> Tensor:
    """The matrix with orthonormal rows or columns, times one scale, that brings centred x closest to target.

    Schoenemann 1966, with the scale of Schoenemann and Carroll 1970.
    """
    y = target - target.mean(0)
    u, s, vt = torch.linalg.svd(y.T @ x, full_matrices=False)  # (d_out, k) (k,) (k, d_in)
    rotation = u @ vt
    energy = (x @ rotation.T).square().sum()
    scale = float(s.sum() / energy) if energy > 0 else 1.0
    found: Tensor = rotation * scale
    return found
