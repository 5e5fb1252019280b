"""Plain models of the transformers library: config.json as it writes it, model.safetensors, and what reads raw values.

One row a model type. A config that asks for something a row does not allow is not described: nothing is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from priors.families import config_class
from priors.families.text import ModernBertConfig, TextConfig
from priors.manifest import FileInfo
from priors.sources._plain_shapes import fits
from priors.weights import WEIGHTS, Header

TOKENIZER = "tokenizer.json"
_MAX_TOKENS = 512
"""The longest text a derived prior encodes: what is beyond it costs more than it says (priors/host/text.py)."""

Config = Mapping[str, Any]


@dataclass(frozen=True)
class _Row:
    """One model type.

    family   the architecture id
    classes  how the names of its classes begin
    title    what it is, for the summary
    must     keys that may have no other value than these
    read     the config with keys as the family has them, for what the library writes in another way
    """

    family: str
    classes: str
    title: str
    must: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    read: Callable[[Config], dict[str, Any]] = dict


def describe(
    config: Config, header: Header, files: Mapping[str, FileInfo], tokenizer: Config | None = None
) -> dict[str, Any] | None:
    """What a manifest says of the network; None for anything but a family that is known, with its tokenizer."""
    row = _TEXT.get(str(config.get("model_type")))
    host = _host(str(config.get("model_type")), files, tokenizer or {})
    if row is None or not _is(row, config) or host is None or WEIGHTS not in files:
        return None
    vocab = f"tokenizer-{files[host['file']].sha256[:16]}"  # two models of one vocabulary have the same file
    read = _read(row, config, vocab=vocab)
    if read is None or not fits(read, header):
        return None
    return {
        "summary": f"{row.title}, {read.depth} layers of {read.width}.",
        "architecture": {"id": row.family, "config": read.model_dump(mode="json")},
        "inputs": read.inputs(),
        "taps": read.taps(),
        "averages": read.averages(),
        "default_tap": "last" if read.summary == "last" else "final" if read.final else f"layer_{read.depth}",
        "host": {"encoder": "tokenizer", **host, "max_tokens": min(_MAX_TOKENS, _longest(read))},
        "files": (*(host[key] for key in ("file", "merges") if key in host), WEIGHTS),
    }


def _host(model_type: str, files: Mapping[str, FileInfo], tokenizer: Config) -> dict[str, Any] | None:
    """Which files its texts are read by. Without tokenizer.json tokenizer_config.json has to say under which numbers
    tokens beside those of the form were added."""
    if TOKENIZER in files:
        return {"file": TOKENIZER}
    form, *names = _FORMS.get(model_type, ("",))
    added = _added(tokenizer)
    if not names or not files.keys() >= set(names) or added is None:
        return None
    if "added_tokens.json" in files and "added_tokens_decoder" not in tokenizer:
        return None
    host: dict[str, Any] = {"file": names[0], "form": form, **({"merges": names[1]} if names[1:] else {})}
    if form in ("bert", "mpnet", "deberta-v2"):
        lower = tokenizer.get("do_lower_case", False if form == "deberta-v2" else None)
        if not isinstance(lower, bool) or tokenizer.get("split_by_punct"):
            return None  # nothing in the vocabulary says whether letters are made small
        host["lowercase"] = lower
    if form in ("bert", "mpnet"):
        host["accents"], host["chinese"] = tokenizer.get("strip_accents"), tokenizer.get("tokenize_chinese_chars", True)
        if host["accents"] not in (None, True, False) or host["chinese"] not in (True, False):
            return None
    if form == "llama":
        plain: dict[str, tuple[object, ...]] = {"add_bos_token": (None, True), "add_eos_token": (None, False)}
        plain["tokenizer_class"] = (None, "LlamaTokenizer", "LlamaTokenizerFast")
        if not all(tokenizer.get(key) in allowed for key, allowed in plain.items()):
            return None
    if tokenizer.get("add_prefix_space") not in ((None, True) if form == "llama" else (None, False)):
        return None
    others, own = {str(one["content"]) for one in added}, _named(tokenizer)
    # Around pairs of bytes no token is put, so it does not matter what those of the start and the end are called.
    allowed = others if form in ("gpt2", "qwen2") else set()
    more = tokenizer.get("additional_special_tokens") or []
    if not isinstance(more, list) or not all(_SPECIAL.fullmatch(name) or name in allowed for name in own):
        return None
    if not all(_SPECIAL.fullmatch(name) or name in others for name in map(_content, more)):
        return None
    return host | ({"added": added} if added else {})


def _added(tokenizer: Config) -> list[dict[str, Any]] | None:
    """Tokens beside those of the form, as the host's `added` has them; None where that cannot be told."""
    said = tokenizer.get("added_tokens_decoder") or {}
    if not isinstance(said, dict) or len(said) > _MOST_ADDED:
        return None
    found = []
    for number, one in said.items():
        content = one.get("content") if isinstance(one, dict) else None
        if not re.fullmatch(r"[0-9]{1,6}", str(number)) or not isinstance(content, str) or not 0 < len(content) <= 200:
            return None
        flags = {key: one[key] for key in _FLAGS if key in one}
        if not all(isinstance(flag, bool) for flag in flags.values()):
            return None
        if not _SPECIAL.fullmatch(content):
            found.append({"id": int(number), "content": content, **flags})
    return sorted(found, key=lambda one: int(one["id"]))


