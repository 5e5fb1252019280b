"""Image families of the transformers library without torch: configs, ports, and the tensors a file must have.

See `priors.families.text` for the conventions. Pixels are square, of three channels; `norm` names how they were scaled.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from priors.families._config import ArchitectureConfig
from priors.families.text import Activation, Depth, Epsilon, Heads, Inner, Shapes, Width

NORMS = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "halves": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "unit": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}
"""Name -> mean and standard deviation of each channel, of values from 0 to 1."""

Norm = Literal["imagenet", "halves", "clip", "unit"]
Side = Annotated[int, Field(ge=8, le=2_048)]
Patch = Annotated[int, Field(ge=1, le=256)]
Space = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]


class VisionConfig(ArchitectureConfig):
    """What all image families share; `renames` turns the names in a layer of a file into the library's of today."""

    prefixes: ClassVar[tuple[str, ...]] = ()
    layer_path: ClassVar[str] = "encoder.layer"
    renames: ClassVar[tuple[tuple[str, str], ...]] = ()
    default: ClassVar[str] = "features"

    norm: Norm = "imagenet"

    @property
    def side(self) -> int:
        """Of the pixels that go in."""
        return int(getattr(self, "image_size"))  # noqa: B009 (every family has it, under its own default)

    def settings(self, depth: int) -> dict[str, object]:
        return self.model_dump(exclude={"norm", "input_size", "space"})

    def inputs(self) -> dict[str, str]:
        return {"pixels": f"image.pixels[B,C:3,H:{self.side},W:{self.side}]:f32{{norm={self.norm}}}"}

    def taps(self) -> dict[str, str]:
        raise NotImplementedError

    def shapes(self) -> Shapes:
        raise NotImplementedError

    def layer_shapes(self) -> Shapes:
        """Tensors of one layer, of `depth` equal ones; nothing where layers differ."""
        return {}

    @property
    def depth(self) -> int:
        return 0


_OLD_ATTENTION = (
    ("attention.attention.query.", "attention.q_proj."),
    ("attention.attention.key.", "attention.k_proj."),
    ("attention.attention.value.", "attention.v_proj."),
    ("attention.output.dense.", "attention.o_proj."),
)
_OLD_MLP = (("intermediate.dense.", "mlp.fc1."), ("output.dense.", "mlp.fc2."))


