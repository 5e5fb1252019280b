"""Text encoders whose layers come from the transformers library: one loader, a table row a family.

The library builds the layers from a checked config, offline; code shipped with a model is never run. The forward pass
over the layers is written here: it stops at the highest tap asked for, and traces with dynamic shapes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from priors.architectures._config import ArchitectureConfig, check_taps, read_config
from priors.errors import BadManifest
from priors.registry import architecture

FIRST_AVERAGED = 2
"""The first layer of the `layers_2_<L>` average: layers 0 and 1 hold mostly the words themselves."""


class EncoderConfig(ArchitectureConfig):
    """The config keys that decide what an encoder computes, under the transformers library's names, and `vocab`.

    `vocab` names the tokenizer's vocabulary in the input port, so that ids of another vocabulary do not fit.
    """

    vocab: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
    vocab_size: Annotated[int, Field(ge=2, le=2_000_000)]
    hidden_size: Annotated[int, Field(ge=1, le=16_384)]
    num_hidden_layers: Annotated[int, Field(ge=1, le=128)]
    num_attention_heads: Annotated[int, Field(ge=1, le=256)]
    intermediate_size: Annotated[int, Field(ge=1, le=65_536)]
    max_position_embeddings: Annotated[int, Field(ge=1, le=1_000_000)]
    type_vocab_size: Annotated[int, Field(ge=1, le=1_000)] = 2
    hidden_act: Literal["gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "silu"] = "gelu"
    layer_norm_eps: Annotated[float, Field(gt=0, lt=1)] = 1e-12
    pad_token_id: Annotated[int, Field(ge=0)] = 0


@dataclass(frozen=True)
class Family:
    """Where a transformers model type keeps its parts, and how its token ids become the first hidden state.

    prefixes     what a published file may put before every tensor's name
    layers       the path of the list of layers, in the model and in the file
    embed        (embeddings module, ids (B, T)) -> (B, T, D); passes positions itself, so no buffer is read
    """

    model_type: str
    prefixes: tuple[str, ...]
    layers: str
    embed: Callable[[nn.Module, Tensor], Tensor]


def _embed_absolute(embeddings: nn.Module, ids: Tensor) -> Tensor:
    positions = torch.arange(ids.shape[1], device=ids.device).unsqueeze(0)  # (1, T)
    out: Tensor = embeddings(input_ids=ids, position_ids=positions, token_type_ids=torch.zeros_like(ids))
    return out


FAMILIES = {"bert": Family("bert", ("bert.",), "encoder.layer", _embed_absolute)}


class TransformersEncoder:
    """Token ids and mask in; a tap after the embeddings (`layer_0`), after each layer, and for the mean of several.

    That mean, `layers_2_<L>` for L of 3 or more, is over the hidden states from layer 2 to the last.
    """

    family: Family

    def __init__(self, config: dict[str, Any]) -> None:
        name = self.family.model_type
        self.config = read_config(EncoderConfig, config, name)
        if self.config.hidden_size % self.config.num_attention_heads:
            raise BadManifest(
                f"architecture {name!r}: hidden_size {self.config.hidden_size} does not divide into "
                f"{self.config.num_attention_heads} attention heads. Give a multiple."
            )

    def inputs(self) -> dict[str, str]:
        return {"ids": f"text.ids[B,T]:i64{{mask=ids_mask,vocab={self.config.vocab}}}"}

    def taps(self) -> dict[str, str]:
        return dict.fromkeys(
            [*self._layer_taps(), *self.averages()], f"text.tokens[B,T,D:{self.config.hidden_size}]:f32"
        )

    def averages(self) -> dict[str, list[str]]:
        last = self.config.num_hidden_layers
        if last <= FIRST_AVERAGED:
            return {}
        return {f"layers_{FIRST_AVERAGED}_{last}": self._layer_taps()[FIRST_AVERAGED:]}

    def build(self, taps: tuple[str, ...]) -> nn.Module:
        """A module of `forward(ids (B, T) int64, mask (B, T) bool) -> tuple of (B, T, D)`, no deeper than needed."""
        wanted = check_taps(taps, self.taps(), self.family.model_type)
        averages = self.averages()
        return _EncoderModule(self.config, self.family, [averages.get(tap, [tap]) for tap in wanted])

    def key_map(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        named = {}
        for key, tensor in state.items():
            for prefix in self.family.prefixes:
                key = key.removeprefix(prefix)
            if key.startswith(f"{self.family.layers}."):
                key = f"layers{key.removeprefix(self.family.layers)}"
            named[key] = tensor
        return named

    def _layer_taps(self) -> list[str]:
        return [f"layer_{i}" for i in range(self.config.num_hidden_layers + 1)]


@architecture("bert")
class Bert(TransformersEncoder):
    """BERT encoders (Devlin et al. 2019, arXiv:1810.04805): MiniLM, BERT, and what was fine-tuned from them."""

    family = FAMILIES["bert"]


class _EncoderModule(nn.Module):
    """`outputs[i]` lists the layer taps whose mean is output i; one name means that hidden state itself."""

    def __init__(self, config: EncoderConfig, family: Family, outputs: list[list[str]]) -> None:
        super().__init__()
        # Imported here: reading a family's ports must not cost the seconds transformers takes to import.
        from transformers import AutoConfig, AutoModel

        self._outputs = [[int(tap.removeprefix("layer_")) for tap in names] for names in outputs]
        depth = max(max(layers) for layers in self._outputs)
        settings = config.model_dump(exclude={"vocab"}) | {"num_hidden_layers": depth}
        library_config = AutoConfig.for_model(family.model_type, **settings)
        from_config: Callable[..., Any] = AutoModel.from_config  # the library leaves it untyped
        model = from_config(library_config, attn_implementation="sdpa", trust_remote_code=False)
        self.embeddings = model.embeddings
        self.layers = model.get_submodule(family.layers)
        self._embed = family.embed
        for name, _ in list(self.embeddings.named_buffers(recurse=False)):
            # Positions are passed in. A buffer that no file holds would stay behind when weights are loaded from meta.
            delattr(self.embeddings, name)

    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        state = self._embed(self.embeddings, ids)
        # Additive, finite: a row without any token gives a mean, not NaN.
        blocked = torch.zeros(mask.shape, dtype=state.dtype, device=mask.device)
        blocked = blocked.masked_fill(~mask, torch.finfo(state.dtype).min)[:, None, None, :]  # (B, 1, 1, T)
        states = [state]
        for layer in self.layers:
            state = layer(state, blocked)
            states.append(state)
        return tuple(
            states[layers[0]] if len(layers) == 1 else torch.stack([states[i] for i in layers]).mean(0)
            for layers in self._outputs
        )
