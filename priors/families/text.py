"""Text families of the transformers library without torch: what a config may say, the ports it has, its file's tensors.

Keys have the library's names, and defaults that are the library's. `shapes` and `layer_shapes` are the tensors of a
published file that show whether it is what its config says; names there lack the prefix that heads put before them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from priors.families._config import ArchitectureConfig

FIRST_AVERAGED = 2
"""The first layer of the `layers_2_<L>` average: layers 0 and 1 hold mostly the words themselves."""

Width = Annotated[int, Field(ge=1, le=16_384)]
Inner = Annotated[int, Field(ge=1, le=65_536)]
Depth = Annotated[int, Field(ge=1, le=128)]
Heads = Annotated[int, Field(ge=1, le=256)]
Positions = Annotated[int, Field(ge=1, le=1_000_000)]
Epsilon = Annotated[float, Field(gt=0, lt=1)]
Token = Annotated[int, Field(ge=0)]
Theta = Annotated[float, Field(ge=1, le=1e12)]
Activation = Literal["gelu", "gelu_new", "gelu_pytorch_tanh", "quick_gelu", "relu", "silu"]
Shapes = dict[str, tuple[int, ...]]


class TextConfig(ArchitectureConfig):
    """What all text families share. `vocab` names the tokenizer's vocabulary in the input port, so that ids of another
    vocabulary do not fit.

    prefixes  what a published file may put before every tensor's name
    layer_path  the path of the list of layers in the file
    final     whether a normalization follows the last layer: it makes the tap `final`
    embeds    whether the family has the tap `embedding`, in a space it shares with images
    summary   the tap that stands for the whole text, or none: `cls` (the first token) or `last` (the last one)
    """

    prefixes: ClassVar[tuple[str, ...]]
    layer_path: ClassVar[str] = "encoder.layer"
    final: ClassVar[bool] = False
    embeds: ClassVar[bool] = False
    summary: ClassVar[Literal["cls", "last"] | None] = "cls"
    heads_divide: ClassVar[bool] = True
    keys: ClassVar[Mapping[str, str]] = {}
    """Which of this family's keys hold the width, the depth and the heads, where they have other names."""

    vocab: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
    vocab_size: Annotated[int, Field(ge=2, le=2_000_000)]

    @property
    def width(self) -> int:
        return int(getattr(self, self.keys.get("width", "hidden_size")))

    @property
    def depth(self) -> int:
        return int(getattr(self, self.keys.get("depth", "num_hidden_layers")))

    @property
    def heads(self) -> int:
        return int(getattr(self, self.keys.get("heads", "num_attention_heads")))

    @model_validator(mode="after")
    def _heads_fit(self) -> TextConfig:
        if self.heads_divide and self.width % self.heads:
            raise ValueError(
                f"hidden_size {self.width} does not divide into {self.heads} attention heads. Give a multiple"
            )
        return self

    def settings(self, depth: int) -> dict[str, object]:
        """The keys of the library's config for a network of the first `depth` layers."""
        return self.model_dump(exclude={"vocab"}) | {self.keys.get("depth", "num_hidden_layers"): depth}

    def shapes(self) -> Shapes:
        """Tensors outside the layers."""
        raise NotImplementedError

    def layer_shapes(self) -> Shapes:
        """Tensors of one layer, without its path."""
        raise NotImplementedError

    def inputs(self) -> dict[str, str]:
        return {"ids": f"text.ids[B,T]:i64{{mask=ids_mask,vocab={self.vocab}}}"}

    def taps(self) -> dict[str, str]:
        """`layer_0` after the embeddings, one after each layer, their mean, `final`, and the family's summary."""
        tokens = [*self.layer_taps(), *self.averages(), *(["final"] if self.final else [])]
        summary = {self.summary: f"vec.feat[B,D:{self.width}]:f32"} if self.summary else {}
        return dict.fromkeys(tokens, f"text.tokens[B,T,D:{self.width}]:f32") | summary | self.embedding()

    def embedding(self) -> dict[str, str]:
        """The tap in a space that other networks share; few families have one."""
        return {}

    def averages(self) -> dict[str, list[str]]:
        if self.depth <= FIRST_AVERAGED:
            return {}
        return {f"layers_{FIRST_AVERAGED}_{self.depth}": self.layer_taps()[FIRST_AVERAGED:]}

    def layer_taps(self) -> list[str]:
        return [f"layer_{i}" for i in range(self.depth + 1)]