def _named(tokenizer: Config) -> set[str]:
    """The tokens it has for the start, the end, and so on."""
    return {_content(tokenizer[key]) for key in _SPECIAL_KEYS if tokenizer.get(key)}


def _content(token: object) -> str:
    return str(token.get("content")) if isinstance(token, dict) else str(token)


_MOST_ADDED = 1_000
_FLAGS = ("special", "single_word", "lstrip", "rstrip", "normalized")
_SPECIAL = re.compile(r"\[(PAD|UNK|CLS|SEP|MASK)\]|</?s>|<(pad|unk|mask)>|<\|endoftext\|>|<extra_id_\d\d?>")
_SPECIAL_KEYS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
"""Of tokenizer_config.json: where one is another than the form's, its tokens mean something else."""


def _is(row: _Row, config: Config) -> bool:
    named = config.get("architectures")
    return (
        isinstance(named, list)
        and any(isinstance(one, str) and one.startswith(row.classes) for one in named)
        and all(config.get(key, allowed[0]) in allowed for key, allowed in row.must.items())
    )


def _read(row: _Row, config: Config, **more: str) -> TextConfig | None:
    """The family's config: of the file's keys those that the family has, and none that is null."""
    schema = config_class(row.family, TextConfig)
    try:
        found = {key: value for key, value in row.read(config).items() if key in schema.model_fields}
        return schema.model_validate({key: value for key, value in found.items() if value is not None} | more)
    except (ValidationError, TypeError, ValueError, AttributeError, KeyError):
        return None


def _longest(config: TextConfig) -> int:
    """How many positions the network has. RoBERTa and MPNet count from the one after their padding's."""
    sizes = config.model_dump()
    positions: int = sizes.get("max_position_embeddings") or sizes.get("n_positions") or _MAX_TOKENS
    from_pad = config.prefixes in (("roberta.",), ("mpnet.",))
    return max(positions - (sizes["pad_token_id"] + 1 if from_pad else 0), 4)


def _deberta(config: Config) -> dict[str, Any]:
    kinds = config.get("pos_att_type") or []
    return {**config, "pos_att_type": kinds.lower().split("|") if isinstance(kinds, str) else list(kinds)}


