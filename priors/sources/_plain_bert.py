"""Plain BERT encoders: config.json as transformers writes it, model.safetensors, tokenizer.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from priors.manifest import FileInfo
from priors.weights import WEIGHTS, Header

TOKENIZER = "tokenizer.json"
_ACTIVATIONS = ("gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "silu")
_SIZES = (
    "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
    "max_position_embeddings",
)  # fmt: skip
_MAX_TOKENS = 512
"""The longest text a derived prior encodes: what is beyond it costs more than it says (priors/host/text.py)."""


def describe(config: Mapping[str, Any], header: Header, files: Mapping[str, FileInfo]) -> dict[str, Any] | None:
    """What a manifest says of the network; None for anything but a BERT encoder with its tokenizer."""
    if not _is_bert(config) or not {WEIGHTS, TOKENIZER} <= files.keys():
        return None
    sizes = {key: config.get(key) for key in _SIZES}
    if not all(type(size) is int and size > 0 for size in sizes.values()) or not _fits(config, header):
        return None
    layers = int(config["num_hidden_layers"])
    vocab = f"tokenizer-{files[TOKENIZER].sha256[:16]}"  # two models of one vocabulary have the same file
    taps = [f"layer_{i}" for i in range(layers + 1)] + ([f"layers_2_{layers}"] if layers > 2 else [])
    averages = {f"layers_2_{layers}": taps[2 : layers + 1]} if layers > 2 else {}
    return {
        "summary": f"BERT encoder, {layers} layers of {sizes['hidden_size']}.",
        "architecture": {
            "id": "bert",
            "config": {
                "vocab": vocab,
                **sizes,
                "type_vocab_size": config.get("type_vocab_size", 2),
                "hidden_act": config.get("hidden_act", "gelu"),
                "layer_norm_eps": float(config.get("layer_norm_eps", 1e-12)),
                "pad_token_id": config.get("pad_token_id") or 0,
            },
        },
        "inputs": {"ids": f"text.ids[B,T]:i64{{mask=ids_mask,vocab={vocab}}}"},
        "taps": dict.fromkeys(taps, f"text.tokens[B,T,D:{sizes['hidden_size']}]:f32"),
        "averages": averages,
        "default_tap": f"layer_{layers}",
        "host": {
            "encoder": "tokenizer",
            "file": TOKENIZER,
            "max_tokens": min(_MAX_TOKENS, int(config["max_position_embeddings"])),
        },
        "files": (TOKENIZER, WEIGHTS),
    }


def _is_bert(config: Mapping[str, Any]) -> bool:
    named = config.get("architectures")
    return (
        config.get("model_type") == "bert"
        and isinstance(named, list)
        and any(isinstance(one, str) and one.startswith("Bert") for one in named)
        and config.get("position_embedding_type", "absolute") == "absolute"
        and not config.get("is_decoder")
        and config.get("hidden_act", "gelu") in _ACTIVATIONS
        and isinstance(config.get("layer_norm_eps", 1e-12), int | float)
    )


def _fits(config: Mapping[str, Any], header: Header) -> bool:
    """Whether the tensors have the sizes that the config says, in as many layers."""
    width, inner = config["hidden_size"], config["intermediate_size"]
    shapes = {name.removeprefix("bert."): info.shape for name, info in header.tensors.items()}
    wanted = {
        "embeddings.word_embeddings.weight": (config["vocab_size"], width),
        "embeddings.position_embeddings.weight": (config["max_position_embeddings"], width),
        "embeddings.token_type_embeddings.weight": (config.get("type_vocab_size", 2), width),
    }
    for layer in range(config["num_hidden_layers"] if config["num_hidden_layers"] <= 128 else 0):
        wanted[f"encoder.layer.{layer}.attention.self.query.weight"] = (width, width)
        wanted[f"encoder.layer.{layer}.intermediate.dense.weight"] = (inner, width)
    deeper = f"encoder.layer.{config['num_hidden_layers']}."
    return (
        width % config["num_attention_heads"] == 0
        and all(shapes.get(name) == shape for name, shape in wanted.items())
        and not any(name.startswith(deeper) for name in shapes)
    )
