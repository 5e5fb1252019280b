"""Decoders read as encoders, and T5's encoder, without torch: see `priors.families.text`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from priors.families._config import ArchitectureConfig
from priors.families.text import Activation, Depth, Epsilon, Heads, Inner, Positions, Shapes, TextConfig, Theta, Width


class Gpt2Config(TextConfig):
    """GPT-2 (Radford et al. 2019)."""

    prefixes = ("transformer.",)
    layer_path = "h"
    final = True
    summary = "last"
    keys: ClassVar[Mapping[str, str]] = {"width": "n_embd", "depth": "n_layer", "heads": "n_head"}
    n_embd: Width
    n_layer: Depth
    n_head: Heads
    n_positions: Positions
    n_inner: Inner | None = None
    activation_function: Activation = "gelu_new"
    layer_norm_epsilon: Epsilon = 1e-5

    def shapes(self) -> Shapes:
        return {
            "wte.weight": (self.vocab_size, self.n_embd),
            "wpe.weight": (self.n_positions, self.n_embd),
            "ln_f.weight": (self.n_embd,),
        }

    def layer_shapes(self) -> Shapes:
        return {
            "attn.c_attn.weight": (self.n_embd, 3 * self.n_embd),
            "mlp.c_fc.weight": (self.n_embd, self.n_inner or 4 * self.n_embd),
        }


class RopeScaling(ArchitectureConfig):
    """Llama 3's stretched rotary positions: slow frequencies are divided by `factor`."""

    rope_type: Literal["llama3"]
    factor: Annotated[float, Field(ge=1, le=1_000)]
    low_freq_factor: Annotated[float, Field(gt=0, le=1_000)]
    high_freq_factor: Annotated[float, Field(gt=0, le=1_000)]
    original_max_position_embeddings: Positions


class _Rotary(TextConfig):
    """Sizes of the decoders with rotary positions."""

    prefixes = ("model.",)
    layer_path = "layers"
    final = True
    summary = "last"
    hidden_size: Width
    num_hidden_layers: Depth
    num_attention_heads: Heads
    num_key_value_heads: Heads
    intermediate_size: Inner
    max_position_embeddings: Positions
    hidden_act: Activation = "silu"
    rms_norm_eps: Epsilon = 1e-6
    rope_theta: Theta = 10_000.0
    rope_scaling: RopeScaling | None = None

    @property
    def head_width(self) -> int:
        return self.hidden_size // self.num_attention_heads

    @model_validator(mode="after")
    def _groups_divide(self) -> _Rotary:
        if self.num_attention_heads % self.num_key_value_heads or self.head_width % 2:
            raise ValueError(
                f"num_key_value_heads {self.num_key_value_heads} must divide the {self.num_attention_heads} heads, "
                f"and a head's width {self.head_width} be even"
            )
        return self

    def settings(self, depth: int) -> dict[str, object]:
        scaling = self.rope_scaling.model_dump() if self.rope_scaling else {"rope_type": "default"}
        return self.model_dump(exclude={"vocab", "rope_theta", "rope_scaling"}) | {
            "num_hidden_layers": depth,
            "rope_parameters": {**scaling, "rope_theta": self.rope_theta},
        }

    def shapes(self) -> Shapes:
        return {"embed_tokens.weight": (self.vocab_size, self.width), "norm.weight": (self.width,)}

    def layer_shapes(self) -> Shapes:
        return {
            "self_attn.q_proj.weight": (self.num_attention_heads * self.head_width, self.width),
            "self_attn.k_proj.weight": (self.num_key_value_heads * self.head_width, self.width),
            "mlp.up_proj.weight": (self.intermediate_size, self.width),
        }


class LlamaConfig(_Rotary):
    """Llama 1 to 3 (Touvron et al. 2023, arXiv:2302.13971), SmolLM, TinyLlama and others of its layout."""

    head_dim: Annotated[int, Field(ge=2, le=1_024)] | None = None
    attention_bias: bool = False
    mlp_bias: bool = False

    @property
    def head_width(self) -> int:
        return self.head_dim or self.hidden_size // self.num_attention_heads


class Qwen2Config(_Rotary):
    """Qwen2 and 2.5 (Yang et al. 2024, arXiv:2407.10671), attention without a window."""


class T5Config(TextConfig):
    """The encoder of T5, v1.1 and Flan (Raffel et al. 2020, arXiv:1910.10683); no token stands for the whole text."""

    prefixes = ()
    layer_path = "encoder.block"
    final = True
    summary = None
    heads_divide = False
    keys: ClassVar[Mapping[str, str]] = {"width": "d_model", "depth": "num_layers", "heads": "num_heads"}
    d_model: Width
    d_kv: Width
    d_ff: Inner
    num_layers: Depth
    num_heads: Heads
    relative_attention_num_buckets: Annotated[int, Field(ge=4, le=1_024)] = 32
    relative_attention_max_distance: Annotated[int, Field(ge=2, le=100_000)] = 128
    layer_norm_epsilon: Epsilon = 1e-6
    feed_forward_proj: Literal["relu", "gated-gelu", "gated-silu"] = "relu"

    def shapes(self) -> Shapes:
        return {
            "shared.weight": (self.vocab_size, self.d_model),
            "encoder.final_layer_norm.weight": (self.d_model,),
            "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight": (
                self.relative_attention_num_buckets,
                self.num_heads,
            ),
        }

    def layer_shapes(self) -> Shapes:
        first = "wi_0" if self.feed_forward_proj.startswith("gated") else "wi"
        return {
            "layer.0.SelfAttention.q.weight": (self.num_heads * self.d_kv, self.d_model),
            f"layer.1.DenseReluDense.{first}.weight": (self.d_ff, self.d_model),
        }
