"""EfficientNet-Lite: mobile inverted bottlenecks without squeeze-and-excite, ReLU6, a fixed stem and head.

Tan & Le 2019, "EfficientNet", arXiv:1905.11946, table 1 (the stages); the Lite changes are those of the reference
TensorFlow code: no squeeze-and-excite, ReLU6 for swish, stem, head, first and last stage not scaled.
"""

import math
from typing import Annotated, Any, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from priors.architectures._config import ArchitectureConfig, check_taps, read_config
from priors.registry import architecture

STEM, HEAD = 32, 1280
BATCH_NORM_EPS = 1e-3  # the reference code's; PyTorch's default is 1e-5


class Stage(NamedTuple):
    repeats: int
    kernel: int
    stride: int
    expand: int
    channels: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)


class EfficientNetLiteConfig(ArchitectureConfig):
    """Lite0 is width 1.0, depth 1.0 at 224 pixels; Lite1 1.0, 1.1, 240; Lite2 1.1, 1.2, 260."""

    width: Annotated[float, Field(gt=0, le=8)] = 1.0
    depth: Annotated[float, Field(gt=0, le=8)] = 1.0
    image_size: Annotated[int, Field(ge=32, le=2_048)] = 224
    classes: Annotated[int, Field(ge=1, le=100_000)] = 1000


