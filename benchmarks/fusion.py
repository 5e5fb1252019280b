"""Gated fusion against the best way to write it in eager torch, and against torch.compile."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import layer_norm

from benchmarks._table import Target, show
from benchmarks._timing import interleaved
from kernels.gated_fusion import gated_fusion

SHAPES = [(4, 4096, 512), (8, 8192, 512), (4, 512, 768)]  # K, B, D
FORWARD_TARGET, BOTH_TARGET = 1.8, 1.8  # over the best eager formulation; measured with a prototype before

Fusion = Callable[[Sequence[Tensor], Tensor, Tensor, Tensor], Tensor]


def eager(blocks: Sequence[Tensor], logits: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The fastest eager formulation found: no stack, multiply and add in one pass a block."""
    gates = torch.softmax(logits, -1)
    mixed = gates[:, 0:1] * blocks[0]
    for k in range(1, len(blocks)):
        mixed = torch.addcmul(mixed, gates[:, k : k + 1], blocks[k])
    return layer_norm(mixed, (mixed.shape[1],), weight, bias)


def stacked(blocks: Sequence[Tensor], logits: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """What one writes first."""
    mixed = torch.einsum("kbd,bk->bd", torch.stack(list(blocks)), torch.softmax(logits, -1))
    return layer_norm(mixed, (mixed.shape[1],), weight, bias)


def run(rounds: int, with_compile: bool) -> None:
    speed = _copy_speed()
    print(f"\ncopying 256 MB runs at {speed / 1e9:.1f} GB/s (read and write counted)")
    for count, rows, width in SHAPES:
        inputs = _inputs(count, rows, width)
        ways: dict[str, Fusion] = {"kernel": gated_fusion, "eager, best": eager, "eager, stacked": stacked}
        if with_compile:
            ways["torch.compile"] = torch.compile(eager)
        shape = f"K={count} B={rows} D={width}"
        block = rows * width * 4
        forward = {name: _forward(way, inputs) for name, way in ways.items()}
        target = Target("eager, best", FORWARD_TARGET)
        show(f"gated fusion forward, {shape}", interleaved(forward, rounds), target, (count + 1) * block / speed)
        both = {name: _both(way, inputs) for name, way in ways.items()}
        # Forward K + 1 blocks, backward reads K and dy and writes K.
        target = Target("eager, best", BOTH_TARGET)
        show(
            f"gated fusion forward + backward, {shape}",
            interleaved(both, rounds),
            target,
            (3 * count + 2) * block / speed,
        )


def _inputs(count: int, rows: int, width: int) -> tuple[list[Tensor], Tensor, Tensor, Tensor]:
    blocks = [torch.randn(rows, width, requires_grad=True) for _ in range(count)]
    logits = torch.randn(rows, count, requires_grad=True)
    return blocks, logits, torch.ones(width, requires_grad=True), torch.zeros(width, requires_grad=True)


def _forward(way: Fusion, inputs: tuple[list[Tensor], Tensor, Tensor, Tensor]) -> Callable[[], object]:
    def call() -> None:
        with torch.no_grad():
            way(*inputs)

    return call


def _both(way: Fusion, inputs: tuple[list[Tensor], Tensor, Tensor, Tensor]) -> Callable[[], object]:
    blocks, *others = inputs
    dy = torch.randn_like(blocks[0])

    def call() -> None:
        torch.autograd.grad(way(*inputs), [*blocks, *others], dy)

    return call


def _copy_speed() -> float:
    """Bytes a second of a large copy, the roof of everything that only moves data."""
    source = torch.randn(64 << 20)
    target = torch.empty_like(source)
    times = interleaved({"copy": lambda: target.copy_(source)}, 5)["copy"]
    return 2 * source.numel() * 4 / times.low
