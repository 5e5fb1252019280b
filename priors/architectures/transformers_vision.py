"""Image networks whose layers come from the transformers library: patches with attention, and stages of maps.

The forward pass over the layers is written here: it stops at the highest tap asked for. Configs, ports and the names in
published files are in `priors.families.vision`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from priors.architectures._library import drop_buffers, library_model, renamed
from priors.architectures._network import Network
from priors.families.vision import PatchConfig, VisionConfig
from priors.families.vision_maps import MapConfig
from priors.registry import architecture

_AFTER = ("norm", "head", "projection", "last")
"""Parts that stand behind the last layer: kept only where something there is asked for."""


@dataclass(frozen=True)
class Family:
    """How one of the library's image models is run.

    library  its model type
    begin    (our module, pixels) -> what goes into the first layer
    parts    our name -> the path in the library's model and in a file
    layers   the path of the layers in the library's model, where a file has another
    """

    library: str
    begin: Callable[[Any, Tensor], Tensor]
    parts: Mapping[str, str] = field(default_factory=lambda: {"embeddings": "embeddings", "norm": "layernorm"})
    layers: str | None = None


class TransformersVision(Network[VisionConfig]):
    """Pixels (B, 3, S, S) in; the taps are those of the family's config."""

    def build(self, taps: tuple[str, ...]) -> nn.Module:
        """A module of `forward(pixels (B, 3, S, S) float32) -> tuple`, no deeper than needed."""
        wanted = self.wanted(taps)
        if isinstance(self.config, PatchConfig):
            return _PatchModule(self.name, self.config, wanted)
        return _MapModule(self.name, self.config, wanted)

    def key_map(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        parts = {**FAMILIES[self.name].parts, "layers": self.config.layer_path}
        return renamed(state, self.config.prefixes, parts, self.config.renames)


class _Module(nn.Module):
    """`layers` and the parts of the family, under the same names whatever the family."""

    norm: nn.Module
    head: nn.Module
    projection: nn.Module
    last: nn.Module

    def __init__(self, name: str, config: VisionConfig, taps: tuple[str, ...], layers: int) -> None:
        super().__init__()
        self.config, self._taps = config, taps
        self._family = FAMILIES[name]
        numbers = [int(tap.rpartition("_")[2]) for tap in taps if tap.startswith(("layer_", "stage_"))]
        self._ends = len(numbers) < len(taps)
        depth = layers if self._ends else max(numbers)
        model = library_model(self._family.library, config.settings(max(depth, 1)))
        self.layers = model.get_submodule(self._family.layers or config.layer_path)[:depth]
        for ours, path in self._family.parts.items():
            if (self._ends or ours not in _AFTER) and ours != "projection":
                self.add_module(ours, drop_buffers(model.get_submodule(path)))
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                # How many batches the training saw is of no use, and not in every file.
                module.num_batches_tracked, module.track_running_stats = None, False


class _PatchModule(_Module):
    def __init__(self, name: str, config: PatchConfig, taps: tuple[str, ...]) -> None:
        super().__init__(name, config, taps, config.depth)
        if self._ends and "projection" in self._family.parts:
            self.projection = nn.Linear(config.hidden_size, getattr(config, "embedded"), bias=False)  # noqa: B009

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        state = self._family.begin(self, pixels)  # (B, S, D)
        states = {"layer_0": state}
        for i, layer in enumerate(self.layers, 1):
            state = layer(state, attention_mask=None)
            states[f"layer_{i}"] = state
        if self._ends:
            states["final"] = self.norm(state)
            states["cls"] = states["final"][:, 0]
            if "head" in self._family.parts:
                states["embedding"] = self.head(states["final"])
            if "projection" in self._family.parts:
                states["embedding"] = self.projection(states["cls"])
        return tuple(states[tap] for tap in self._taps)


class _MapModule(_Module):
    def __init__(self, name: str, config: VisionConfig, taps: tuple[str, ...]) -> None:
        assert isinstance(config, MapConfig)  # noqa: S101 (for the type checker)
        super().__init__(name, config, taps, len(config.maps()))
        for module in self.modules():
            if hasattr(module, "relative_position_index"):
                with torch.device("cpu"):  # computed, in no file: real numbers even where weights are only to come
                    fresh = type(module)(1, module.window_size)
                module.relative_position_index = fresh.relative_position_index

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        # Channels innermost: the same numbers, faster on a CPU (see efficientnet_lite).
        state = self._family.begin(self, pixels.contiguous(memory_format=torch.channels_last))
        found = {}
        for i, stage in enumerate(self.layers, 1):
            seen, state = _through_swin(stage, state) if hasattr(stage, "blocks") else (stage(state),) * 2
            found[f"stage_{i}"] = seen
        if self._ends:
            found["features"] = self._features(seen)
        return tuple(found[tap] for tap in self._taps)

    def _features(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, D)."""
        parts = self._family.parts
        if "last" in parts:
            x = self.last(x)
        if "norm" not in parts:
            return x.mean((2, 3))
        if parts["embeddings"] == "embeddings" and self._family.library == "swin":
            out: Tensor = self.norm(x.permute(0, 2, 3, 1)).mean((1, 2))  # normalized first, then averaged
        else:
            out = self.norm(x.mean((2, 3)))
        return out


def _through_swin(stage: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    """(B, C, H, W) before a stage -> the map after its blocks, and the map with merged patches for the next stage."""
    height, width = x.shape[2:]
    state = x.permute(0, 2, 3, 1).flatten(1, 2)  # (B, H * W, C)
    for block in stage.blocks:
        state = block(state, (height, width))[0]
    seen = _as_map(state, height, width)
    if stage.downsample is None:
        return seen, seen
    merged = stage.downsample(state, (height, width))
    return seen, _as_map(merged, -(-height // 2), -(-width // 2))


def _as_map(state: Tensor, height: int, width: int) -> Tensor:
    return state.view(state.shape[0], height, width, state.shape[2]).permute(0, 3, 1, 2)


def _whole(module: Any, pixels: Tensor) -> Tensor:
    out: Tensor = module.embeddings(pixels)
    return out


def _dinov2(module: Any, pixels: Tensor) -> Tensor:
    own, config = module.embeddings, module.config
    patches = own.patch_embeddings(pixels)
    table = own.position_embeddings
    if config.input_size != config.image_size:  # as the library does it
        known, wanted = config.image_size // config.patch_size, config.input_size // config.patch_size
        grid = table[:, 1:].view(1, known, known, table.shape[2]).permute(0, 3, 1, 2)
        grid = F.interpolate(grid, size=(wanted, wanted), mode="bicubic", align_corners=False)
        table = torch.cat([table[:, :1], grid.permute(0, 2, 3, 1).flatten(1, 2)], 1)
    out: Tensor = torch.cat([own.cls_token.expand(pixels.shape[0], -1, -1), patches], 1) + table
    return out


def _clip(module: Any, pixels: Tensor) -> Tensor:
    own = module.embeddings
    patches = own.patch_embedding(pixels).flatten(2).transpose(1, 2)
    first = own.class_embedding.expand(pixels.shape[0], 1, -1)
    out: Tensor = module.before(torch.cat([first, patches], 1) + own.position_embedding.weight)
    return out


def _siglip(module: Any, pixels: Tensor) -> Tensor:
    own = module.embeddings
    out: Tensor = own.patch_embedding(pixels).flatten(2).transpose(1, 2) + own.position_embedding.weight
    return out


def _swin(module: Any, pixels: Tensor) -> Tensor:
    state, (height, width) = module.embeddings(pixels)
    return _as_map(state, height, width)


FAMILIES = {
    "vit": Family("vit", _whole, layers="layers"),
    "dinov2": Family("dinov2", _dinov2),
    "clip-image": Family(
        "clip_vision_model",
        _clip,
        {
            "embeddings": "embeddings",
            "before": "pre_layrnorm",
            "norm": "post_layernorm",
            "projection": "visual_projection",
        },
    ),
    "siglip-image": Family(
        "siglip_vision_model", _siglip, {"embeddings": "embeddings", "norm": "post_layernorm", "head": "head"}
    ),
    "resnet": Family("resnet", _whole, {"embeddings": "embedder"}),
    "convnext": Family("convnext", _whole),
    "swin": Family("swin", _swin),
    "mobilenet-v2": Family("mobilenet_v2", _whole, {"embeddings": "conv_stem", "last": "conv_1x1"}),
}

for _name in FAMILIES:
    architecture(_name)(type(f"Vision[{_name}]", (TransformersVision,), {}))
