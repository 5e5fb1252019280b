"""Silero VAD: how sure one may be that somebody speaks, 31 times a second. Silero Team, github.com/snakers4/silero-vad.

Sizes and names are those of the published weights for 16 kHz. Frames of 512 samples, each after the last 64 of the one
before; a fixed spectrum, four convolutions, and an LSTM whose state goes on from frame to frame.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from priors.architectures._network import Network
from priors.architectures.recurrence import LstmLayer
from priors.families.audio import SileroConfig
from priors.registry import architecture

FRAME, BEFORE = 512, 64
_FFT, _HOP = 256, 128
_CONVS = ((_FFT // 2 + 1, 128, 1), (128, 64, 2), (64, 64, 2), (64, 128, 1))
"""Channels in and out, stride."""


@architecture("silero-vad")
class SileroVad(Network[SileroConfig]):
    """Waves (B, T) and mask in; means over frames out: `features`, the LSTM's states, and `speech`, its probability."""

    def build(self, taps: tuple[str, ...]) -> nn.Module:
        """A module of `forward(wave (B, T) float32, mask (B, T) bool) -> tuple of (B, D)`."""
        return _SileroModule(self.wanted(taps))

    def key_map(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        names = {"stft.forward_basis_buffer": "spectrum.weight"}
        names |= {f"decoder.decoder.2.{part}": f"out.{part}" for part in ("weight", "bias")}
        names |= {f"encoder.{i}.reparam_conv.{p}": f"layers.{i}.{p}" for i in range(4) for p in ("weight", "bias")}
        names |= {f"decoder.rnn.{p}_{k}": f"layers.4.{k}.{p}" for p in ("weight", "bias") for k in ("ih", "hh")}
        return {names.get(key, key): value for key, value in state.items()}


class _SileroModule(nn.Module):
    def __init__(self, taps: tuple[str, ...]) -> None:
        super().__init__()
        self._taps = taps
        self.spectrum = nn.Conv1d(1, _FFT + 2, _FFT, _HOP, bias=False)
        convs = [nn.Conv1d(cin, cout, 3, stride, padding=1) for cin, cout, stride in _CONVS]
        self.layers = nn.ModuleList([*convs, LstmLayer(128, 128)])
        self.out = nn.Conv1d(128, 1, 1) if "speech" in taps else None

    def forward(self, wave: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        # Silence before the first frame and at the end, so that the last sample lies in a frame, and a frame more:
        # torch.export takes a dimension that may be 1 for a constant.
        frames = F.pad(wave * mask, (BEFORE, 2 * FRAME)).unfold(1, BEFORE + FRAME, FRAME)  # (B, N, 576)
        frames = frames.clone(memory_format=torch.contiguous_format)  # flattening asks how frames of a view overlap
        seen = torch.arange(frames.shape[1], device=wave.device) * FRAME < mask.sum(1).clamp(min=1).unsqueeze(1)
        share = (seen / seen.sum(1, keepdim=True)).unsqueeze(2)  # (B, N, 1)
        x = F.pad(frames.flatten(0, 1).unsqueeze(1), (0, BEFORE), mode="reflect")  # (B * N, 1, 640)
        real, imaginary = self.spectrum(x).chunk(2, 1)  # (B * N, 129, 4) each
        # Not quite 0, where the square root has no slope.
        x = (real.square() + imaginary.square()).clamp(min=1e-14).sqrt()
        *convs, recurrent = self.layers
        for conv in convs:
            x = F.relu(conv(x))
        states = recurrent(x.squeeze(2).unflatten(0, seen.shape))  # type: ignore[no-untyped-call]  # (B, N, 128)
        found = {"features": states}
        if self.out is not None:
            found["speech"] = self.out(F.relu(states).transpose(1, 2)).sigmoid().transpose(1, 2)
        return tuple((found[tap] * share).sum(1) for tap in self._taps)
