"""Plain timm models: config.json with `architecture` and `pretrained_cfg`, and model.safetensors in timm's names.

EfficientNet-Lite has layers of our own; any other is built by timm, an extra, when it is used.

timm's EfficientNet-Lite models are those of the TensorFlow code with other names for the tensors and pixels scaled by
(value - 127.5) / 127.5 (timm, models/efficientnet.py and timm.data.constants, IMAGENET_INCEPTION_MEAN and _STD).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ValidationError

from priors._lite_plan import HEAD, STEM, Block
from priors.families.small import EfficientNetLiteConfig
from priors.families.timm_model import TimmConfig
from priors.families.vision import NORMS
from priors.manifest import FileInfo
from priors.sources._plain_vision import near
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
    """What a manifest says of the network; None where pixels are made in a way that `priors.host` does not have."""
    name = str(config.get("architecture")).partition(".")[0]
    if WEIGHTS not in files or not isinstance(config.get("pretrained_cfg"), dict):
        return None
    return _lite(config, header) if name in _WIDTH_AND_DEPTH else _any(name, config, header)


def _any(name: str, config: Mapping[str, Any], header: Header) -> dict[str, Any] | None:
    """A model that only timm knows: nothing but its classifier is held against the file before it is built."""
    given, classes = config["pretrained_cfg"], config.get("num_classes")
    size, crop, resize = _square(given.get("input_size")), given.get("crop_pct"), given.get("interpolation")
    mean, std = given.get("mean"), given.get("std")
    norm = next((key for key, pair in NORMS.items() if near(mean, pair[0]) and near(std, pair[1])), None)
    head = header.tensors.get(f"{given.get('classifier')}.weight")
    features = head.shape[1] if head is not None and len(head.shape) in (2, 4) else config.get("num_features")
    if norm is None or resize not in ("bicubic", "bilinear") or given.get("crop_mode", "center") != "center":
        return None
    if config.get("model_args") or not isinstance(crop, int | float) or not 0 < crop <= 1:
        return None
    if classes and (head is None or head.shape != (classes, features, *([1, 1] if len(head.shape) == 4 else []))):
        return None
    try:
        read = TimmConfig.model_validate(
            {"model": name, "image_size": size, "features": features, "classes": classes, "norm": norm}
        )
    except ValidationError:
        return None
    return {
        "summary": f"{name} of timm, {size} pixels a side.",
        "architecture": {"id": "timm", "config": read.model_dump(mode="json")},
        "inputs": read.inputs(),
        "taps": read.taps(),
        "averages": {},
        "default_tap": "features",
        "host": {
            "encoder": "image", "size": size, "resize": resize, "crop": float(crop),
            "mean": [255 * value for value in NORMS[norm][0]], "std": [255 * value for value in NORMS[norm][1]],
        },
        "files": (WEIGHTS,),
    }  # fmt: skip


def _lite(config: Mapping[str, Any], header: Header) -> dict[str, Any] | None:
    given = config["pretrained_cfg"]
    name, classes = str(config.get("architecture")).partition(".")[0], config.get("num_classes")
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
