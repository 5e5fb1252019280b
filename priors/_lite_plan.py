"""The blocks of an EfficientNet-Lite, from its width, depth and size; without torch.

Tan & Le 2019, "EfficientNet", arXiv:1905.11946, table 1 (the stages); the Lite changes are those of the reference
TensorFlow code: stem, head, first and last stage are not scaled.
"""

from __future__ import annotations

import math
from typing import NamedTuple

STEM, HEAD = 32, 1280


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


class Block(NamedTuple):
    """One inverted bottleneck: `stage` counts from 1, `repeat` from 0; sizes are the side of the square map before and
    after it."""

    stage: int
    repeat: int
    channels_in: int
    channels: int
    kernel: int
    stride: int
    expand: int
    size_in: int

    @property
    def size_out(self) -> int:
        return math.ceil(self.size_in / self.stride)


def plan(width: float, depth: float, image_size: int) -> list[Block]:
    """The blocks from the stem to the head."""
    blocks: list[Block] = []
    channels, size = STEM, math.ceil(image_size / 2)
    for number, stage in enumerate(STAGES, start=1):
        scaled = number not in (1, len(STAGES))
        out = _round_channels(stage.channels * width)
        for repeat in range(math.ceil(stage.repeats * depth) if scaled else stage.repeats):
            stride = stage.stride if repeat == 0 else 1
            blocks.append(Block(number, repeat, channels, out, stage.kernel, stride, stage.expand, size))
            channels, size = out, blocks[-1].size_out
    return blocks


def _round_channels(channels: float) -> int:
    """The nearest multiple of 8, but never more than a tenth below (the reference code's rule)."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded
