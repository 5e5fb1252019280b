"""Audio families without torch: wav2vec 2.0, HuBERT, Whisper's encoder, CREPE, Silero VAD. See `priors.families.text`.

A wave's frames are fewer than its samples, so what reads waves gives means over the frames that sound is in.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from priors.families._config import ArchitectureConfig
from priors.families.text import Activation, Depth, Epsilon, Heads, Inner, Shapes, Width

Rate = Annotated[int, Field(ge=1_000, le=768_000)]
Channels = Annotated[int, Field(ge=1, le=8_192)]
Kernel = Annotated[int, Field(ge=1, le=512)]


class WaveConfig(ArchitectureConfig):
    """Convolutions over samples, then a transformer over frames: `layer_<i>` is the mean after layer i."""

    prefixes: ClassVar[tuple[str, ...]] = ("wav2vec2.",)
    layer_path: ClassVar[str] = "encoder.layers"

    hidden_size: Width
    num_hidden_layers: Depth
    num_attention_heads: Heads
    intermediate_size: Inner
    hidden_act: Activation = "gelu"
    conv_dim: list[Channels] = Field(default=[512] * 7, min_length=1, max_length=16)
    conv_kernel: list[Kernel] = Field(default=[10, 3, 3, 3, 3, 2, 2], min_length=1, max_length=16)
    conv_stride: list[Kernel] = Field(default=[5, 2, 2, 2, 2, 2, 2], min_length=1, max_length=16)
    conv_bias: bool = False
    feat_extract_norm: Literal["group", "layer"] = "group"
    feat_extract_activation: Activation = "gelu"
    num_conv_pos_embeddings: Annotated[int, Field(ge=1, le=1_024)] = 128
    num_conv_pos_embedding_groups: Annotated[int, Field(ge=1, le=1_024)] = 16
    do_stable_layer_norm: bool = False
    layer_norm_eps: Epsilon = 1e-5
    rate: Rate = 16_000

    @model_validator(mode="after")
    def _fits_together(self) -> WaveConfig:
        if not len(self.conv_dim) == len(self.conv_kernel) == len(self.conv_stride):
            raise ValueError("conv_dim, conv_kernel and conv_stride must have one entry a convolution")
        if self.hidden_size % self.num_attention_heads or self.hidden_size % self.num_conv_pos_embedding_groups:
            raise ValueError(
                f"hidden_size {self.hidden_size} must be a multiple of num_attention_heads "
                f"{self.num_attention_heads} and of num_conv_pos_embedding_groups {self.num_conv_pos_embedding_groups}"
            )
        return self

    @property
    def depth(self) -> int:
        return self.num_hidden_layers

    @property
    def reach(self) -> int:
        """How many samples one frame sees."""
        reach = 1
        for kernel, stride in zip(reversed(self.conv_kernel), reversed(self.conv_stride), strict=True):
            reach = (reach - 1) * stride + kernel
        return reach

    def settings(self, depth: int) -> dict[str, object]:
        return self.model_dump(exclude={"rate"}) | {
            "num_hidden_layers": depth,
            "num_feat_extract_layers": len(self.conv_dim),
            "mask_time_prob": 0.0,
        }

    def inputs(self) -> dict[str, str]:
        return {"wave": f"audio.wave[B,T]:f32{{mask=wave_mask,sr={self.rate}}}"}

    def taps(self) -> dict[str, str]:
        names = [*(f"layer_{i}" for i in range(self.depth + 1)), *(["final"] if self.do_stable_layer_norm else [])]
        return dict.fromkeys(names, f"vec.feat[B,D:{self.hidden_size}]:f32")

    @property
    def default(self) -> str:
        return "final" if self.do_stable_layer_norm else f"layer_{self.depth}"

    def shapes(self) -> Shapes:
        found: Shapes = {"encoder.layer_norm.weight": (self.hidden_size,)}
        for i, (width, kernel) in enumerate(zip(self.conv_dim, self.conv_kernel, strict=True)):
            before = self.conv_dim[i - 1] if i else 1
            found[f"feature_extractor.conv_layers.{i}.conv.weight"] = (width, before, kernel)
        return found

    def layer_shapes(self) -> Shapes:
        return {"feed_forward.intermediate_dense.weight": (self.intermediate_size, self.hidden_size)}


class Wav2Vec2Config(WaveConfig):
    """wav2vec 2.0 (Baevski et al. 2020, arXiv:2006.11477)."""


class HubertConfig(WaveConfig):
    """HuBERT (Hsu et al. 2021, arXiv:2106.07447)."""

    prefixes = ("hubert.",)
    feat_proj_layer_norm: bool = True


class WhisperConfig(ArchitectureConfig):
    """The encoder of Whisper (Radford et al. 2022, arXiv:2212.04356): half a minute of log-mel frames.

    Silence after a shorter recording is part of it.

    `layer_<i>` and `final` are frames, two mel frames each.
    """

    prefixes: ClassVar[tuple[str, ...]] = ("model.",)
    layer_path: ClassVar[str] = "encoder.layers"
    default: ClassVar[str] = "final"

    d_model: Width
    encoder_layers: Depth
    encoder_attention_heads: Heads
    encoder_ffn_dim: Inner
    num_mel_bins: Annotated[int, Field(ge=1, le=512)] = 80
    max_source_positions: Annotated[int, Field(ge=1, le=16_384)] = 1_500
    activation_function: Activation = "gelu"
    rate: Rate = 16_000

    @model_validator(mode="after")
    def _heads_fit(self) -> WhisperConfig:
        if self.d_model % self.encoder_attention_heads:
            raise ValueError(f"d_model {self.d_model} does not divide into {self.encoder_attention_heads} heads")
        return self

    @property
    def depth(self) -> int:
        return self.encoder_layers

    def settings(self, depth: int) -> dict[str, object]:
        tokens = {"vocab_size": 8, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
        return self.model_dump(exclude={"rate"}) | tokens | {"encoder_layers": depth, "decoder_start_token_id": 3}

    def inputs(self) -> dict[str, str]:
        frames = 2 * self.max_source_positions
        return {"mel": f"audio.mel[B,T:{frames},F:{self.num_mel_bins}]:f32{{sr={self.rate}}}"}

    def taps(self) -> dict[str, str]:
        names = [*(f"layer_{i}" for i in range(self.depth + 1)), "final"]
        return dict.fromkeys(names, f"audio.frames[B,T:{self.max_source_positions},D:{self.d_model}]:f32")

    def shapes(self) -> Shapes:
        return {
            "encoder.conv1.weight": (self.d_model, self.num_mel_bins, 3),
            "encoder.embed_positions.weight": (self.max_source_positions, self.d_model),
        }

    def layer_shapes(self) -> Shapes:
        return {"fc1.weight": (self.encoder_ffn_dim, self.d_model)}


class CrepeConfig(ArchitectureConfig):
    """CREPE (Kim et al. 2018, arXiv:1802.06182): six convolutions over 1,024 samples; widths in units of `capacity`.

    capacity  4 is the published `tiny`, 32 the `full` one;  hop  samples from one frame to the next
    """

    capacity: Annotated[int, Field(ge=1, le=64)] = 32
    hop: Annotated[int, Field(ge=16, le=16_000)] = 320
    rate: Rate = 16_000

    @property
    def widths(self) -> list[int]:
        return [self.capacity * part for part in (32, 4, 4, 4, 8, 16)]

    def inputs(self) -> dict[str, str]:
        return {"wave": f"audio.wave[B,T]:f32{{mask=wave_mask,sr={self.rate}}}"}

    def taps(self) -> dict[str, str]:
        return {
            "features": f"vec.feat[B,D:{self.widths[4] * 8}]:f32",
            "pitch": "vec.feat[B,D:360]:f32",
        }


class SileroConfig(ArchitectureConfig):
    """Silero VAD as published for 16 kHz: all its sizes are fixed."""

    rate: Literal[16_000] = 16_000

    def inputs(self) -> dict[str, str]:
        return {"wave": f"audio.wave[B,T]:f32{{mask=wave_mask,sr={self.rate}}}"}

    def taps(self) -> dict[str, str]:
        return {"features": "vec.feat[B,D:128]:f32", "speech": "vec.feat[B,D:1]:f32"}
