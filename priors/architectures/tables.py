"""Networks for tables: residual perceptrons and a transformer over columns. Gorishniy et al. 2021, arXiv:2106.11959."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from priors.architectures._network import Network
from priors.architectures.mlp import ACTIVATIONS
from priors.families.tables import FtTransformerConfig, ResmlpConfig
from priors.registry import architecture


@architecture("resmlp")
class Resmlp(Network[ResmlpConfig]):
    """Numbers (B, C) in: x + W2 a(W1 norm(x)) in each block, then normalization, activation and the outputs (B, D)."""

    def build(self, taps: tuple[str, ...]) -> nn.Module:
        """A module of `forward(x (B, C) float32) -> tuple of (B, D)`, no deeper than needed."""
        return _ResmlpModule(self.config, self.wanted(taps))


@architecture("ft-transformer")
class FtTransformer(Network[FtTransformerConfig]):
    """A column's number times its vector plus its bias is its token; a first token gathers the row."""

    def build(self, taps: tuple[str, ...]) -> nn.Module:
        """A module of `forward(x (B, C) float32) -> tuple of (B, D)`, no deeper than needed."""
        return _FtModule(self.config, self.wanted(taps))


class _Tower(nn.Module):
    """What both have in common: blocks up to the highest tap, and the ends only if something there is asked for."""

    def __init__(self, config: ResmlpConfig | FtTransformerConfig, taps: tuple[str, ...]) -> None:
        super().__init__()
        self._taps = taps
        ends = "penultimate" in taps or "output" in taps
        numbers = [int(tap.removeprefix("block_")) for tap in taps if tap.startswith("block_")]
        self.depth = config.blocks if ends else max(numbers)
        self.norm = nn.LayerNorm(config.width) if ends else None
        self.head = nn.Linear(config.width, config.outputs) if "output" in taps else None

    def _ended(self, found: dict[str, Tensor], row: Tensor, activation: nn.Module) -> tuple[Tensor, ...]:
        if self.norm is not None:
            found["penultimate"] = activation(self.norm(row))
        if self.head is not None:
            found["output"] = self.head(found["penultimate"])
        return tuple(found[tap] for tap in self._taps)


class _ResmlpModule(_Tower):
    def __init__(self, config: ResmlpConfig, taps: tuple[str, ...]) -> None:
        super().__init__(config, taps)
        self.activation = ACTIVATIONS[config.activation]()
        self.first = nn.Linear(config.columns, config.width)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(config.width),
                nn.Linear(config.width, config.inner),
                ACTIVATIONS[config.activation](),
                nn.Linear(config.inner, config.width),
            )
            for _ in range(self.depth)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        x = self.first(x)
        found = {"block_0": x}
        for i, block in enumerate(self.blocks, 1):
            x = x + block(x)
            found[f"block_{i}"] = x
        return self._ended(found, x, self.activation)


class _FtModule(_Tower):
    def __init__(self, config: FtTransformerConfig, taps: tuple[str, ...]) -> None:
        super().__init__(config, taps)
        bound = config.width**-0.5
        self.column = nn.Parameter(torch.empty(config.columns, config.width).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(config.columns, config.width).uniform_(-bound, bound))
        self.row = nn.Parameter(torch.empty(config.width).uniform_(-bound, bound))
        self.blocks = nn.ModuleList(_FtBlock(config) for _ in range(self.depth))
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        tokens = x.unsqueeze(2) * self.column + self.bias  # (B, C, D)
        state = torch.cat([self.row.expand(x.shape[0], 1, -1), tokens], 1)
        found = {"block_0": state[:, 0]}
        for i, block in enumerate(self.blocks, 1):
            state = block(state)
            found[f"block_{i}"] = state[:, 0]
        return self._ended(found, state[:, 0], self.activation)


class _FtBlock(nn.Module):
    def __init__(self, config: FtTransformerConfig) -> None:
        super().__init__()
        self._heads = config.heads
        self.norm1, self.norm2 = nn.LayerNorm(config.width), nn.LayerNorm(config.width)
        self.qkv, self.out = nn.Linear(config.width, 3 * config.width), nn.Linear(config.width, config.width)
        self.up, self.down = nn.Linear(config.width, 2 * config.inner), nn.Linear(config.inner, config.width)

    def forward(self, x: Tensor) -> Tensor:
        rows, slots, width = x.shape
        qkv = self.qkv(self.norm1(x)).view(rows, slots, 3, self._heads, width // self._heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # (B, heads, S, D / heads)
        x = x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        up, gate = self.up(self.norm2(x)).chunk(2, -1)
        out: Tensor = x + self.down(up * F.relu(gate))  # ReGLU, as there
        return out
