"""Audio encoders whose layers come from the transformers library: wav2vec 2.0 and HuBERT over waves, Whisper over mels.

What the mask hides changes nothing, unlike in the library: its group normalization of base models counts padding in.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from priors.architectures._library import blocked, library_model, renamed
from priors.architectures._network import Network
from priors.families.audio import HubertConfig, WaveConfig, WhisperConfig
from priors.registry import architecture

_PARTS = {
    "extractor": "feature_extractor",
    "projection": "feature_projection",
    "positions": "encoder.pos_conv_embed",
    "norm": "encoder.layer_norm",
}
_WEIGHT_NORM = (("weight_g", "weight_v"), ("parametrizations.weight.original0", "parametrizations.weight.original1"))
"""What the scale and the direction of a normalized weight are called, in older and newer files."""


class _Wave(Network[WaveConfig]):
    """Waves (B, T) and mask in; means over the frames that lie within it out."""

    def build(self, taps: tuple[str, ...]) -> nn.Module:
        """A module of `forward(wave (B, T) float32, mask (B, T) bool) -> tuple of (B, D)`, no deeper than needed."""
        return _WaveModule(self.name, self.config, self.wanted(taps))

    def key_map(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The normalized weight of the positions is multiplied out: the same function."""
        named = renamed(state, self.config.prefixes, {**_PARTS, "layers": self.config.layer_path})
        for scale, direction in _WEIGHT_NORM:
            g, v = (named.pop(f"positions.conv.{part}", None) for part in (scale, direction))
            if g is not None and v is not None:
                named["positions.conv.weight"] = torch._weight_norm(v, g, 2)
        return named


@architecture("wav2vec2")
class Wav2Vec2(_Wave):
    """wav2vec 2.0 (Baevski et al. 2020, arXiv:2006.11477)."""


@architecture("hubert")
class Hubert(_Wave):
    """HuBERT (Hsu et al. 2021, arXiv:2106.07447)."""


class _WaveModule(nn.Module):
    def __init__(self, name: str, config: WaveConfig, taps: tuple[str, ...]) -> None:
        super().__init__()
        self.config, self._taps = config, taps
        depth = max(config.depth if tap == "final" else int(tap.removeprefix("layer_")) for tap in taps)
        model = library_model(name, config.settings(max(depth, 1)))
        for ours, path in _PARTS.items():
            if ours != "norm" or "final" in taps or not config.do_stable_layer_norm:
                self.add_module(ours, model.get_submodule(path))
        plain: Any = self.positions
        width, kernel = config.hidden_size, config.num_conv_pos_embeddings
        plain.conv = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=config.num_conv_pos_embedding_groups)
        self.layers = model.get_submodule(config.layer_path)[:depth]

    def forward(self, wave: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        me: Any = self
        stable = self.config.do_stable_layer_norm
        state, lengths = self._frames(wave * mask, mask.sum(1))
        seen = torch.arange(state.shape[1], device=wave.device) < lengths.unsqueeze(1)  # (B, S)
        projected = me.projection(state)
        state = projected if isinstance(self.config, HubertConfig) else projected[0]
        state = state * seen.unsqueeze(2)
        state = state + me.positions(state)
        state = state if stable else me.norm(state)
        hidden = blocked(seen, state.dtype)
        states = {"layer_0": state}
        for i, layer in enumerate(self.layers, 1):
            state = layer(state, attention_mask=hidden)
            states[f"layer_{i}"] = state
        if stable and "final" in self._taps:
            states["final"] = me.norm(state)
        share = (seen / lengths.unsqueeze(1)).unsqueeze(2)  # (B, S, 1)
        return tuple((states[tap] * share).sum(1) for tap in self._taps)

    def _frames(self, wave: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(B, S, C), and how many frames of each wave lie within it, at least one."""
        config, own = self.config, self.extractor
        # Silence after the end, so that there are two frames or more: torch.export takes a dimension that may be 1 as
        # constant. Frames beyond the end do not count.
        x = F.pad(wave, (0, 2 * config.reach)).unsqueeze(1)  # (B, 1, T)
        for i, layer in enumerate(own.conv_layers):  # type: ignore[union-attr, arg-type]
            lengths = ((lengths - config.conv_kernel[i]) // config.conv_stride[i] + 1).clamp(min=1)
            x = _normalized(layer, x, lengths) if i == 0 and config.feat_extract_norm == "group" else layer(x)
        return x.transpose(1, 2), lengths


def _normalized(layer: Any, x: Tensor, lengths: Tensor) -> Tensor:
    """The first convolution of a base model, each channel normalized over its own wave's frames."""
    x = layer.conv(x)  # (B, C, S)
    seen = (torch.arange(x.shape[2], device=x.device) < lengths.unsqueeze(1)).unsqueeze(1)  # (B, 1, S)
    count = lengths.view(-1, 1, 1)
    mean = (x * seen).sum(2, keepdim=True) / count
    variance = ((x - mean).square() * seen).sum(2, keepdim=True) / count
    x = (x - mean) / (variance + layer.layer_norm.eps).sqrt()
    scale, shift = (part.view(1, -1, 1) for part in (layer.layer_norm.weight, layer.layer_norm.bias))
    out: Tensor = layer.activation(x * scale + shift)
    return out


_WHISPER = {
    "conv1": "encoder.conv1",
    "conv2": "encoder.conv2",
    "positions": "encoder.embed_positions",
    "norm": "encoder.layer_norm",
}


_NO_DECODER = {"decoder_layers": 1, "decoder_attention_heads": 1, "decoder_ffn_dim": 1}
"""The library builds a decoder too, which is dropped: a small one."""


@architecture("whisper-encoder")
class Whisper(Network[WhisperConfig]):
    """Mel frames (B, T, F) of half a minute in, frames (B, T / 2, D) out (Radford et al. 2022, arXiv:2212.04356)."""

    def build(self, taps: tuple[str, ...]) -> nn.Module:
        """A module of `forward(mel (B, T, F) float32) -> tuple of (B, T / 2, D)`, no deeper than needed."""
        return _WhisperModule(self.config, self.wanted(taps))

    def key_map(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        return renamed(state, self.config.prefixes, {**_WHISPER, "layers": self.config.layer_path})


class _WhisperModule(nn.Module):
    def __init__(self, config: WhisperConfig, taps: tuple[str, ...]) -> None:
        super().__init__()
        self._taps = taps
        depth = max(config.depth if tap == "final" else int(tap.removeprefix("layer_")) for tap in taps)
        model = library_model("whisper", {**config.settings(max(depth, 1)), **_NO_DECODER})
        for ours, path in _WHISPER.items():
            if ours != "norm" or "final" in taps:
                self.add_module(ours, model.get_submodule(path))
        self.layers = model.get_submodule(config.layer_path)[:depth]

    def forward(self, mel: Tensor) -> tuple[Tensor, ...]:
        me: Any = self
        x = F.gelu(me.conv2(F.gelu(me.conv1(mel.transpose(1, 2)))))  # (B, D, T / 2)
        state = x.transpose(1, 2) + me.positions.weight
        states = {"layer_0": state}
        for i, layer in enumerate(self.layers, 1):
            state = layer(state, None)
            states[f"layer_{i}"] = state
        if "final" in self._taps:
            states["final"] = me.norm(state)
        return tuple(states[tap] for tap in self._taps)