class _Absolute(TextConfig):
    """Sizes of the encoders with learned positions."""

    hidden_size: Width
    num_hidden_layers: Depth
    num_attention_heads: Heads
    intermediate_size: Inner
    max_position_embeddings: Positions
    hidden_act: Activation = "gelu"
    layer_norm_eps: Epsilon = 1e-12

    def layer_shapes(self) -> Shapes:
        return {
            "attention.self.query.weight": (self.hidden_size, self.hidden_size),
            "intermediate.dense.weight": (self.intermediate_size, self.hidden_size),
        }


class BertConfig(_Absolute):
    """BERT (Devlin et al. 2019, arXiv:1810.04805): MiniLM, BERT, and what was fine-tuned from them."""

    prefixes = ("bert.",)
    type_vocab_size: Annotated[int, Field(ge=1, le=1_000)] = 2
    pad_token_id: Token = 0

    def shapes(self) -> Shapes:
        return {
            "embeddings.word_embeddings.weight": (self.vocab_size, self.width),
            "embeddings.position_embeddings.weight": (self.max_position_embeddings, self.width),
            "embeddings.token_type_embeddings.weight": (self.type_vocab_size, self.width),
        }


class RobertaConfig(BertConfig):
    """RoBERTa (Liu et al. 2019, arXiv:1907.11692): positions are counted from `pad_token_id` + 1."""

    prefixes = ("roberta.",)
    pad_token_id: Token = 1


class XlmRobertaConfig(RobertaConfig):
    """XLM-RoBERTa (Conneau et al. 2020, arXiv:1911.02116): RoBERTa over 100 languages."""


class DistilBertConfig(TextConfig):
    """DistilBERT (Sanh et al. 2019, arXiv:1910.01108)."""

    prefixes = ("distilbert.",)
    layer_path = "transformer.layer"
    keys: ClassVar[Mapping[str, str]] = {"width": "dim", "depth": "n_layers", "heads": "n_heads"}
    dim: Width
    n_layers: Depth
    n_heads: Heads
    hidden_dim: Inner
    max_position_embeddings: Positions
    activation: Activation = "gelu"
    pad_token_id: Token = 0

    def shapes(self) -> Shapes:
        return {
            "embeddings.word_embeddings.weight": (self.vocab_size, self.dim),
            "embeddings.position_embeddings.weight": (self.max_position_embeddings, self.dim),
        }

    def layer_shapes(self) -> Shapes:
        return {"attention.q_lin.weight": (self.dim, self.dim), "ffn.lin1.weight": (self.hidden_dim, self.dim)}


class MpnetConfig(_Absolute):
    """MPNet (Song et al. 2020, arXiv:2004.09297): all-mpnet-base-v2 is one."""

    prefixes = ("mpnet.",)
    relative_attention_num_buckets: Annotated[int, Field(ge=32, le=32)] = 32
    """The library computes 32 buckets whatever this says, so nothing else is accepted."""
    pad_token_id: Annotated[int, Field(ge=1, le=1)] = 1

    def shapes(self) -> Shapes:
        return {
            "embeddings.word_embeddings.weight": (self.vocab_size, self.width),
            "embeddings.position_embeddings.weight": (self.max_position_embeddings, self.width),
            "encoder.relative_attention_bias.weight": (self.relative_attention_num_buckets, self.heads),
        }

    def layer_shapes(self) -> Shapes:
        return {
            "attention.attn.q.weight": (self.width, self.width),
            "intermediate.dense.weight": (self.intermediate_size, self.width),
        }


