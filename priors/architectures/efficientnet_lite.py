"""EfficientNet-Lite: mobile inverted bottlenecks without squeeze-and-excite, ReLU6, a fixed stem and head.

Tan & Le 2019, "EfficientNet", arXiv:1905.11946; the Lite changes are those of the reference TensorFlow code: no
squeeze-and-excite, ReLU6 for swish. The stages are in priors/_lite_plan.py.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from priors._lite_plan import HEAD, STEM, Block
from priors.architectures._network import Network
from priors.families.small import EfficientNetLiteConfig
from priors.registry import architecture

BATCH_NORM_EPS = 1e-3  # the reference code's; PyTorch's default is 1e-5


@architecture("efficientnet-lite")
class EfficientNetLite(Network[EfficientNetLiteConfig]):
    """Pixels (B, 3, S, S) to a map after each stage, pooled features and class logits.

    The weight file keeps the names of the published state dict (`_conv_stem.weight`, `_blocks.0._bn1.running_var`, …),
    or timm's (`conv_stem.weight`, `blocks.1.0.conv_dw.weight`, …).
    `key_map` folds each batch normalization into the convolution before it: the same function (measured: 7e-6 apart on
    the logits), fewer operations, and nothing in it depends on the batch.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config)
        self._blocks = self.config.blocks()

    def build(self, taps: tuple[str, ...]) -> nn.Module:
        """A module of `forward(pixels (B, 3, S, S) float32) -> tuple`; stages above the highest tap are left out."""
        return _LiteModule(self.config, self._blocks, self.wanted(taps))

    def key_map(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        names = _timm_names(self._blocks) if "conv_stem.weight" in state else _published_names(self._blocks)
        named: dict[str, Tensor] = {}
        for ours, (conv, norm) in names.items():
            named |= _folded(state, ours, conv, norm)
        for part in ("weight", "bias"):
            for head in ("classifier", "_fc"):
                if f"{head}.{part}" in state:
                    named[f"classifier.{part}"] = state[f"{head}.{part}"]
        return named


def _published_names(blocks: Sequence[Block]) -> dict[str, tuple[str, str]]:
    """Our convolutions, with the convolution and the batch normalization they are folded from."""
    names = {"stem": ("_conv_stem", "_bn0"), "head": ("_conv_head", "_bn1")}
    for i, block in enumerate(blocks):
        if block.expand != 1:
            names[f"blocks.{i}.expand"] = f"_blocks.{i}._expand_conv", f"_blocks.{i}._bn0"
        names[f"blocks.{i}.depthwise"] = f"_blocks.{i}._depthwise_conv", f"_blocks.{i}._bn1"
        names[f"blocks.{i}.project"] = f"_blocks.{i}._project_conv", f"_blocks.{i}._bn2"
    return names


def _timm_names(blocks: Sequence[Block]) -> dict[str, tuple[str, str]]:
    """The same in timm's file: blocks by stage and repeat, normalizations numbered in the order they are run."""
    names = {"stem": ("conv_stem", "bn1"), "head": ("conv_head", "bn2")}
    for i, block in enumerate(blocks):
        at = f"blocks.{block.stage - 1}.{block.repeat}"
        steps = [("depthwise", "conv_dw"), ("project", "conv_pwl")]
        steps = [("expand", "conv_pw"), *steps] if block.expand != 1 else [steps[0], ("project", "conv_pw")]
        for number, (ours, conv) in enumerate(steps, start=1):
            names[f"blocks.{i}.{ours}"] = f"{at}.{conv}", f"{at}.bn{number}"
    return names


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
