"""Image families that work on maps without torch: ResNet, ConvNeXt, Swin, MobileNetV2. See `priors.families.vision`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from priors.families.text import Activation, Epsilon, Shapes
from priors.families.vision import Side, VisionConfig

Channels = Annotated[int, Field(ge=1, le=16_384)]
Repeats = Annotated[int, Field(ge=1, le=64)]


class MapConfig(VisionConfig):
    """`stage_<i>` is the map after stage i, `features` what is left when the last map is averaged."""

    image_size: Side = 224

    def maps(self) -> list[tuple[int, int]]:
        """Channels and side of the map after each stage."""
        raise NotImplementedError

    @property
    def features(self) -> int:
        return self.maps()[-1][0]

    def settings(self, depth: int) -> dict[str, object]:
        return super().settings(depth)

    def taps(self) -> dict[str, str]:
        found = {
            f"stage_{i}": f"image.map[B,D:{channels},H:{side},W:{side}]:f32"
            for i, (channels, side) in enumerate(self.maps(), 1)
        }
        return {**found, "features": f"vec.feat[B,D:{self.features}]:f32"}


class _Stages(MapConfig):
    hidden_sizes: list[Channels] = Field(min_length=1, max_length=8)
    depths: list[Repeats] = Field(min_length=1, max_length=8)

    @model_validator(mode="after")
    def _as_many(self) -> _Stages:
        if len(self.hidden_sizes) != len(self.depths):
            raise ValueError(f"{len(self.hidden_sizes)} hidden_sizes for {len(self.depths)} depths. Give one a stage")
        return self


class ResnetConfig(_Stages):
    """ResNet (He et al. 2015, arXiv:1512.03385), strides in the middle convolution unless said otherwise."""

    prefixes = ("resnet.",)
    layer_path = "encoder.stages"
    embedding_size: Channels = 64
    layer_type: Literal["basic", "bottleneck"] = "bottleneck"
    hidden_act: Activation = "relu"
    downsample_in_first_stage: bool = False
    downsample_in_bottleneck: bool = False

    def maps(self) -> list[tuple[int, int]]:
        side = _half(_half(self.image_size))
        found = []
        for i, channels in enumerate(self.hidden_sizes):
            side = _half(side) if i or self.downsample_in_first_stage else side
            found.append((channels, side))
        return found

    def shapes(self) -> Shapes:
        found: Shapes = {"embedder.embedder.convolution.weight": (self.embedding_size, 3, 7, 7)}
        for i, (width, depth) in enumerate(zip(self.hidden_sizes, self.depths, strict=True)):
            last = 2 if self.layer_type == "bottleneck" else 1
            inner = width // 4 if self.layer_type == "bottleneck" else width
            kernel = 1 if self.layer_type == "bottleneck" else 3
            at = f"encoder.stages.{i}.layers.{depth - 1}.layer.{last}.convolution.weight"
            found[at] = (width, inner, kernel, kernel)
        return found


class ConvnextConfig(_Stages):
    """ConvNeXt (Liu et al. 2022, arXiv:2201.03545)."""

    prefixes = ("convnext.",)
    layer_path = "encoder.stages"
    patch_size: Annotated[int, Field(ge=1, le=64)] = 4
    hidden_act: Activation = "gelu"
    layer_norm_eps: Epsilon = 1e-12
    layer_scale_init_value: Annotated[float, Field(ge=0, le=1)] = 1e-6

    def settings(self, depth: int) -> dict[str, object]:
        return super().settings(depth) | {"num_stages": len(self.depths)}

    def maps(self) -> list[tuple[int, int]]:
        first = self.image_size // self.patch_size
        return [(channels, first >> i) for i, channels in enumerate(self.hidden_sizes)]

    def shapes(self) -> Shapes:
        found: Shapes = {
            "embeddings.patch_embeddings.weight": (self.hidden_sizes[0], 3, self.patch_size, self.patch_size),
            "layernorm.weight": (self.hidden_sizes[-1],),
        }
        for i, (width, depth) in enumerate(zip(self.hidden_sizes, self.depths, strict=True)):
            found[f"encoder.stages.{i}.layers.{depth - 1}.pwconv1.weight"] = (4 * width, width)
        return found


class SwinConfig(MapConfig):
    """Swin (Liu et al. 2021, arXiv:2103.14030): maps are those before the patches of a stage are merged."""

    prefixes = ("swin.",)
    layer_path = "encoder.layers"
    renames = (
        ("attention.self.query.", "attention.q_proj."),
        ("attention.self.key.", "attention.k_proj."),
        ("attention.self.value.", "attention.v_proj."),
        (
            "attention.self.relative_position_bias_table",
            "attention.relative_position_bias.relative_position_bias_table",
        ),
        ("attention.output.dense.", "attention.o_proj."),
        ("intermediate.dense.", "mlp.fc1."),
        ("output.dense.", "mlp.fc2."),
    )
    embed_dim: Channels
    depths: list[Repeats] = Field(min_length=1, max_length=8)
    num_heads: list[Annotated[int, Field(ge=1, le=256)]] = Field(min_length=1, max_length=8)
    patch_size: Annotated[int, Field(ge=1, le=64)] = 4
    window_size: Annotated[int, Field(ge=1, le=64)] = 7
    mlp_ratio: Annotated[float, Field(gt=0, le=16)] = 4.0
    qkv_bias: bool = True
    hidden_act: Activation = "gelu"
    use_absolute_embeddings: bool = False
    layer_norm_eps: Epsilon = 1e-5

    @model_validator(mode="after")
    def _heads_fit(self) -> SwinConfig:
        if len(self.num_heads) != len(self.depths):
            raise ValueError(f"{len(self.num_heads)} num_heads for {len(self.depths)} depths. Give one a stage")
        if any((self.embed_dim << i) % heads for i, heads in enumerate(self.num_heads)):
            raise ValueError("a stage's channels do not divide into its num_heads")
        if self.maps()[-1][1] < self.window_size:
            raise ValueError(f"the last map has {self.maps()[-1][1]} places a side, less than window_size")
        return self

    def maps(self) -> list[tuple[int, int]]:
        side, found = -(-self.image_size // self.patch_size), []
        for i in range(len(self.depths)):
            found.append((self.embed_dim << i, side))
            side = _half(side)
        return found

    def shapes(self) -> Shapes:
        found: Shapes = {
            "embeddings.patch_embeddings.projection.weight": (self.embed_dim, 3, self.patch_size, self.patch_size)
        }
        for i, depth in enumerate(self.depths):
            at, width = f"encoder.layers.{i}.blocks.{depth - 1}", self.embed_dim << i
            found[f"{at}.attention.self.query.weight"] = (width, width)
            found[f"{at}.intermediate.dense.weight"] = (int(self.mlp_ratio * width), width)
        return found


_MOBILE_CHANNELS = (16, 24, 24, 32, 32, 32, 64, 64, 64, 64, 96, 96, 96, 160, 160, 160, 320)
_MOBILE_STRIDES = (2, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1)


class MobilenetV2Config(MapConfig):
    """MobileNetV2 (Sandler et al. 2018, arXiv:1801.04381), at an output stride of 32; `stage_<i>` is block i."""

    prefixes = ("mobilenet_v2.",)
    layer_path = "layer"
    depth_multiplier: Annotated[float, Field(gt=0, le=8)] = 1.0
    depth_divisible_by: Annotated[int, Field(ge=1, le=64)] = 8
    min_depth: Annotated[int, Field(ge=1, le=64)] = 8
    expand_ratio: Annotated[float, Field(ge=1, le=16)] = 6.0
    first_layer_is_expansion: bool = True
    finegrained_output: bool = True
    hidden_act: Literal["relu6", "relu"] = "relu6"
    tf_padding: bool = True
    layer_norm_eps: Epsilon = 0.001

    @property
    def features(self) -> int:
        return 1280 if self.finegrained_output and self.depth_multiplier < 1 else self._channels(1280)

    def maps(self) -> list[tuple[int, int]]:
        side, found = _half(self.image_size), []
        for channels, stride in zip(_MOBILE_CHANNELS[1:], _MOBILE_STRIDES, strict=True):
            side = _half(side) if stride == 2 else side
            found.append((self._channels(channels), side))
        return found

    def _channels(self, channels: int) -> int:
        """The nearest multiple, but never more than a tenth below: the library's rule, which is TensorFlow's."""
        return self._divisible(round(channels * self.depth_multiplier))

    def _divisible(self, wanted: int) -> int:
        by = self.depth_divisible_by
        near = max(self.min_depth, int(wanted + by / 2) // by * by)
        return near + by if near < 0.9 * wanted else near

    def shapes(self) -> Shapes:
        last = self._channels(_MOBILE_CHANNELS[-1])
        return {
            "conv_1x1.convolution.weight": (self.features, last, 1, 1),
            "layer.15.reduce_1x1.convolution.weight": (
                last,
                self._divisible(round(self._channels(_MOBILE_CHANNELS[-2]) * self.expand_ratio)),
                1,
                1,
            ),
        }


def _half(side: int) -> int:
    return -(-side // 2)
