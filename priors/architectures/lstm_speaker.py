"""GE2E speaker encoder: an LSTM over mel windows whose averaged embedding says who speaks, not what is said.

Wan et al. 2018, "Generalized end-to-end loss for speaker verification", arXiv:1710.10467, section 2 and 3.2 (windows).
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from priors.architectures._lstm import Lstm
from priors.architectures._network import Network
from priors.families._config import check_taps, read_config
from priors.families.small import LstmSpeakerConfig
from priors.registry import architecture


@architecture("lstm-speaker")
class LstmSpeaker(Network):
    """Mel frames (B, T, F) in, one embedding of unit length (B, D) out; every entry is at least 0.

    A recording shorter than one window is filled with silence to one window; `mask` says which frames are sound, and
    windows beyond a recording's end do not count. Weights are named as PyTorch's LSTM names them, plus `linear.*`.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = read_config(LstmSpeakerConfig, config, "lstm-speaker")

    def build(self, taps: tuple[str, ...]) -> nn.Module:
        """A module of `forward(mel (B, T, F) float32, mask (B, T) bool) -> tuple of (B, D)`."""
        return _SpeakerModule(self.config, len(check_taps(taps, self.taps(), "lstm-speaker")))


class _SpeakerModule(nn.Module):
    def __init__(self, config: LstmSpeakerConfig, copies: int) -> None:
        super().__init__()
        self.lstm = Lstm(config.mels, config.hidden, config.layers)
        self.linear = nn.Linear(config.hidden, config.embedding)
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
            total = mel.new_zeros(len(mel), self.linear.out_features)
            total = total.index_add(0, counts.nonzero()[:, 0], self._embed(windows[counts]))
        return (F.normalize(total, dim=-1),) * self._copies

    def _embed(self, windows: Tensor) -> Tensor:
        """(n, window, F) -> (n, D), each of unit length."""
        return F.normalize(F.relu(self.linear(self.lstm(windows)[:, -1])), dim=-1)