class DebertaV2Config(_Absolute):
    """DeBERTa v2 and v3 (He et al. 2021, arXiv:2006.03654, 2111.09543): content and position attend apart."""

    prefixes = ("deberta.",)
    type_vocab_size: Annotated[int, Field(ge=0, le=1_000)] = 0
    layer_norm_eps: Epsilon = 1e-7
    pad_token_id: Token = 0
    relative_attention: bool = False
    max_relative_positions: Annotated[int, Field(ge=-1, le=100_000)] = -1
    position_buckets: Annotated[int, Field(ge=-1, le=100_000)] = -1
    position_biased_input: bool = True
    norm_rel_ebd: Literal["none", "layer_norm"] = "none"
    share_att_key: bool = False
    pos_att_type: list[Literal["p2c", "c2p"]] = Field(default=[], max_length=2)
    conv_kernel_size: Annotated[int, Field(ge=0, le=31)] = 0
    conv_act: Literal["gelu", "tanh", "relu"] = "tanh"

    @property
    def relative_rows(self) -> int:
        """How many relative positions have an embedding."""
        reach = self.max_relative_positions if self.max_relative_positions > 0 else self.max_position_embeddings
        return 2 * (self.position_buckets if self.position_buckets > 0 else reach)

    def shapes(self) -> Shapes:
        found: Shapes = {"embeddings.word_embeddings.weight": (self.vocab_size, self.width)}
        if self.relative_attention:
            found["encoder.rel_embeddings.weight"] = (self.relative_rows, self.width)
        if self.position_biased_input:
            found["embeddings.position_embeddings.weight"] = (self.max_position_embeddings, self.width)
        if self.conv_kernel_size:
            found["encoder.conv.conv.weight"] = (self.width, self.width, self.conv_kernel_size)
        return found

    def layer_shapes(self) -> Shapes:
        return {
            "attention.self.query_proj.weight": (self.width, self.width),
            "intermediate.dense.weight": (self.intermediate_size, self.width),
        }


class ModernBertConfig(TextConfig):
    """ModernBERT (Warner et al. 2024, arXiv:2412.13663): rotary positions, most layers see a window only."""

    prefixes = ("model.",)
    layer_path = "layers"
    final = True
    hidden_size: Width
    num_hidden_layers: Depth
    num_attention_heads: Heads
    intermediate_size: Inner
    max_position_embeddings: Positions
    hidden_activation: Activation = "gelu"
    norm_eps: Epsilon = 1e-5
    norm_bias: bool = False
    attention_bias: bool = False
    mlp_bias: bool = False
    pad_token_id: Token = 0
    local_attention: Annotated[int, Field(ge=2, le=65_536)] = 128
    global_attn_every_n_layers: Annotated[int, Field(ge=1, le=128)] = 3
    global_rope_theta: Theta = 160_000.0
    local_rope_theta: Theta = 10_000.0

    def layer_types(self, depth: int) -> list[str]:
        every = self.global_attn_every_n_layers
        return ["sliding_attention" if i % every else "full_attention" for i in range(depth)]

    def settings(self, depth: int) -> dict[str, object]:
        own = {"vocab", "global_attn_every_n_layers", "global_rope_theta", "local_rope_theta"}
        return self.model_dump(exclude=own) | {
            "num_hidden_layers": depth,
            "layer_types": self.layer_types(depth),
            "rope_parameters": {
                "full_attention": {"rope_type": "default", "rope_theta": self.global_rope_theta},
                "sliding_attention": {"rope_type": "default", "rope_theta": self.local_rope_theta},
            },
        }

    def shapes(self) -> Shapes:
        return {"embeddings.tok_embeddings.weight": (self.vocab_size, self.width), "final_norm.weight": (self.width,)}

    def layer_shapes(self) -> Shapes:
        return {
            "attn.Wqkv.weight": (3 * self.width, self.width),
            "mlp.Wi.weight": (2 * self.intermediate_size, self.width),
        }
