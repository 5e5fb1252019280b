"""The set transformer of the learned tier and its losses. Imported by learned.py, inside functions: it needs torch."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SetNetwork(nn.Module):
    """Tokens of the priors of an episode, in view of the task and of the results revealed; and heads on them."""

    def __init__(self, width: int, layers: int, heads: int, names: int, words: int, features: int) -> None:
        super().__init__()
        self.task = nn.Linear(words, width)
        self.words = nn.Linear(words, width)
        self.names = nn.Embedding(names + 1, width, padding_idx=0)
        nn.init.normal_(self.names.weight, std=0.02)
        self.numbers = nn.Linear(features, width)
        self.result = nn.Linear(1, width)
        layer = nn.TransformerEncoderLayer(
            width, heads, 2 * width, dropout=0.1, batch_first=True, norm_first=True, activation="gelu"
        )
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.query = nn.Linear(width, 1)
        last = nn.Linear(width, 3)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.head = nn.Sequential(nn.Linear(width, width), nn.GELU(), last)

    def forward(
        self, task: Tensor, words: Tensor, ids: Tensor, numbers: Tensor, results: Tensor, revealed: Tensor
    ) -> Tensor:
        """(B, n, width) from task (B, H), words (B, n, H), ids (B, n), numbers (B, n, F), results and revealed (B, n).

        A revealed result is a token of its own beside its prior's: that prior's embedding and what was measured.
        """
        priors = self.words(words) + self.names(ids) + self.numbers(numbers)
        probes = priors + self.result(results[..., None])
        tokens = torch.cat([self.task(task)[:, None], probes, priors], dim=1)
        shown = torch.ones_like(revealed[:, :1])
        hidden = torch.cat([~shown, ~revealed, torch.zeros_like(revealed)], dim=1)
        found: Tensor = self.encoder(tokens, src_key_padding_mask=hidden)
        return found[:, 1 + ids.shape[1] :]

    def utility(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance (B, n) of every prior alone."""
        out = self.head(tokens)
        return out[..., 0], out[..., 1].clamp(-6, 4)

    def subsets(self, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mean, log variance and synergy (B, S) of subsets: mask (B, S, n) says who is in, pooled by attention."""
        scores = self.query(tokens)[..., 0][:, None].masked_fill(~mask, float("-inf"))
        out = self.head(scores.softmax(dim=-1) @ tokens)
        return out[..., 0], out[..., 1].clamp(-6, 4), out[..., 2]


def losses(network: SetNetwork, tokens: Tensor, wanted: Tensor, base: Tensor) -> Tensor:
    """Gaussian likelihood of the residuals `wanted` (B, n), and that of the true order of base + residual, its first
    places weighing most (ListMLE with weights 1 / rank)."""
    mean, log_variance = network.utility(tokens)
    likelihood = 0.5 * (log_variance + (wanted - mean).square() * torch.exp(-log_variance)).mean()
    order = (base + wanted).argsort(dim=1, descending=True)
    scores = 3.0 * (base + mean).gather(1, order)
    rest = scores.flip(1).logcumsumexp(dim=1).flip(1)
    weights = 1.0 / torch.arange(1, scores.shape[1] + 1, dtype=scores.dtype)
    listwise = ((rest - scores) * weights).sum(dim=1).mean() / weights.sum()
    return likelihood + 0.3 * listwise


def set_losses(network: SetNetwork, tokens: Tensor, mask: Tensor, wanted: Tensor, gained: Tensor) -> Tensor:
    """Likelihood of the standing of subsets, and the squared error of what they gain over their best member."""
    mean, log_variance, synergy = network.subsets(tokens, mask)
    likelihood = 0.5 * (log_variance + (wanted - mean).square() * torch.exp(-log_variance)).mean()
    return likelihood + (synergy - gained).square().mean()
