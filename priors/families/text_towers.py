"""The text halves of models of images and texts, without torch: see `priors.families.text` and `.vision`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from priors.families.text import Activation, Depth, Epsilon, Heads, Inner, Positions, Shapes, TextConfig, Token, Width
from priors.families.vision import Space


class _Tower(TextConfig):
    """`embedding` lies in the space that the image half has too; `space` is as there."""

    prefixes = ("text_model.",)
    layer_path = "encoder.layers"
    final = True
    embeds = True
    hidden_size: Width
    num_hidden_layers: Depth
    num_attention_heads: Heads
    intermediate_size: Inner
    max_position_embeddings: Positions
    space: Space | None = None

    def settings(self, depth: int) -> dict[str, object]:
        return {key: value for key, value in super().settings(depth).items() if key != "space"}

    def shapes(self) -> Shapes:
        return {
            "embeddings.token_embedding.weight": (self.vocab_size, self.width),
            "embeddings.position_embedding.weight": (self.max_position_embeddings, self.width),
        }

    def layer_shapes(self) -> Shapes:
        return {"mlp.fc1.weight": (self.intermediate_size, self.width)}

    def _embedding(self, family: str, width: int) -> dict[str, str]:
        shared = f"@{family}/embedding/{self.space}" if self.space else ""
        return {"embedding": f"vec.feat[B,D:{width}]:f32{shared}"}


class ClipTextConfig(_Tower):
    """CLIP's text half (Radford et al. 2021, arXiv:2103.00020): causal, the last token stands for the text."""

    summary = "last"
    projection_dim: Width = 512
    hidden_act: Activation = "quick_gelu"
    layer_norm_eps: Epsilon = 1e-5

    def embedding(self) -> dict[str, str]:
        return self._embedding("clip", self.projection_dim)

    def shapes(self) -> Shapes:
        return super().shapes() | {"text_projection.weight": (self.projection_dim, self.width)}


class SiglipTextConfig(_Tower):
    """SigLIP's text half (Zhai et al. 2023, arXiv:2303.15343): every text is padded to all positions, which are read.

    `embedding` is made from the last position, and has `projection_size` numbers.
    """

    summary = None
    max_position_embeddings: Annotated[int, Field(ge=1, le=1_024)] = 64
    projection_size: Width
    pad_token_id: Token = 1
    hidden_act: Activation = "gelu_pytorch_tanh"
    layer_norm_eps: Epsilon = 1e-6

    def embedding(self) -> dict[str, str]:
        return self._embedding("siglip", self.projection_size)

    def shapes(self) -> Shapes:
        return super().shapes() | {"head.weight": (self.projection_size, self.width)}
