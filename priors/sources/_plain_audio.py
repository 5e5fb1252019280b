"""Plain audio models of the transformers library: config.json, preprocessor_config.json and model.safetensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from priors.families.audio import HubertConfig, Wav2Vec2Config, WaveConfig, WhisperConfig
from priors.manifest import FileInfo
from priors.sources._plain_shapes import fits
from priors.weights import WEIGHTS, Header

Config = Mapping[str, Any]

_ROWS: Mapping[str, tuple[str, str, str, type[WaveConfig] | type[WhisperConfig]]] = {
    "wav2vec2": ("wav2vec2", "Wav2Vec2", "wav2vec 2.0 encoder", Wav2Vec2Config),
    "hubert": ("hubert", "Hubert", "HuBERT encoder", HubertConfig),
    "whisper": ("whisper-encoder", "Whisper", "Whisper's encoder", WhisperConfig),
}
"""Model type -> architecture id, how the names of its classes begin, what it is, its config."""
_ONLY_FALSE = ("add_adapter", "conv_pos_batch_norm", "scale_embedding")
"""Keys that ask for what the loader does not do."""


def describe(
    config: Config, header: Header, files: Mapping[str, FileInfo], preprocessor: Config | None
) -> dict[str, Any] | None:
    """What a manifest says of the network; None for anything but a known family with its preprocessor."""
    row, named = _ROWS.get(str(config.get("model_type"))), config.get("architectures")
    if row is None or preprocessor is None or WEIGHTS not in files or not isinstance(named, list):
        return None
    family, classes, title, schema = row
    if not any(isinstance(one, str) and one.startswith(classes) for one in named):
        return None
    if any(config.get(key) for key in _ONLY_FALSE):
        return None
    found = {key: value for key, value in config.items() if key in schema.model_fields and value is not None}
    try:
        read = schema.model_validate({**found, "rate": preprocessor.get("sampling_rate")})
    except (ValidationError, ValueError, TypeError):
        return None
    host = _wave(read, preprocessor) if isinstance(read, WaveConfig) else _mel(read, preprocessor)
    if host is None or not fits(read, header):
        return None
    return {
        "summary": f"{title}, {read.depth} layers.",
        "architecture": {"id": family, "config": read.model_dump(mode="json")},
        "inputs": read.inputs(),
        "taps": read.taps(),
        "averages": {},
        "default_tap": read.default,
        "host": host,
        "files": (WEIGHTS,),
    }


def _wave(config: WaveConfig, given: Config) -> dict[str, Any] | None:
    if given.get("feature_size", 1) != 1 or given.get("padding_value", 0.0) != 0:
        return None
    return {"encoder": "wave", "rate": config.rate, "normalize": bool(given.get("do_normalize", True))}


def _mel(config: WhisperConfig, given: Config) -> dict[str, Any] | None:
    hop, n_fft, n_mels = given.get("hop_length", 160), given.get("n_fft", 400), given.get("feature_size", 80)
    if n_mels != config.num_mel_bins or type(hop) is not int or type(n_fft) is not int or given.get("dither", 0.0):
        return None
    frames = 2 * config.max_source_positions
    if given.get("chunk_length", 30) * config.rate != frames * hop:
        return None
    return {"encoder": "whisper", "rate": config.rate, "n_fft": n_fft, "hop": hop, "n_mels": n_mels, "frames": frames}
