"""What the outputs of a head mean: probabilities, labels, a number with a unit. Needs numpy alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from priors.errors import BadTable


@dataclass(frozen=True)
class Answers:
    """How to read outputs (n, K) of a head.

    name       of the model, for messages
    labels     the classes in order; empty for a number
    threshold  the probability from which on a label is said, where a row may have several; None where it has one
    """

    name: str
    labels: tuple[str, ...] = ()
    temperature: float = 1.0
    threshold: float | None = None
    unit: str | None = None

    @classmethod
    def of(cls, name: str, head: Mapping[str, Any], buffers: Mapping[str, float]) -> Answers:
        """Those of a head with these attributes and these of its buffers."""
        several = head.get("loss") == "binary_cross_entropy"
        return cls(
            name,
            tuple(head.get("labels", ())),
            float(buffers.get("temperature", 1.0)),
            float(buffers["threshold"]) if several else None,
            head.get("unit"),
        )

    @property
    def several(self) -> bool:
        """Whether a row may have any number of the labels."""
        return self.threshold is not None

    def predictions(self, outputs: NDArray[np.floating]) -> list[Any]:
        """A label a row, a list of labels where it may have several, or a number."""
        if not self.labels:
            return [float(value) for value in outputs[:, 0]]
        return self.said(self.probabilities(outputs) if self.several else outputs)

    def said(self, chances: NDArray[np.floating]) -> list[Any]:
        """The predictions that go with probabilities (n, K)."""
        if self.threshold is None:
            return [self.labels[i] for i in chances.argmax(1)]
        return [[self.labels[i] for i in np.flatnonzero(row)] for row in chances > self.threshold]

    def probabilities(self, outputs: NDArray[np.floating]) -> NDArray[np.float64]:
        """(n, K); rows sum to 1, unless one may have several labels. Raises BadTable where a number is predicted."""
        if not self.labels:
            raise BadTable(f"{self.name} predicts a number, which has no class probabilities. Use predict.")
        scores = np.asarray(outputs, dtype=np.float64) / self.temperature
        if self.several:
            return np.asarray(1 / (1 + np.exp(-scores)))
        scores = np.exp(scores - scores.max(1, keepdims=True))
        return np.asarray(scores / scores.sum(1, keepdims=True))