def _rotary(config: Config) -> dict[str, Any]:
    """`rope_parameters` of the library's fifth version, or `rope_theta` and `rope_scaling` of those before."""
    rope = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
    theta = rope.pop("rope_theta", config.get("rope_theta"))
    kind = rope.pop("rope_type", rope.pop("type", "default"))
    scaling = None if kind == "default" else {key: _number(value) for key, value in rope.items()} | {"rope_type": kind}
    heads = config.get("num_key_value_heads") or config.get("num_attention_heads")
    return {**config, "rope_theta": theta, "rope_scaling": scaling, "num_key_value_heads": heads}


def _number(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() and value > 1_000 else value


def _modernbert(config: Config) -> dict[str, Any]:
    read = dict(config)
    for kind, key in (("full_attention", "global_rope_theta"), ("sliding_attention", "local_rope_theta")):
        if rope := (config.get("rope_parameters") or {}).get(kind):
            if rope.get("rope_type", "default") != "default":
                raise ValueError(f"{kind} has other positions")
            read[key] = rope.get("rope_theta")
    if (types := config.get("layer_types")) is not None:
        full = [i for i, kind in enumerate(types) if kind == "full_attention"]
        read["global_attn_every_n_layers"] = full[1] if len(full) > 1 else len(types)
        sizes = {
            key: value for key, value in read.items() if key in ModernBertConfig.model_fields and value is not None
        }
        if ModernBertConfig(**{**sizes, "vocab": "any"}).layer_types(len(types)) != types:
            raise ValueError("layer_types is no regular pattern")
    return read


_ENCODER = {"is_decoder": (False, None), "add_cross_attention": (False, None)}
_LEARNED = {**_ENCODER, "position_embedding_type": ("absolute", None)}

_TEXT = {
    "bert": _Row("bert", "Bert", "BERT encoder", _LEARNED),
    "roberta": _Row("roberta", "Roberta", "RoBERTa encoder", _LEARNED),
    "xlm-roberta": _Row("xlm-roberta", "XLMRoberta", "XLM-RoBERTa encoder", _LEARNED),
    "distilbert": _Row("distilbert", "DistilBert", "DistilBERT encoder", _ENCODER),
    "mpnet": _Row("mpnet", "MPNet", "MPNet encoder", _ENCODER),
    "deberta-v2": _Row(
        "deberta-v2",
        "DebertaV2",
        "DeBERTa encoder",
        {**_ENCODER, "embedding_size": (None,), "attention_head_size": (None,), "conv_groups": (1, None)},
        _deberta,
    ),
    "modernbert": _Row("modernbert", "ModernBert", "ModernBERT encoder", _ENCODER, _modernbert),
    "gpt2": _Row(
        "gpt2",
        "GPT2",
        "GPT-2 decoder",
        {
            "scale_attn_weights": (True,),
            "scale_attn_by_inverse_layer_idx": (False,),
            "reorder_and_upcast_attn": (False,),
            "add_cross_attention": (False,),
        },
    ),
    "llama": _Row("llama", "Llama", "Llama decoder", {}, _rotary),
    "qwen2": _Row("qwen2", "Qwen2", "Qwen2 decoder", {"use_sliding_window": (False,)}, _rotary),
    "t5": _Row("t5-encoder", "T5", "T5 encoder"),
}

_FORMS = {
    "bert": ("bert", "vocab.txt"),
    "distilbert": ("bert", "vocab.txt"),
    "mpnet": ("mpnet", "vocab.txt"),
    "roberta": ("roberta", "vocab.json", "merges.txt"),
    "gpt2": ("gpt2", "vocab.json", "merges.txt"),
    "qwen2": ("qwen2", "vocab.json", "merges.txt"),
    "xlm-roberta": ("xlm-roberta", "sentencepiece.bpe.model"),
    "t5": ("t5", "spiece.model"),
    "deberta-v2": ("deberta-v2", "spm.model"),
    "llama": ("llama", "tokenizer.model"),
}
"""Model type -> the form of its vocabulary (`priors.host._vocabularies`) and its files."""
