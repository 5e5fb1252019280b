"""Models of the timm library (an extra) by name and config: its code builds them, nothing of it is downloaded."""

import sys
import warnings
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor, nn

from priors.architectures._network import Network
from priors.errors import BadManifest
from priors.families.timm_model import TimmConfig
from priors.registry import architecture

_OPERATORS = ("nms", "qnms")
"""Of torchvision, which describes them for compilers while it is imported, whether they are there or not."""


@architecture("timm")
class Timm(Network[TimmConfig]):
    """Pixels (B, 3, S, S) in; `features` before the classifier, `logits`, and the maps that timm gives on the way."""

    def build(self, taps: tuple[str, ...]) -> nn.Module:
        """A module of `forward(pixels (B, 3, S, S) float32) -> tuple`. Without timm BadManifest names the extra."""
        return _TimmModule(self.config, self.wanted(taps))

    def key_map(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        return {f"model.{key}": value for key, value in state.items()}


def discover(model: str, *, classes: int, image_size: int = 224, norm: str = "imagenet") -> dict[str, Any]:
    """The config of a model of timm with all its maps, found on meta tensors. Raises BadManifest without timm."""
    config: dict[str, Any] = {"model": model, "classes": classes, "image_size": image_size, "norm": norm}
    with torch.device("meta"):
        made = _create(TimmConfig(**config, features=1)).to("meta")
    pixels = torch.zeros(2, 3, image_size, image_size, device="meta")
    state, maps = made.forward_intermediates(pixels, output_fmt="NCHW")
    features = made.forward_head(state, pre_logits=True).shape[1]
    return {**config, "features": features, "maps": [[m.shape[1], m.shape[2]] for m in maps]}


class _TimmModule(nn.Module):
    def __init__(self, config: TimmConfig, taps: tuple[str, ...]) -> None:
        super().__init__()
        self.model = _create(config)
        self._taps, self._maps = taps, any(tap.startswith("stage_") for tap in taps)
        self._shapes: dict[str, tuple[int, ...]] = {"features": (config.features,), "logits": (config.classes,)}
        self._shapes |= {f"stage_{i}": (c, side, side) for i, (c, side) in enumerate(config.maps, 1)}

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        own: Any = self.model
        found: dict[str, Tensor] = {}
        if self._maps:
            state, maps = own.forward_intermediates(pixels, output_fmt="NCHW")
            found = {f"stage_{i}": m for i, m in enumerate(maps, 1)}
        else:
            state = own.forward_features(pixels)
        if "features" in self._taps:
            found["features"] = own.forward_head(state, pre_logits=True)
        if "logits" in self._taps:
            found["logits"] = own.forward_head(state)
        for tap in self._taps:
            if tap not in found or tuple(found[tap].shape[1:]) != self._shapes[tap]:
                there = tuple(found[tap].shape[1:]) if tap in found else "none"
                raise BadManifest(
                    f"architecture 'timm': {tap} is promised as {self._shapes[tap]}, the model gives {there}. "
                    "Correct the config."
                )
        return tuple(found[tap] for tap in self._taps)


def _create(config: TimmConfig) -> Any:
    timm = _library()
    if not timm.is_model(config.model):
        near = get_close_matches(config.model, timm.list_models(), n=3)
        raise BadManifest(
            f"timm {timm.__version__} has no model {config.model!r}. Nearest: {', '.join(near) or 'none'}."
        )

    def made() -> Any:
        found = timm.create_model(config.model, pretrained=False, num_classes=config.classes, **more)
        for module in found.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                # How many batches the training saw is of no use, and not in every file.
                module.num_batches_tracked, module.track_running_stats = None, False
        return found

    fixed = timm.get_pretrained_cfg(config.model)
    more = {"img_size": config.image_size} if fixed is not None and fixed.fixed_input_size else {}
    model = made()
    computed = {name for name, _ in model.named_buffers()} - model.state_dict().keys()
    if any(model.get_buffer(name).is_meta for name in computed):
        with torch.device("cpu"):  # computed, in no file: real numbers even where weights are only to come
            real = made()
        for name in computed:
            place, _, own = name.rpartition(".")
            model.get_submodule(place)._buffers[own] = real.get_buffer(name)
    return model


def _library() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of both libraries about themselves
            _import_torchvision()
            import timm
    except ImportError as err:
        raise BadManifest(
            f"a model of timm needs timm and torchvision ({err}). Run `pip install priorhub[timm]`."
        ) from err
    return timm


def _import_torchvision() -> None:
    """timm reads one class of Python from it. Its compiled part may be another build than torch's, and stay away."""
    try:
        import torchvision
    except RuntimeError as err:
        if "torchvision::" not in str(err):
            raise
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        for name in _OPERATORS:
            torch.library.define(f"torchvision::{name}", "(Tensor boxes, Tensor scores, float threshold) -> Tensor")
        import torchvision  # noqa: F401