@architecture("efficientnet-lite")
class EfficientNetLite:
    """Pixels (B, 3, S, S), scaled (value - 127) / 128, to a map after each stage, pooled features and class logits.

    The weight file keeps the names of the published state dict (`_conv_stem.weight`, `_blocks.0._bn1.running_var`, …).
    `key_map` folds each batch normalization into the convolution before it: the same function (measured: 7e-6 apart on
    the logits), fewer operations, and nothing in it depends on the batch.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = read_config(EfficientNetLiteConfig, config, "efficientnet-lite")
        self._blocks = _plan(self.config)

    def inputs(self) -> dict[str, str]:
        size = self.config.image_size
        return {"pixels": f"image.pixels[B,C:3,H:{size},W:{size}]:f32{{norm=mean127-std128}}"}

    def taps(self) -> dict[str, str]:
        """Maps call their channels D: they are what stays when H and W are pooled away."""
        ends = {block.stage: block for block in self._blocks}
        maps = {
            f"stage_{stage}": f"image.map[B,D:{block.channels},H:{block.size_out},W:{block.size_out}]:f32"
            for stage, block in ends.items()
        }
        return {
            **maps,
            "features": f"vec.feat[B,D:{HEAD}]:f32",
            "logits": f"dist.logits[B,K:{self.config.classes}]:f32",
        }

    def averages(self) -> dict[str, list[str]]:
        return {}

    def build(self, taps: tuple[str, ...]) -> nn.Module:
        """A module of `forward(pixels (B, 3, S, S) float32) -> tuple`; stages above the highest tap are left out."""
        return _LiteModule(self.config, self._blocks, check_taps(taps, self.taps(), "efficientnet-lite"))

    def key_map(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        named = _folded(state, "stem", "_conv_stem", "_bn0")
        for i, block in enumerate(self._blocks):
            if block.expand != 1:
                named |= _folded(state, f"blocks.{i}.expand", f"_blocks.{i}._expand_conv", f"_blocks.{i}._bn0")
            named |= _folded(state, f"blocks.{i}.depthwise", f"_blocks.{i}._depthwise_conv", f"_blocks.{i}._bn1")
            named |= _folded(state, f"blocks.{i}.project", f"_blocks.{i}._project_conv", f"_blocks.{i}._bn2")
        named |= _folded(state, "head", "_conv_head", "_bn1")
        named |= {f"classifier.{part}": state[f"_fc.{part}"] for part in ("weight", "bias") if f"_fc.{part}" in state}
        return named


class Block(NamedTuple):
    """One inverted bottleneck: `stage` counts from 1, sizes are the side of the square map before and after it."""

    stage: int
    channels_in: int
    channels: int
    kernel: int
    stride: int
    expand: int
    size_in: int

    @property
    def size_out(self) -> int:
        return math.ceil(self.size_in / self.stride)


def _plan(config: EfficientNetLiteConfig) -> list[Block]:
    blocks: list[Block] = []
    channels, size = STEM, math.ceil(config.image_size / 2)
    for number, stage in enumerate(STAGES, start=1):
        scaled = number not in (1, len(STAGES))
        out = _round_channels(stage.channels * config.width)
        for repeat in range(math.ceil(stage.repeats * config.depth) if scaled else stage.repeats):
            stride = stage.stride if repeat == 0 else 1
            blocks.append(Block(number, channels, out, stage.kernel, stride, stage.expand, size))
            channels, size = out, blocks[-1].size_out
    return blocks


def _round_channels(channels: float) -> int:
    """The nearest multiple of 8, but never more than a tenth below (the reference code's rule)."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def _folded(state: dict[str, Tensor], name: str, conv: str, norm: str) -> dict[str, Tensor]:
    """A convolution and the batch normalization after it as one; nothing if the file lacks a part."""
    parts = [f"{conv}.weight", *(f"{norm}.{part}" for part in ("weight", "bias", "running_mean", "running_var"))]
    if any(part not in state for part in parts):
        return {}
    weight, gamma, beta, mean, variance = (state[part] for part in parts)
    scale = gamma / torch.sqrt(variance + BATCH_NORM_EPS)
    return {f"{name}.conv.weight": weight * scale.view(-1, 1, 1, 1), f"{name}.conv.bias": beta - mean * scale}


class _Conv(nn.Module):
    """A convolution padded as TensorFlow's SAME for a map of `size`: an odd pixel of padding goes right and below."""

    def __init__(self, cin: int, cout: int, kernel: int, stride: int, size: int, groups: int = 1) -> None:
        super().__init__()
        total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
        self._odd = total % 2 == 1
        self.conv = nn.Conv2d(cin, cout, kernel, stride, padding=total // 2, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(F.pad(x, (0, 1, 0, 1)) if self._odd else x)
        return out


class _Bottleneck(nn.Module):
    def __init__(self, block: Block) -> None:
        super().__init__()
        wide = block.channels_in * block.expand
        self.expand = _Conv(block.channels_in, wide, 1, 1, block.size_in) if block.expand != 1 else None
        self.depthwise = _Conv(wide, wide, block.kernel, block.stride, block.size_in, groups=wide)
        self.project = _Conv(wide, block.channels, 1, 1, block.size_out)
        self._residual = block.stride == 1 and block.channels_in == block.channels

    def forward(self, x: Tensor) -> Tensor:
        wide = x if self.expand is None else F.relu6(self.expand(x))
        out: Tensor = self.project(F.relu6(self.depthwise(wide)))
        return out + x if self._residual else out


class _LiteModule(nn.Module):
    def __init__(self, config: EfficientNetLiteConfig, blocks: list[Block], taps: tuple[str, ...]) -> None:
        super().__init__()
        self._taps = taps
        with_head = "features" in taps or "logits" in taps
        stages = [int(tap.removeprefix("stage_")) for tap in taps if tap.startswith("stage_")]
        kept = [block for block in blocks if with_head or block.stage <= max(stages)]
        self.stem = _Conv(3, STEM, 3, 2, config.image_size)
        self.blocks = nn.ModuleList(_Bottleneck(block) for block in kept)
        self._stage_of = [block.stage for block in kept]
        self.head = _Conv(kept[-1].channels, HEAD, 1, 1, kept[-1].size_out) if with_head else None
        self.classifier = nn.Linear(HEAD, config.classes) if "logits" in taps else None

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        found: dict[str, Tensor] = {}
        # Channels innermost: measured 1.7 to 2.2 times the speed on a CPU, the same numbers.
        x = F.relu6(self.stem(pixels.contiguous(memory_format=torch.channels_last)))
        for stage, block in zip(self._stage_of, self.blocks, strict=True):
            x = block(x)
            found[f"stage_{stage}"] = x  # the last block of a stage is the one that stays
        if self.head is not None:
            found["features"] = F.relu6(self.head(x)).mean((2, 3))
        if self.classifier is not None:
            found["logits"] = self.classifier(found["features"])
        return tuple(found[tap] for tap in self._taps)
