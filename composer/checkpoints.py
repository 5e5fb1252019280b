"""What a killed training goes on from, to the same bits: parameters, what the optimiser remembers, and other facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from priors.errors import BadWeights
from priors.weights import load_weights, save_weights


def keep(
    path: Path | None, parameters: Sequence[Tensor], optimizer: torch.optim.Optimizer, facts: Mapping[str, Tensor]
) -> None:
    """Writes the state of a training, the whole file or nothing of it; nothing without a path."""
    if path is None:
        return
    found = {f"fact/{name}": value for name, value in facts.items()}
    for number, parameter in enumerate(parameters):
        found[f"parameter/{number}"] = parameter.detach()
        for name, value in optimizer.state[parameter].items():
            found[f"adamw/{number}/{name}"] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.part")
    save_weights(found, fresh)
    fresh.replace(path)


class Kept:
    """The state that `keep` wrote. `facts` are as they were given."""

    def __init__(self, held: Mapping[str, Tensor]) -> None:
        self._held = held
        self.facts = {name.removeprefix("fact/"): x.clone() for name, x in held.items() if name.startswith("fact/")}

    @classmethod
    def read(cls, path: Path | None) -> Kept | None:
        """What is kept in a file; None without one, or when a full disk or a power cut left no whole one."""
        if path is None or not path.is_file():
            return None
        try:
            return cls(load_weights(path))
        except BadWeights:
            path.unlink(missing_ok=True)
            return None

    @torch.no_grad()
    def restore(self, parameters: Sequence[Tensor], optimizer: torch.optim.Optimizer) -> None:
        """Puts parameters, and what the optimiser remembers of them, back as they were."""
        for number, parameter in enumerate(parameters):
            parameter.copy_(self._held[f"parameter/{number}"])
            prefix = f"adamw/{number}/"
            state = {name.removeprefix(prefix): x.clone() for name, x in self._held.items() if name.startswith(prefix)}
            if state:
                optimizer.state[parameter] = state
