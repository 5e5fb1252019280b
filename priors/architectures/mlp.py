"""Tabular multi-layer perceptron: rows of numbers through hidden layers to outputs."""

from itertools import pairwise

from torch import Tensor, nn

from priors.architectures._network import Network
from priors.families.tables import MlpConfig
from priors.registry import architecture

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh}


@architecture("mlp")
class Mlp(Network[MlpConfig]):
    """Linear layers with an activation between them; weights are named `layers.<i>.weight` and `layers.<i>.bias`.

    Taps: `penultimate`, what the last hidden layer gives after its activation, and `output`, the last linear layer.
    """

    def build(self, taps: tuple[str, ...]) -> nn.Module:
        """A module of `forward(x (B, C) float32) -> tuple of (B, D)`; the output layer is there only if asked for."""
        return _MlpModule(self.config, self.wanted(taps))


class _MlpModule(nn.Module):
    def __init__(self, config: MlpConfig, taps: tuple[str, ...]) -> None:
        super().__init__()
        self._taps = taps
        sizes = [config.columns, *config.widths]
        if "output" in taps:
            sizes.append(config.outputs)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self._hidden = len(config.widths)
        self.activation = ACTIVATIONS[config.activation]()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        for layer in self.layers[: self._hidden]:
            x = self.activation(layer(x))
        found = {"penultimate": x}
        if "output" in self._taps:
            found["output"] = self.layers[self._hidden](x)
        return tuple(found[tap] for tap in self._taps)
