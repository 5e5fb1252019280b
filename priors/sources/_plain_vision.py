"""Plain image models of the transformers library: config.json, preprocessor_config.json and model.safetensors.

One row a model type, as in `_plain_transformers`. How pixels are made comes from the preprocessor's own words; where it
asks for something that `priors.host` does not do, there is no manifest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from priors.families import config_class
from priors.families.vision import NORMS, VisionConfig
from priors.manifest import FileInfo
from priors.sources._plain_shapes import fits
from priors.weights import WEIGHTS, Header

Config = Mapping[str, Any]

_FILTERS = {2: "bilinear", 3: "bicubic"}
"""Pillow's numbers of the filters that `priors.host` has."""


@dataclass(frozen=True)
class _Row:
    """One model type; see `_plain_transformers._Row`.

    part   the key of config.json that holds the image half's own config
    """

    family: str
    classes: str
    title: str
    must: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    part: str | None = None


def describe(
    config: Config, header: Header, files: Mapping[str, FileInfo], preprocessor: Config | None
) -> dict[str, Any] | None:
    """What a manifest says of the network; None for anything but a known family with its preprocessor."""
    row = _ROWS.get(str(config.get("model_type")))
    if row is None or preprocessor is None or WEIGHTS not in files or not _is(row, config):
        return None
    own = config if row.part is None else {**config, **(config.get(row.part) or {})}
    seen = _host(preprocessor)
    if seen is None or own.get("num_channels", 3) != 3:
        return None
    norm, host = seen
    more: dict[str, Any] = {"norm": norm}
    schema = config_class(row.family, VisionConfig)
    more |= {"space": files[WEIGHTS].sha256[:16]} if "space" in schema.model_fields else {}
    side = "input_size" if "input_size" in schema.model_fields else "image_size"
    if own.get("image_size") is None or side == "input_size":
        more[side] = host["size"]
    try:
        found = {key: value for key, value in own.items() if key in schema.model_fields and value is not None}
        read = schema.model_validate({**found, **more})
    except (ValidationError, ValueError, TypeError):
        return None
    if read.side != host["size"] and "depths" not in schema.model_fields and row.family != "mobilenet-v2":
        return None
    if read.side != host["size"]:  # maps may have any size: the preprocessor's is what it was trained with
        read = read.model_copy(update={"image_size": host["size"]})
    if not fits(read, header):
        return None
    return {
        "summary": f"{row.title}, {read.side} pixels a side.",
        "architecture": {"id": row.family, "config": read.model_dump(mode="json")},
        "inputs": read.inputs(),
        "taps": read.taps(),
        "averages": {},
        "default_tap": read.default,
        "host": host,
        "files": (WEIGHTS,),
    }


def _is(row: _Row, config: Config) -> bool:
    named = config.get("architectures")
    return (
        isinstance(named, list)
        and any(isinstance(one, str) and one.startswith(row.classes) for one in named)
        and all(config.get(key, allowed[0]) in allowed for key, allowed in row.must.items())
    )


def _host(given: Config) -> tuple[str, dict[str, Any]] | None:
    """The name of the normalization and the host encoder, from a preprocessor_config.json; None for another way."""
    size, crop = given.get("size"), given.get("crop_size")
    if not all(given.get(key, True) for key in ("do_resize", "do_rescale")):
        return None
    if abs(float(given.get("rescale_factor", 1 / 255)) * 255 - 1) > 1e-4 or given.get("resample", 2) not in _FILTERS:
        return None
    if given.get("do_normalize", True):
        mean, std = given.get("image_mean"), given.get("image_std")
        norm = next((name for name, pair in NORMS.items() if near(mean, pair[0]) and near(std, pair[1])), None)
    else:
        norm = "unit"
    found = _square(size, crop if given.get("do_center_crop") else None, given.get("crop_pct"))
    if norm is None or found is None:
        return None
    side, part, fit = found
    means, deviations = NORMS[norm]
    host = {
        "encoder": "image",
        "size": side,
        "resize": _FILTERS[given.get("resample", 2)],
        "crop": part,
        "fit": fit,
        "mean": [255 * value for value in means],
        "std": [255 * value for value in deviations],
    }
    return norm, host


def _square(size: Any, crop: Any, part: Any) -> tuple[int, float, str] | None:
    """The side, how much of the shorter side is kept, and whether the rest is cut away or everything squeezed in."""
    shortest = size if isinstance(size, int) else (size or {}).get("shortest_edge") if isinstance(size, dict) else None
    cut = crop if isinstance(crop, int) else _equal(crop)
    if shortest is not None and cut is not None and 8 <= cut <= shortest:
        return cut, cut / shortest, "crop"
    if shortest is not None and crop is None and isinstance(part, int | float) and 0 < part <= 1:
        return (shortest, float(part), "crop") if 8 <= shortest < 384 else (shortest, 1.0, "stretch")
    whole = _equal(size) if isinstance(size, dict) else size if crop is None and part is None else None
    return (whole, 1.0, "stretch") if isinstance(whole, int) and 8 <= whole <= 1_024 and crop is None else None


def _equal(size: Any) -> int | None:
    if not isinstance(size, dict) or size.get("height") != size.get("width"):
        return None
    return size["height"] if type(size.get("height")) is int else None


def near(given: Any, wanted: tuple[float, ...]) -> bool:
    """Whether a config's three numbers are these."""
    return (
        isinstance(given, list)
        and len(given) == 3
        and all(isinstance(a, int | float) and abs(a - b) < 1e-4 for a, b in zip(given, wanted, strict=True))
    )


_ROWS: Mapping[str, _Row] = {
    "vit": _Row("vit", "ViT", "Vision transformer"),
    "dinov2": _Row("dinov2", "Dinov2", "DINOv2 image encoder"),
    "clip": _Row("clip-image", "CLIPModel", "CLIP's image half", part="vision_config"),
    "clip_vision_model": _Row("clip-image", "CLIPVisionModelWithProjection", "CLIP's image half"),
    "siglip": _Row("siglip-image", "SiglipModel", "SigLIP's image half", part="vision_config"),
    "siglip_vision_model": _Row("siglip-image", "SiglipVisionModel", "SigLIP's image half"),
    "resnet": _Row("resnet", "ResNet", "ResNet"),
    "convnext": _Row("convnext", "ConvNext", "ConvNeXt"),
    "swin": _Row("swin", "Swin", "Swin transformer"),
    "mobilenet_v2": _Row("mobilenet-v2", "MobileNetV2", "MobileNetV2", {"output_stride": (32,)}),
}
