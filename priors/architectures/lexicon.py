"""A lexicon: what single words are worth on a scale that people rated, summed over a text, negation turned around."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from priors.architectures._network import Network
from priors.families.small import LexiconConfig
from priors.registry import architecture


@architecture("lexicon")
class Lexicon(Network[LexiconConfig]):
    """Token ids (B, T) of single words in, six numbers a text out, each of size at most one.

    Weights: `rating` (vocab_size,), 0 for a word nobody rated; `negates` (vocab_size,), 1 for a word like "not".
    Features: s / sqrt(s² + 15) of the sum s; tanh of a quarter of the positive and of the negative sum; the largest and
    the smallest rating, 0 among them; the balance (p - n) / (p + n + 1). The first is VADER's normalized sum,
    Hutto & Gilbert 2014.
    """

    def build(self, taps: tuple[str, ...]) -> nn.Module:
        """A module of `forward(ids (B, T) int64, mask (B, T) bool) -> tuple of (B, 6)`."""
        return _LexiconModule(self.config, len(self.wanted(taps)))


class _LexiconModule(nn.Module):
    def __init__(self, config: LexiconConfig, copies: int) -> None:
        super().__init__()
        self.rating = nn.Parameter(torch.zeros(config.vocab_size))
        self.negates = nn.Parameter(torch.zeros(config.vocab_size))
        self._config, self._copies = config, copies

    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        window = self._config.window
        rating = self.rating[ids] * mask  # (B, T)
        negates = F.pad(self.negates[ids] * mask, (window, 0))
        near = negates.unfold(1, window, 1)[:, :-1].amax(2)  # (B, T): a negation among the `window` words before
        rating = torch.where(near > 0, rating * self._config.negation, rating)
        total, up, down = rating.sum(1), rating.clamp(min=0).sum(1), (-rating).clamp(min=0).sum(1)
        features = torch.stack(
            [
                total / (total.square() + 15).sqrt(),
                (up / 4).tanh(),
                (down / 4).tanh(),
                # Not below (above) 0, or a text without neutral words would change with the padding of its batch.
                rating.amax(1).clamp(min=0) / self._config.largest,
                rating.amin(1).clamp(max=0) / self._config.largest,
                (up - down) / (up + down + 1),
            ],
            dim=1,
        )
        return (features,) * self._copies
