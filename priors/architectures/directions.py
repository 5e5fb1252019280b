"""Directions in an encoder's latent spaces: how far along each a text lies. What two priors know, strung together."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from priors.architectures._network import Network
from priors.families._config import check_taps
from priors.families.small import DirectionsConfig
from priors.registry import architecture, find_architecture


@architecture("bert-directions")
class BertDirections(Network[DirectionsConfig]):
    """Token ids and mask in; for each of `layers` one number: the direction times the mean hidden state of length 1.

    Weights: the encoder's under `bert.`, `direction` (layers, D) and `offset` (layers,).
    """

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config)
        self.encoder: Any = find_architecture("bert")({key: value for key, value in config.items() if key != "layers"})
        self._layers = check_taps([f"layer_{i}" for i in self.config.layers], self.encoder.taps(), self.name)

    def build(self, taps: tuple[str, ...]) -> nn.Module:
        """A module of `forward(ids (B, T) int64, mask (B, T) bool) -> tuple of (B, layers)`."""
        copies = len(self.wanted(taps))
        return _DirectionsModule(self.encoder.build(self._layers), len(self._layers), self.config.hidden_size, copies)

    def key_map(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        inner = {key.removeprefix("bert."): value for key, value in state.items() if key.startswith("bert.")}
        own = {key: value for key, value in state.items() if not key.startswith("bert.")}
        return {f"encoder.{key}": value for key, value in self.encoder.key_map(inner).items()} | own


class _DirectionsModule(nn.Module):
    def __init__(self, encoder: nn.Module, layers: int, width: int, copies: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.direction = nn.Parameter(torch.zeros(layers, width))
        self.offset = nn.Parameter(torch.zeros(layers))
        self._copies = copies

    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        seen = mask.to(self.direction.dtype).unsqueeze(2)  # (B, T, 1)
        count = seen.sum(1).clamp(min=1)
        means = torch.stack([(state * seen).sum(1) / count for state in self.encoder(ids, mask)], dim=1)  # (B, L, D)
        along = (F.normalize(means, dim=2) * self.direction).sum(2) + self.offset
        return (along,) * self._copies
