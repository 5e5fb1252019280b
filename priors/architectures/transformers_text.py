"""Text encoders whose layers come from the transformers library: one loader, a table row a family.

The forward pass over the layers is written here: it stops at the highest tap asked for, traces with dynamic shapes, and
what the mask hides changes nothing. Configs and ports are in `priors.families`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from priors.architectures._library import blocked, blocked_pairs, drop_buffers, library_model, renamed
from priors.architectures._network import Network
from priors.families.text import ModernBertConfig, TextConfig
from priors.families.text_towers import ClipTextConfig, SiglipTextConfig
from priors.registry import architecture

Step = Callable[[int, nn.Module, Tensor], Tensor]
"""(number of the layer, the layer, the state (B, T, D) before it) -> the state after it."""


@dataclass(frozen=True)
class Family:
    """How one of the library's model types is run.

    begin    (our module, ids, mask) -> the first state, and the step through one layer
    parts    our name -> the library's path, for what is kept beside the layers
    library  the library's model type, where it is not the family's name
    auto     the library's class for it
    rotary   the path of a module that holds computed frequencies
    """

    begin: Callable[[Any, Tensor, Tensor], tuple[Tensor, Step]]
    parts: Mapping[str, str] = field(default_factory=lambda: {"embeddings": "embeddings"})
    library: str | None = None
    auto: str = "AutoModel"
    rotary: str | None = None


class TransformersText(Network[TextConfig]):
    """Token ids and mask in; the taps are those of the family's config (`priors.families.text`)."""

    def averages(self) -> dict[str, list[str]]:
        return self.config.averages()

    def build(self, taps: tuple[str, ...]) -> nn.Module:
        """A module of `forward(ids (B, T) int64, mask (B, T) bool) -> tuple`, no deeper than needed."""
        return _TextModule(self.name, self.config, self.wanted(taps))

    def key_map(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        parts = {**FAMILIES[self.name].parts, "layers": self.config.layer_path}
        return renamed(state, self.config.prefixes, parts)


class _TextModule(nn.Module):
    """`layers` and the parts of the family, under the same names whatever the family."""

    norm: nn.Module
    projection: nn.Module

    def __init__(self, name: str, config: TextConfig, taps: tuple[str, ...]) -> None:
        super().__init__()
        self.config = config
        self._family, self._taps, self._averages = FAMILIES[name], taps, config.averages()
        last = config.depth
        depth = max(
            max(int(one.removeprefix("layer_")) for one in self._averages.get(tap, [tap]))
            if tap.startswith("layer")
            else last
            for tap in taps
        )
        model = library_model(self._family.library or name, config.settings(max(depth, 1)), auto=self._family.auto)
        self._ends = any(not tap.startswith("layer") for tap in taps)  # whether something is read after the last layer
        for ours, theirs in self._family.parts.items():
            part = _part(model, theirs)
            if part is not None and (ours not in ("norm", "projection") or self._ends):
                self.add_module(ours, part)
        self.layers = model.get_submodule(config.layer_path)[:depth]
        if self._ends and isinstance(config, ClipTextConfig):
            self.projection = nn.Linear(config.width, config.projection_dim, bias=False)
        if self._family.rotary is not None:
            with torch.device("cpu"):  # computed, in no file: real numbers even where weights are only to come
                self.rotary = type(model.get_submodule(self._family.rotary))(config=model.config)

    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        if isinstance(self.config, SiglipTextConfig):
            return self._padded(ids, mask, self.config)
        return self._read(ids, mask)

    def _padded(self, ids: Tensor, mask: Tensor, config: SiglipTextConfig) -> tuple[Tensor, ...]:
        """Read at all positions, as it was trained; tokens are cut back to the length that was given."""
        length, all_of_it = ids.shape[1], config.max_position_embeddings
        ids = F.pad(ids.masked_fill(~mask, config.pad_token_id), (0, all_of_it), value=config.pad_token_id)
        ids = ids[:, :all_of_it]
        found = self._read(ids, torch.ones_like(ids, dtype=torch.bool))
        # Chosen by number, not cut: torch.export would want to know that the length is not beyond all positions.
        given = torch.arange(length, device=ids.device)
        return tuple(out.index_select(1, given) if out.dim() == 3 else out for out in found)

    def _read(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        state, step = self._family.begin(self, ids, mask)
        states = {"layer_0": state}
        for i, layer in enumerate(self.layers):
            state = step(i, layer, state)
            states[f"layer_{i + 1}"] = state
        if self._ends:
            states["final"] = self.norm(state) if self.config.final else state
            states["cls"] = states["final"][:, 0]
            if self.config.summary == "last":
                states["last"] = _at_last(states["final"], mask)
            if self.config.embeds:
                states["embedding"] = self.projection(states["last"] if self.config.summary else states["final"][:, -1])
        return tuple(
            torch.stack([states[one] for one in self._averages[tap]]).mean(0) if tap in self._averages else states[tap]
            for tap in self._taps
        )


def _part(model: Any, path: str) -> nn.Module | None:
    """The part at `path`, None where this config has none."""
    for name in path.split("."):
        model = getattr(model, name, None)
    return None if model is None else drop_buffers(model)


def _at_last(state: Tensor, mask: Tensor) -> Tensor:
    """(B, T, D) -> (B, D): the state at each row's last token; at the first position in a row without any."""
    last = (mask.sum(1) - 1).clamp(min=0)
    return state.gather(1, last[:, None, None].expand(-1, 1, state.shape[2])).squeeze(1)


def _positions(ids: Tensor) -> Tensor:
    return torch.arange(ids.shape[1], device=ids.device).unsqueeze(0)  # (1, T)


def _bert(module: Any, ids: Tensor, mask: Tensor) -> tuple[Tensor, Step]:
    state = module.embeddings(input_ids=ids, position_ids=_positions(ids), token_type_ids=torch.zeros_like(ids))
    hidden = blocked(mask, state.dtype)
    return state, lambda i, layer, x: layer(x, hidden)


def _counted(mask: Tensor, pad: int) -> Tensor:
    """RoBERTa's positions: from pad + 1 on for what is there, pad for what is not."""
    return mask.long().cumsum(1) * mask + pad


def _roberta(module: Any, ids: Tensor, mask: Tensor) -> tuple[Tensor, Step]:
    positions = _counted(mask, module.config.pad_token_id)
    state = module.embeddings(input_ids=ids, position_ids=positions, token_type_ids=torch.zeros_like(ids))
    hidden = blocked(mask, state.dtype)
    return state, lambda i, layer, x: layer(x, hidden)


def _distilbert(module: Any, ids: Tensor, mask: Tensor) -> tuple[Tensor, Step]:
    state = module.embeddings(ids, position_ids=_positions(ids))
    hidden = blocked(mask, state.dtype)
    return state, lambda i, layer, x: layer(x, hidden)


def _mpnet(module: Any, ids: Tensor, mask: Tensor) -> tuple[Tensor, Step]:
    from transformers.models.mpnet.modeling_mpnet import MPNetEncoder

    state = module.embeddings(input_ids=ids, position_ids=_counted(mask, module.config.pad_token_id))
    hidden = blocked(mask, state.dtype)
    positions = _positions(ids)
    bucket_of: Callable[[Tensor], Tensor] = MPNetEncoder.relative_position_bucket
    buckets = bucket_of(positions - positions.transpose(0, 1))
    bias = module.relative(buckets).permute(2, 0, 1).unsqueeze(0)  # (1, heads, T, T)
    bias = bias.expand(ids.shape[0], -1, -1, -1)
    return state, lambda i, layer, x: layer(x, hidden, bias)[0]


def _deberta(module: Any, ids: Tensor, mask: Tensor) -> tuple[Tensor, Step]:
    from transformers.models.deberta_v2.modeling_deberta_v2 import build_relative_position

    config: Any = module.config
    state = module.embeddings(
        input_ids=ids, position_ids=_positions(ids), token_type_ids=torch.zeros_like(ids), mask=mask
    )
    pairs = mask[:, None, None, :] & mask[:, None, :, None]
    reach = config.max_relative_positions if config.max_relative_positions > 0 else config.max_position_embeddings
    relative, table = None, None
    if config.relative_attention:
        relative = build_relative_position(state, state, bucket_size=config.position_buckets, max_position=reach)
        table = module.relative.weight
        table = module.relative_norm(table) if config.norm_rel_ebd == "layer_norm" else table

    def step(i: int, layer: nn.Module, x: Tensor) -> Tensor:
        out: Tensor = layer(x, pairs, relative_pos=relative, rel_embeddings=table)[0]
        return module.conv(x, out, mask.long()) if i == 0 and config.conv_kernel_size else out

    return state, step


def _modernbert(module: Any, ids: Tensor, mask: Tensor) -> tuple[Tensor, Step]:
    config: ModernBertConfig = module.config
    state, positions = module.embeddings(input_ids=ids), _positions(ids)
    near = (positions - positions.transpose(0, 1)).abs() <= config.local_attention // 2  # (T, T)
    hidden = {
        "full_attention": blocked(mask, state.dtype),
        "sliding_attention": blocked_pairs(mask, near, state.dtype),
    }
    types = config.layer_types(len(module.layers))
    turned = {kind: module.rotary(state, positions, kind) for kind in dict.fromkeys(types)}

    def step(i: int, layer: nn.Module, x: Tensor) -> Tensor:
        out: Tensor = layer(x, attention_mask=hidden[types[i]], position_embeddings=turned[types[i]])
        return out

    return state, step


def _causal(mask: Tensor, positions: Tensor, dtype: torch.dtype) -> Tensor:
    return blocked_pairs(mask, positions <= positions.transpose(0, 1), dtype)


def _gpt2(module: Any, ids: Tensor, mask: Tensor) -> tuple[Tensor, Step]:
    positions = _positions(ids)
    state = module.embeddings(ids) + module.positions(positions)
    hidden = _causal(mask, positions, state.dtype)
    return state, lambda i, layer, x: layer(x, attention_mask=hidden)


def _llama(module: Any, ids: Tensor, mask: Tensor) -> tuple[Tensor, Step]:
    positions = _positions(ids)
    state = module.embeddings(ids)
    hidden, turned = _causal(mask, positions, state.dtype), module.rotary(state, positions)
    return state, lambda i, layer, x: layer(x, attention_mask=hidden, position_embeddings=turned)


def _t5(module: Any, ids: Tensor, mask: Tensor) -> tuple[Tensor, Step]:
    state: Tensor = module.embeddings(ids)
    hidden = blocked(mask, state.dtype)
    attention: Any = module.layers[0].layer[0].SelfAttention if len(module.layers) else None
    bias = attention.compute_bias(ids.shape[1], ids.shape[1], device=ids.device) if attention else None
    return state, lambda i, layer, x: layer(x, hidden, bias)[0]


def _clip(module: Any, ids: Tensor, mask: Tensor) -> tuple[Tensor, Step]:
    positions = _positions(ids)
    state = module.embeddings(ids, position_ids=positions)
    hidden = _causal(mask, positions, state.dtype)
    return state, lambda i, layer, x: layer(x, hidden)


def _siglip(module: Any, ids: Tensor, mask: Tensor) -> tuple[Tensor, Step]:
    return module.embeddings(ids, position_ids=_positions(ids)), lambda i, layer, x: layer(x, None)


_ROTARY = {"embeddings": "embed_tokens", "norm": "norm"}

FAMILIES = {
    "bert": Family(_bert),
    "roberta": Family(_roberta),
    "xlm-roberta": Family(_roberta),
    "distilbert": Family(_distilbert),
    "mpnet": Family(_mpnet, {"embeddings": "embeddings", "relative": "encoder.relative_attention_bias"}),
    "deberta-v2": Family(
        _deberta,
        {
            "embeddings": "embeddings",
            "relative": "encoder.rel_embeddings",
            "relative_norm": "encoder.LayerNorm",
            "conv": "encoder.conv",
        },
    ),
    "modernbert": Family(_modernbert, {"embeddings": "embeddings", "norm": "final_norm"}, rotary="rotary_emb"),
    "gpt2": Family(_gpt2, {"embeddings": "wte", "positions": "wpe", "norm": "ln_f"}),
    "llama": Family(_llama, _ROTARY, rotary="rotary_emb"),
    "qwen2": Family(_llama, _ROTARY, rotary="rotary_emb"),
    "t5-encoder": Family(
        _t5,
        {"embeddings": "shared", "norm": "encoder.final_layer_norm"},
        library="t5",
        auto="AutoModelForTextEncoding",
    ),
    "clip-text": Family(
        _clip,
        {"embeddings": "embeddings", "norm": "final_layer_norm", "projection": "text_projection"},
        library="clip_text_model",
    ),
    "siglip-text": Family(
        _siglip,
        {"embeddings": "embeddings", "norm": "final_layer_norm", "projection": "head"},
        library="siglip_text_model",
        auto="SiglipTextModel",
    ),
}

for _name in FAMILIES:
    architecture(_name)(type(f"Text[{_name}]", (TransformersText,), {}))
