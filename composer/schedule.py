"""How fit descends, read from a graph's `fit` section: how many steps, how fast for which role, how much at once.

fit: {steps: 100, batch: 32, lr: {net: 1.0e-5, adapter: 5.0e-4}, memory_mb: 512, precision: auto}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from composer.check import TypedNode
from composer.contrast import products_in_bf16
from composer.lock import Lock

Role = Literal["head", "adapter", "delta", "net"]
"""What a trained part is: a network's own weights, a difference to them, or anything of the composition's own."""

RATES: Mapping[Role, float] = {"head": 2e-3, "adapter": 2e-3, "delta": 1e-3, "net": 1e-4}

MARKS = (0, 10, 25, 50, 100, 200)
"""Numbers of steps compared."""

FOLDS, FOLDS_OF_NETWORKS = 4, 2
"""Each fold is a training of its own, and where networks are trained an expensive one."""

BATCH = 64
"""Rows a step where they are sequences, or networks are trained."""

MEMORY_MB = 1_024
"""For what autograd remembers of one piece of a batch."""

WIDE = 256
"""bf16 pays from matrices this wide. Measured on one core with AMX, two transformer layers, forward and backward: 0.45
of the time of float32 at a width of 384, 0.8 at 256, and 5 to 10 times as long at 16 to 64."""


@dataclass(frozen=True)
class Schedule:
    """marks   numbers of steps compared, ascending from 0
    folds   to compare them by;  batch  rows a step, None for all
    rates   learning rates;  memory  bytes for one piece of a batch;  bf16  whether matrices are multiplied in it
    """

    marks: tuple[int, ...]
    folds: int
    batch: int | None
    rates: Mapping[Role, float]
    memory: int
    bf16: bool

    @classmethod
    def of(cls, said: Mapping[str, Any], *, rows: int, sequences: bool, body: nn.Module, roles: set[Role]) -> Schedule:
        """What a `fit` section says, and for the rest what suits `body` and the roles of what learns in it."""
        networks = bool(roles & {"net", "delta"})
        batch = said.get("batch", BATCH if sequences or networks else None)
        steps = said.get("steps")
        if steps is None and "epochs" in said:
            steps = said["epochs"] * -(-rows // (batch or rows))
        marks = MARKS if steps is None else (*(mark for mark in MARKS if mark < steps), steps)
        rates = said.get("lr", {})
        return cls(
            marks=marks,
            folds=FOLDS_OF_NETWORKS if networks else FOLDS,
            batch=batch,
            rates=dict.fromkeys(RATES, rates) if isinstance(rates, float | int) else {**RATES, **rates},
            memory=said.get("memory_mb", MEMORY_MB) << 20,
            bf16=said.get("precision", "auto") == "auto" and networks and fast_in_bf16(body),
        )

    def rate(self, role: Role) -> float:
        """The learning rate of a role."""
        return float(self.rates[role])


def role_of(node: TypedNode) -> Role:
    """The role of a node that learns."""
    return {"net": "net", "delta": "delta", "head": "head"}.get(node.op, "adapter")  # type: ignore[return-value]


def by_descent(lock: Lock) -> list[TypedNode]:
    """The nodes that gradients train: all that learn but heads, functions fitted on rows, nets that only run deltas,
    and sums whose weights are searched for."""
    return [
        node
        for node in lock.nodes
        if node.learns
        and node.op != "head"
        and node.attrs.get("fit") != "train"
        and (node.op, node.attrs.get("train")) != ("net", "delta")
        and (node.op, node.attrs.get("weights")) != ("sum", "search")
    ]


def only_deltas_descend(lock: Lock) -> bool:
    """Whether deltas learn and nothing beside them but what has a closed form: few-shot adaptation trains them."""
    learning = by_descent(lock)
    return bool(learning) and all(node.op == "delta" for node in learning)


def fast_in_bf16(body: nn.Module) -> bool:
    """Whether this processor multiplies the matrices of `body` faster in bf16. fp16 is never asked for: it is slow and
    overflows here."""
    widths: Sequence[int] = [min(p.shape[0], p[0].numel()) for p in body.parameters() if p.dim() > 1]
    return max(widths, default=0) >= WIDE and products_in_bf16()
