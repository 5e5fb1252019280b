"""Plain timm models: config.json with `architecture` and `pretrained_cfg`, and model.safetensors in timm's names.

timm's EfficientNet-Lite models are those of the TensorFlow code with other names for the tensors and pixels scaled by
(value - 127.5) / 127.5 (timm, models/efficientnet.py and timm.data.constants, IMAGENET_INCEPTION_MEAN and _STD).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from priors._lite_plan import HEAD, STEM, Block
from priors.families.small import EfficientNetLiteConfig
from priors.manifest import FileInfo
from priors.weights import WEIGHTS, Header

_WIDTH_AND_DEPTH = {
    "tf_efficientnet_lite0": (1.0, 1.0),
    "tf_efficientnet_lite1": (1.0, 1.1),
    "tf_efficientnet_lite2": (1.1, 1.2),
    "tf_efficientnet_lite3": (1.2, 1.4),
    "tf_efficientnet_lite4": (1.4, 1.8),
}
_NORM: Literal["mean127h-std127h"] = "mean127h-std127h"


def describe(config: Mapping[str, Any], header: Header, files: Mapping[str, FileInfo]) -> dict[str, Any] | None:
    """What a manifest says of the network; None for anything but an EfficientNet-Lite on three halves."""
    given = config.get("pretrained_cfg")
    name, classes = str(config.get("architecture")).partition(".")[0], config.get("num_classes")
    if name not in _WIDTH_AND_DEPTH or not isinstance(given, dict) or WEIGHTS not in files:
        return None
    size, crop, resize = _square(given.get("input_size")), given.get("crop_pct"), given.get("interpolation")
    halves = all(given.get(key) == [0.5, 0.5, 0.5] for key in ("mean", "std"))
    if size is None or type(classes) is not int or not isinstance(crop, int | float) or not 0 < crop <= 1 or not halves:
        return None
    width, depth = _WIDTH_AND_DEPTH[name]
    read = EfficientNetLiteConfig(width=width, depth=depth, image_size=size, classes=classes, norm=_NORM)
    if resize not in ("bicubic", "bilinear") or not _fits(read.blocks(), classes, header):
        return None
    return {
        "summary": f"EfficientNet-Lite{name[-1]}, {classes} classes, {size} pixels a side.",
        "architecture": {"id": "efficientnet-lite", "config": read.model_dump()},
        "inputs": read.inputs(),
        "taps": read.taps(),
        "averages": {},
        "default_tap": "features",
        "host": {
            "encoder": "image", "size": size, "resize": resize, "crop": float(crop),
            "mean": [127.5, 127.5, 127.5], "std": [127.5, 127.5, 127.5],
        },
        "files": (WEIGHTS,),
    }  # fmt: skip


def _square(size: Any) -> int | None:
    """The side of `[3, side, side]`."""
    if not isinstance(size, list) or len(size) != 3 or size[0] != 3 or size[1] != size[2]:
        return None
    return size[1] if type(size[1]) is int and 32 <= size[1] <= 1024 else None


def _fits(blocks: list[Block], classes: int, header: Header) -> bool:
    """Whether the tensors have the sizes of these blocks, and no block is more or less."""
    shapes = {name: info.shape for name, info in header.tensors.items()}
    wanted = {
        "conv_stem.weight": (STEM, 3, 3, 3),
        "conv_head.weight": (HEAD, blocks[-1].channels, 1, 1),
        "classifier.weight": (classes, HEAD),
    }
    for block in blocks:
        at, wide = f"blocks.{block.stage - 1}.{block.repeat}", block.channels_in * block.expand
        last = "conv_pwl" if block.expand != 1 else "conv_pw"
        wanted[f"{at}.conv_dw.weight"] = (wide, 1, block.kernel, block.kernel)
        wanted[f"{at}.{last}.weight"] = (block.channels, wide, 1, 1)
    there = {name.rpartition(".conv_dw.")[0] for name in shapes if ".conv_dw." in name}
    return len(there) == len(blocks) and all(shapes.get(name) == shape for name, shape in wanted.items())
