"""Rows that stand for all: chosen from the training rows, the same ones in whatever order these come."""

import torch
from torch import Tensor


def spread_out(rows: Tensor, k: int) -> Tensor:
    """At most `k` different rows (m, C), far from each other: each is the farthest from those before it.

    Gonzalez 1985, "Clustering to minimize the maximum intercluster distance". The first is the one nearest to the
    mean, ties go to the row that comes first in the order of its values. O(k n C).
    """
    rows = torch.unique(rows, dim=0)  # sorted, so that the order of the training rows says nothing
    far = (rows - rows.mean(0)).square().sum(1)
    chosen = [int(far.argmin())]
    distance = (rows - rows[chosen[0]]).square().sum(1)
    while len(chosen) < min(k, len(rows)):
        chosen.append(int(distance.argmax()))
        distance = torch.minimum(distance, (rows - rows[chosen[-1]]).square().sum(1))
    return rows[chosen]


def squared_distances(x: Tensor, centers: Tensor) -> Tensor:
    """(B, k) of x (B, C) and centers (k, C), never negative; measured from the middle of the centers, as |x|^2 - 2 x c
    + |c|^2 loses the digits of rows that are far from 0."""
    middle = centers.mean(0)
    x, centers = x - middle, centers - middle
    cross = x @ centers.T
    return (x.square().sum(1, keepdim=True) - 2 * cross + centers.square().sum(1)).clamp(min=0)
