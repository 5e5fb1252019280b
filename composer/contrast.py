"""Few-shot adaptation of one network: rows of one label are pulled together, others pushed apart.

The supervised contrastive loss (Khosla et al. 2020, arXiv:2004.11362) over all labelled rows at once, on the pooled
value of one tap; for numbers its weighted form, where rows count as alike by how near their values are (Dufumier et al.
2021, arXiv:2106.08808). What learns is a `composer.delta.Delta`; the network itself stays as it is.

    subject = Subject(prior, "layer_6", texts)
    tune(subject, delta, rows, alike(targets), Recipe())
    subject.features(rows, delta)                           # (n, D)
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import linear, normalize

from composer.checkpoints import Kept, keep
from composer.choices import Cancelled, Report, never, silent
from composer.delta import Delta, Kind
from composer.errors import Cancelled as Stopped
from priors.architectures.recurrence import Gates
from priors.functions.absent import filled
from priors.load import Prior, batches, pooled

if TYPE_CHECKING:
    from composer.rank.probe import Targets

NEAR = 0.5
"""How far apart two values may lie, in standard deviations, to count as alike with weight exp(-1/2)."""

STEP_POSITIONS = 8_192
"""Tokens, frames or rows that one step computes at most, padding included; more rows take turns."""

KEPT_BYTES = 512 << 20
"""Values of layers that nothing changes are kept between steps up to this size; beyond it they are computed again."""

SAVE_EVERY = 5
"""Steps between two checkpoints: a few seconds of work are what a killed run loses."""


@dataclass(frozen=True)
class Recipe:
    """How a delta is trained: AdamW, a linear warm-up, then a linear decay to zero."""

    kind: Kind = "lora"
    targets: tuple[str, ...] = ()
    r: int | None = None
    alpha: float | None = None
    steps: int = 16
    lr: float = 1e-3
    warm_up: int = 3
    temperature: float = 0.1
    weight_decay: float = 0.01

    def make(self, network: nn.Module, seed: int) -> Delta:
        """A delta for `network`. Raises BadGraph when the targets match nothing of it."""
        return Delta.of(network, kind=self.kind, targets=self.targets, r=self.r, alpha=self.alpha, seed=seed)


class Subject:
    """Values as one network reads them, and what it makes of them at one tap, with a delta or without."""

    def __init__(self, prior: Prior, tap: str, values: Sequence[Any]) -> None:
        self.prior, self.tap = prior, tap
        self.network = prior.module((tap,))
        self._type = prior.manifest.tap(tap)
        self._tensors = prior.encoder().encode(filled(values, next(iter(prior.manifest.inputs.values())).modality))

    def __len__(self) -> int:
        return len(self._tensors[0])

    def chunks(self, rows: NDArray[np.int64]) -> list[Chunk]:
        """The rows cut into batches of similar length: `at` are positions in `rows`."""
        tensors = tuple(tensor[torch.from_numpy(rows)] for tensor in self._tensors)
        return [Chunk(at, inputs, masks) for at, inputs, masks in batches(self.prior.manifest, tensors)]

    def pooled(self, chunk: Chunk) -> Tensor:
        """(b, D)"""
        [value] = self.network(*chunk.inputs)
        return pooled(value, self._type, chunk.masks)

    def features(self, rows: NDArray[np.int64], delta: Delta | None = None) -> NDArray[np.float32]:
        """(n, D) of the rows, without gradients."""
        found = None
        with torch.inference_mode(), ExitStack() as stack:
            if delta is not None:
                stack.enter_context(delta.live(self.network))
            for chunk in self.chunks(rows):
                value = self.pooled(chunk).numpy()
                found = np.empty((len(rows), value.shape[1]), np.float32) if found is None else found
                found[chunk.at] = value
        return found if found is not None else np.empty((0, 0), np.float32)


@dataclass(frozen=True)
class Chunk:
    """Some rows, cut to the longest of them."""

    at: list[int]
    inputs: tuple[Tensor, ...]
    masks: dict[str, Tensor]

    @property
    def positions(self) -> int:
        longest = max((mask.shape[1] for mask in self.masks.values()), default=1)
        return len(self.at) * longest


def alike(targets: Targets) -> Tensor:
    """(n, n) how much two rows belong together, from 0 to 1: by their label, the part of their labels that they share,
    or the distance of their values."""
    if targets.sets:
        sets = torch.from_numpy(targets.matrix).float()
        both = sets @ sets.T
        either = sets.sum(1)[:, None] + sets.sum(1)[None] - both
        return both / either.clamp(min=1)
    if targets.labels is not None:
        labels = torch.from_numpy(targets.labels)
        return (labels[:, None] == labels[None]).float()
    values = torch.from_numpy(targets.matrix[:, 0])
    return torch.exp(-0.5 * ((values[:, None] - values[None]) / NEAR).square()).float()


def contrastive_loss(z: Tensor, together: Tensor, temperature: float) -> Tensor:
    """() the mean over rows z (n, D) of -log p of the rows they belong with, 0 where none belongs with another;
    `together` (n, n), its diagonal unused."""
    itself = torch.eye(len(z), dtype=torch.bool)
    z = normalize(z, dim=-1)
    log_p = (z @ z.T / temperature).masked_fill(itself, -1e9).log_softmax(1)
    weight = together.masked_fill(itself, 0.0)
    total = weight.sum(1)
    rows = total > 0  # a row that nothing belongs with says nothing
    return -((log_p * weight).sum(1)[rows] / total[rows]).sum() / rows.sum().clamp(min=1)


def tune(
    subject: Subject,
    delta: Delta,
    rows: NDArray[np.int64],
    together: Tensor,
    recipe: Recipe,
    *,
    seed: int = 0,
    checkpoint: Path | None = None,
    report: Report = silent,
    cancelled: Cancelled = never,
) -> None:
    """Trains `delta` in place on `rows`; `together` is about them, in their order.

    checkpoint  a file that a killed or cancelled run left and this one goes on from, to the same bits

    Raises Cancelled between steps when asked to stop; the checkpoint then holds what was done.
    """
    chunks = subject.chunks(rows)
    parameters = list(delta.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True)
    kept = Kept.read(checkpoint)
    if kept:
        kept.restore(parameters, optimizer)
    start = int(kept.facts["step"]) if kept else 0
    turns = np.random.default_rng(seed)
    quick = quick_products(subject.network) if products_in_bf16() else nullcontext()
    with delta.live(subject.network), quick, _front_kept(subject.network, delta.paths) as begin:
        for step in range(recipe.steps):
            taken = _taken(
                chunks, turns
            )  # drawn for steps that are skipped too: the next ones then see what they would
            if step < start:
                continue
            if cancelled():
                keep(checkpoint, parameters, optimizer, {"step": torch.tensor([step])})
                raise Stopped("stopped while adapting. The same call goes on from here.")
            for group in optimizer.param_groups:
                group["lr"] = recipe.lr * min(1.0, (step + 1) / recipe.warm_up) * (1 - step / recipe.steps)
            values, at = [], []
            for number in taken:
                begin(number)
                values.append(subject.pooled(chunks[number]))
                at += chunks[number].at
            loss = contrastive_loss(torch.cat(values), together[at][:, at], recipe.temperature)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            report(step + 1, recipe.steps, "adapting", loss=round(float(loss.detach()), 4))
            if (step + 1) % SAVE_EVERY == 0 or step + 1 == recipe.steps:
                keep(checkpoint, parameters, optimizer, {"step": torch.tensor([step + 1])})
    delta.requires_grad_(False)


def _taken(chunks: Sequence[Chunk], turns: np.random.Generator) -> list[int]:
    """Which chunks take part in a step: all in their order, or as many as STEP_POSITIONS allows in a random one."""
    if sum(chunk.positions for chunk in chunks) <= STEP_POSITIONS:
        return list(range(len(chunks)))
    found: list[int] = []
    positions = 0
    for number in turns.permutation(len(chunks)):
        positions += chunks[number].positions
        if found and positions > STEP_POSITIONS:
            break
        found.append(int(number))
    return sorted(found)


def products_in_bf16() -> bool:
    """Whether this processor multiplies matrices of bf16 much faster than those of float32."""
    return bool(torch.cpu._is_avx512_bf16_supported())  # there is no public question yet


@contextmanager
def quick_products(network: nn.Module) -> Iterator[None]:
    """While open, linear layers multiply in bf16, there and back, where gradients are wanted; sums, norms, attention
    and what is learned stay float32.

    Measured on one core with AMX, (1000, 384) times (384, 1536) with gradients: 23 ms instead of 43. Autocast of the
    whole network gains nothing: attention's gradient in bf16 takes 6 times as long as in float32 (torch 2.13).
    """

    def wrap(module: nn.Linear) -> Callable[[], None]:
        plain = module.forward

        def forward(x: Tensor) -> Tensor:
            weight, bias = module.weight, module.bias
            if x.dtype != torch.float32 or not (x.requires_grad or weight.requires_grad):
                return plain(x)
            product = linear(x.bfloat16(), weight.bfloat16()).float()
            return product if bias is None else product + bias

        return _instead(module, forward)

    with ExitStack() as undo:
        for module in network.modules():
            if isinstance(module, nn.Linear):
                undo.callback(wrap(module))
        yield


def _instead(module: nn.Module, forward: Callable[..., Any]) -> Callable[[], None]:
    """Lets `module` run `forward`; gives what undoes it."""
    before = module.__dict__.get("forward")
    module.__dict__["forward"] = forward

    def undo() -> None:
        del module.__dict__["forward"]
        if before is not None:
            module.__dict__["forward"] = before

    return undo


@contextmanager
def _front_kept(network: nn.Module, changed: Collection[str]) -> Iterator[Callable[[int], None]]:
    """While open, a module that holds no changed one, and reads nothing that depends on one, runs once a chunk and
    gives the same value again later. Yields what to call with the number of a chunk before it runs."""
    kept: dict[tuple[int, int, int], Any] = {}
    calls: dict[int, int] = {}
    state = {"chunk": 0, "bytes": 0}
    undo = ExitStack()

    def wrap(module: nn.Module) -> None:
        forward = module.forward

        def once(*args: Any, **options: Any) -> Any:
            if any(value.requires_grad for value in (*args, *options.values()) if isinstance(value, Tensor)):
                return forward(*args, **options)
            count = calls[id(module)] = calls.get(id(module), 0) + 1
            key = (state["chunk"], id(module), count)
            if key not in kept:
                made = forward(*args, **options)
                state["bytes"] += made.nbytes if isinstance(made, Tensor) else KEPT_BYTES
                if state["bytes"] > KEPT_BYTES:
                    return made
                kept[key] = made
            return kept[key]

        undo.callback(_instead(module, once))

    def visit(module: nn.Module, path: str) -> None:
        holds = any(name == path or name.startswith(f"{path}.") for name in changed) or not path
        if not holds and not isinstance(module, nn.ModuleList | nn.ModuleDict | Gates):
            wrap(module)
        elif path not in changed:
            for name, child in module.named_children():
                visit(child, f"{path}.{name}" if path else name)

    def begin(chunk: int) -> None:
        state["chunk"] = chunk
        calls.clear()

    with undo:
        visit(network, "")
        yield begin