class PatchConfig(VisionConfig):
    """Transformers over square patches: `layer_<i>` are patches, with the class token first where there is one.

    `final` follows the last normalization, `cls` is its first token.
    """

    default = "cls"
    first: ClassVar[bool] = True
    """Whether a class token stands before the patches."""

    hidden_size: Width
    num_hidden_layers: Depth
    num_attention_heads: Heads
    image_size: Side = 224
    patch_size: Patch = 16

    @model_validator(mode="after")
    def _fits_together(self) -> PatchConfig:
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} does not divide into {self.num_attention_heads} attention heads"
            )
        if self.image_size < self.patch_size or self.side < self.patch_size:
            raise ValueError(f"a patch of {self.patch_size} pixels is larger than the image")
        return self

    @property
    def depth(self) -> int:
        return self.num_hidden_layers

    @property
    def slots(self) -> int:
        return (self.side // self.patch_size) ** 2 + self.first

    @property
    def positions(self) -> int:
        """How many positions the file knows."""
        return (self.image_size // self.patch_size) ** 2 + self.first

    def settings(self, depth: int) -> dict[str, object]:
        return super().settings(depth) | {"num_hidden_layers": depth}

    def taps(self) -> dict[str, str]:
        names = [*(f"layer_{i}" for i in range(self.depth + 1)), "final"]
        return dict.fromkeys(names, f"image.patches[B,S:{self.slots},D:{self.hidden_size}]:f32") | self.summaries()

    def summaries(self) -> dict[str, str]:
        return {"cls": f"vec.feat[B,D:{self.hidden_size}]:f32"}


class VitConfig(PatchConfig):
    """ViT (Dosovitskiy et al. 2021, arXiv:2010.11929) and DeiT's of the same layout."""

    prefixes = ("vit.",)
    renames = (*_OLD_ATTENTION, *_OLD_MLP)
    intermediate_size: Inner
    hidden_act: Activation = "gelu"
    layer_norm_eps: Epsilon = 1e-12
    qkv_bias: bool = True
    norm: Norm = "halves"

    def shapes(self) -> Shapes:
        return {
            "embeddings.position_embeddings": (1, self.positions, self.hidden_size),
            "embeddings.patch_embeddings.projection.weight": (self.hidden_size, 3, self.patch_size, self.patch_size),
        }

    def layer_shapes(self) -> Shapes:
        return {"intermediate.dense.weight": (self.intermediate_size, self.hidden_size)}


class Dinov2Config(PatchConfig):
    """DINOv2 (Oquab et al. 2023, arXiv:2304.07193): positions of `image_size` pixels, resized to `input_size`."""

    prefixes = ("dinov2.",)
    renames = _OLD_ATTENTION
    patch_size: Patch = 14
    mlp_ratio: Annotated[int, Field(ge=1, le=16)] = 4
    hidden_act: Activation = "gelu"
    layer_norm_eps: Epsilon = 1e-6
    qkv_bias: bool = True
    use_swiglu_ffn: bool = False
    input_size: Side = 224

    @property
    def side(self) -> int:
        return self.input_size

    def shapes(self) -> Shapes:
        return {
            "embeddings.position_embeddings": (1, self.positions, self.hidden_size),
            "embeddings.patch_embeddings.projection.weight": (self.hidden_size, 3, self.patch_size, self.patch_size),
        }

    def layer_shapes(self) -> Shapes:
        first = {} if self.use_swiglu_ffn else {"mlp.fc1.weight": (self.hidden_size * self.mlp_ratio, self.hidden_size)}
        return {"norm1.weight": (self.hidden_size,), **first}


class _Tower(PatchConfig):
    """The image half of a model of images and texts: `embedding` lies in the space that the text half has too.

    space  the first 16 characters of the sha256 of the file that holds both halves
    """

    prefixes = ("vision_model.",)
    layer_path = "encoder.layers"
    default = "embedding"
    family: ClassVar[str]

    intermediate_size: Inner
    space: Space | None = None

    @property
    def embedded(self) -> int:
        """How many numbers the common space has."""
        return self.hidden_size

    def summaries(self) -> dict[str, str]:
        shared = f"@{self.family}/embedding/{self.space}" if self.space else ""
        return {"embedding": f"vec.feat[B,D:{self.embedded}]:f32{shared}"}

    def shapes(self) -> Shapes:
        return {
            "embeddings.position_embedding.weight": (self.positions, self.hidden_size),
            "embeddings.patch_embedding.weight": (self.hidden_size, 3, self.patch_size, self.patch_size),
        }

    def layer_shapes(self) -> Shapes:
        return {"mlp.fc1.weight": (self.intermediate_size, self.hidden_size)}


class ClipImageConfig(_Tower):
    """CLIP's image half (Radford et al. 2021, arXiv:2103.00020)."""

    family = "clip"
    projection_dim: Width = 512
    patch_size: Patch = 32
    hidden_act: Activation = "quick_gelu"
    layer_norm_eps: Epsilon = 1e-5
    norm: Norm = "clip"

    @property
    def embedded(self) -> int:
        return self.projection_dim

    def summaries(self) -> dict[str, str]:
        return {"cls": f"vec.feat[B,D:{self.hidden_size}]:f32", **super().summaries()}

    def shapes(self) -> Shapes:
        return super().shapes() | {"visual_projection.weight": (self.projection_dim, self.hidden_size)}


class SiglipImageConfig(_Tower):
    """SigLIP's image half (Zhai et al. 2023, arXiv:2303.15343): no class token, attention pools the patches."""

    family = "siglip"
    first = False
    hidden_act: Activation = "gelu_pytorch_tanh"
    layer_norm_eps: Epsilon = 1e-6
    norm: Norm = "halves"

    def shapes(self) -> Shapes:
        return super().shapes() | {"head.probe": (1, 1, self.hidden_size)}
