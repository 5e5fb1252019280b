"""A composition lowered from its lock against a module somebody wrote by hand: what the graph costs at run time."""

import torch
from torch import Tensor, nn

from benchmarks._starter import library, two_taps
from benchmarks._table import Target, show
from benchmarks._timing import interleaved
from priors.load import load

SHAPES = [(1, 16), (32, 24), (16, 96)]  # texts, tokens
TARGET = 1 / 1.05  # the lowered one may take 1.05 times as long


class ByHand(nn.Module):
    """The maths of `TWO_TAPS`, as one would write it for this one model."""

    def __init__(self, network: nn.Module, scales: list[tuple[Tensor, Tensor]], head: nn.Linear) -> None:
        super().__init__()
        self.network, self.head = network, head
        (self.shift_a, self.scale_a), (self.shift_b, self.scale_b) = scales

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        middle, last = self.network(ids, mask)
        seen = mask.unsqueeze(-1)
        count = seen.sum(1).clamp(min=1).to(middle.dtype)
        a = ((middle * seen).sum(1) / count - self.shift_a) / self.scale_a
        b = ((last * seen).sum(1) / count - self.shift_b) / self.scale_b
        return self.head(torch.cat([a, b], 1))


def run(rounds: int) -> None:
    lowered = two_taps()
    network = load(library().root / "priorhub" / "all-minilm-l6-v2").module(("layer_3", "layer_6"))
    composed, by_hand = lowered.module, ByHand(network, *_fit(lowered))
    generator = torch.Generator().manual_seed(0)
    for rows, tokens in SHAPES:
        ids = torch.randint(1_000, 20_000, (rows, tokens), generator=generator)
        mask = torch.arange(tokens) < torch.randint(tokens // 2, tokens + 1, (rows, 1), generator=generator)
        with torch.inference_mode():
            torch.testing.assert_close(composed(ids, mask)[0], by_hand(ids, mask), rtol=1e-3, atol=1e-4)
            times = interleaved(
                {"composed": lambda i=ids, m=mask: composed(i, m), "by hand": lambda i=ids, m=mask: by_hand(i, m)},
                rounds,
            )
        show(f"forward of {rows} texts of {tokens} tokens", times, Target("by hand", TARGET))


def _fit(lowered) -> tuple[list[tuple[Tensor, Tensor]], nn.Linear]:
    """Something in everything that is learned, and the same for the hand-written module."""
    generator = torch.Generator().manual_seed(1)
    for node in ("a", "b"):
        lowered.fit_function(node, torch.randn(100, 384, generator=generator))
    head = nn.Linear(768, 7)
    lowered.learned["y"].load_state_dict({**head.state_dict(), "temperature": torch.ones(())})
    unit = torch.eye(384)
    scales = []
    for node in ("a", "b"):
        # Read off its values, so that this does not depend on what it calls its buffers: y = (x - shift) / scale.
        module = lowered.learned[node]
        slope = (module(unit) - module(torch.zeros(1, 384))).diagonal()
        scales.append((-module(torch.zeros(384)[None])[0] / slope, 1 / slope))
    return scales, head
