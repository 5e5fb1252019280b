"""A tiny config for every architecture: what the tests of families build."""

from collections.abc import Iterable
from typing import Any

import pytest

_SIZES = {"vocab": "tiny", "vocab_size": 50, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}
_BERT = {**_SIZES, "num_hidden_layers": 3, "max_position_embeddings": 40}
_ROTARY = {**_BERT, "num_key_value_heads": 1}

TEXT: dict[str, dict[str, Any]] = {
    "bert": _BERT,
    "roberta": _BERT,
    "xlm-roberta": _BERT,
    "distilbert": {
        "vocab": "tiny", "vocab_size": 50, "dim": 16, "n_layers": 3, "n_heads": 2, "hidden_dim": 24,
        "max_position_embeddings": 40,
    },
    "mpnet": _BERT,
    "deberta-v2": {
        **_BERT, "relative_attention": True, "position_buckets": 8, "norm_rel_ebd": "layer_norm",
        "share_att_key": True, "pos_att_type": ["p2c", "c2p"], "position_biased_input": False, "conv_kernel_size": 3,
    },
    "modernbert": {**_BERT, "local_attention": 6, "global_attn_every_n_layers": 2},
    "gpt2": {"vocab": "tiny", "vocab_size": 50, "n_embd": 16, "n_layer": 3, "n_head": 2, "n_positions": 40},
    "llama": {
        **_ROTARY,
        "head_dim": 8,
        "rope_scaling": {
            "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 16,
        },
    },
    "qwen2": _ROTARY,
    "t5-encoder": {
        "vocab": "tiny", "vocab_size": 50, "d_model": 16, "d_kv": 4, "d_ff": 24, "num_layers": 3, "num_heads": 2,
        "feed_forward_proj": "gated-gelu",
    },
    "clip-text": {**_BERT, "projection_dim": 8},
    "siglip-text": {**_BERT, "projection_size": 12},
}  # fmt: skip

_PATCHES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}

VISION: dict[str, dict[str, Any]] = {
    "vit": {**_PATCHES, "intermediate_size": 24, "image_size": 32},
    "dinov2": {**_PATCHES, "mlp_ratio": 2, "image_size": 56, "input_size": 42},
    "clip-image": {**_PATCHES, "intermediate_size": 24, "image_size": 32, "patch_size": 16, "projection_dim": 8},
    "siglip-image": {**_PATCHES, "intermediate_size": 24, "image_size": 32},
    "resnet": {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 2], "image_size": 37},
    "convnext": {"hidden_sizes": [8, 16], "depths": [1, 2], "image_size": 37},
    "swin": {"embed_dim": 8, "depths": [2, 1], "num_heads": [2, 2], "window_size": 4, "image_size": 33},
    "mobilenet-v2": {"depth_multiplier": 0.35, "image_size": 37},
}

_WAVE = {
    **_PATCHES, "intermediate_size": 24, "conv_dim": [8, 8], "conv_kernel": [10, 3], "conv_stride": [5, 2],
    "num_conv_pos_embeddings": 6, "num_conv_pos_embedding_groups": 2,
}  # fmt: skip

AUDIO: dict[str, dict[str, Any]] = {
    "wav2vec2": _WAVE,
    "hubert": {**_WAVE, "feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True},
    "whisper-encoder": {
        "d_model": 16, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 24, "num_mel_bins": 6,
        "max_source_positions": 12,
    },
    "crepe": {"capacity": 1, "hop": 160},
    "silero-vad": {},
}  # fmt: skip

TINY: dict[str, dict[str, Any]] = {
    "bert": _BERT,
    "bert-directions": {**_BERT, "layers": [1, 3]},
    "lexicon": {"vocab": "tiny", "vocab_size": 50},
    "efficientnet-lite": {"width": 0.25, "depth": 0.5, "image_size": 64, "classes": 5},
    "lstm-speaker": {"mels": 6, "hidden": 8, "layers": 2, "embedding": 7, "window": 16, "step": 6},
    "resmlp": {"columns": 3, "outputs": 2, "blocks": 2, "width": 8, "inner": 12},
    "ft-transformer": {"columns": 3, "outputs": 2, "blocks": 2, "width": 8, "heads": 2, "inner": 12},
    "exported": {
        "ports": {"x": "tab.num[B,C:3]:f32"},
        "takes": ["x"],
        "outputs": {
            "hidden": {"value": "relu", "type": "vec.feat[B,D:4]:f32"},
            "output": {"value": "y", "type": "vec.feat[B,D:2]:f32"},
        },
        "weights": {
            "a": {"tensor": "first.weight", "shape": [4, 3], "dtype": "f32"},
            "b": {"tensor": "second.weight", "shape": [2, 4], "dtype": "f32"},
        },
        "nodes": [
            {"op": "linear.default", "args": ["%x", "%a"], "out": ["linear"]},
            {"op": "relu.default", "args": ["%linear"], "out": ["relu"]},
            {"op": "linear.default", "args": ["%relu", "%b"], "out": ["y"]},
        ],
    },
    "mlp": {"columns": 3, "widths": [8, 4], "outputs": 2, "activation": "gelu"},
}
"""Families that are no row of the transformers library's table, and bert for what they share."""


def quick(chosen: Iterable[str], names: Iterable[str]) -> pytest.MarkDecorator:
    """A test of every one of `names`, slow but for the `chosen`: those whose graphs differ most."""
    chosen = set(chosen)
    slow = pytest.mark.slow
    return pytest.mark.parametrize("name", [n if n in chosen else pytest.param(n, marks=slow) for n in names])
