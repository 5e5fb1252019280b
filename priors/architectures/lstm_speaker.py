"""GE2E speaker encoder: an LSTM over mel windows whose averaged embedding says who speaks, not what is said.

Wan et al. 2018, "Generalized end-to-end loss for speaker verification", arXiv:1710.10467, section 2 and 3.2 (windows).
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from priors.architectures._network import Network
from priors.architectures.recurrence import LstmLayer, torch_names
from priors.families.small import LstmSpeakerConfig
from priors.registry import architecture


@architecture("lstm-speaker")
class LstmSpeaker(Network[LstmSpeakerConfig]):
    """Mel frames (B, T, F) in, one embedding of unit length (B, D) out; every entry is at least 0.

    A recording shorter than one window is filled with silence to one window; `mask` says which frames are sound, and
    windows beyond a recording's end do not count. Weights are named as PyTorch's LSTM names them, plus `linear.*`.
    """

    def build(self, taps: tuple[str, ...]) -> nn.Module:
        """A module of `forward(mel (B, T, F) float32, mask (B, T) bool) -> tuple of (B, D)`."""
        return _SpeakerModule(self.config, len(self.wanted(taps)))

    def key_map(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        last = self.config.layers
        names = {f"linear.{part}": f"layers.{last}.{part}" for part in ("weight", "bias")}
        for i in range(last):
            names |= torch_names("lstm", i, f"layers.{i}")
        return {names.get(key, key): value for key, value in state.items()}


class _SpeakerModule(nn.Module):
    def __init__(self, config: LstmSpeakerConfig, copies: int) -> None:
        super().__init__()
        widths = [config.mels, *[config.hidden] * config.layers]
        recurrent = [LstmLayer(size, hidden) for size, hidden in pairwise(widths)]
        self.layers = nn.ModuleList([*recurrent, nn.Linear(config.hidden, config.embedding)])
        self._width = config.embedding
        self._window, self._step, self._copies = config.window, config.step, copies
        # A window counts when at least this many of its frames lie before the recording's last frame: the samples of n
        # hops are n + 1 centred frames, so the last frame adds no samples.
        self._needed = round(config.min_coverage * config.window)

    def forward(self, mel: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        mel = mel * mask.unsqueeze(-1)  # what lies beyond the end is silence, whatever the padding held
        # Silence after the end, so that there is a window at every start. There are always two or more of them:
        # torch.export takes a dimension that may be 1 for a constant.
        padded = F.pad(mel, (0, 0, 0, self._window + self._step))
        start = torch.arange(mel.shape[1] // self._step + 2, device=mel.device) * self._step  # (N,)
        frames = start.unsqueeze(1) + torch.arange(self._window, device=mel.device)  # (N, window)
        windows = padded[:, frames]  # (B, N, window, F)
        last_frame = mask.sum(1, keepdim=True) - 1
        counts = (last_frame - start >= self._needed) | (start == 0)  # (B, N)
        if torch.compiler.is_exporting() or mel.is_meta:
            partial = self._embed(windows.flatten(0, 1)).view(*counts.shape, -1)
            total = (partial * counts.unsqueeze(-1)).sum(1)
        else:  # the same sum without running the windows that do not count: how many those are depends on the data
            total = mel.new_zeros(len(mel), self._width)
            total = total.index_add(0, counts.nonzero()[:, 0], self._embed(windows[counts]))
        return (F.normalize(total, dim=-1),) * self._copies

    def _embed(self, windows: Tensor) -> Tensor:
        """(n, window, F) -> (n, D), each of unit length."""
        *recurrent, linear = self.layers
        for layer in recurrent:
            windows = layer(windows)
        return F.normalize(F.relu(linear(windows[:, -1])), dim=-1)
