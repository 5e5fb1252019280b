"""Heads from rows, in closed form: the last one, heads that read heads, and heads beside what is known.

A composition's output is a head, or a fixed `sum` of heads (an ensemble) and of values that nothing trains (known
physics, of which the heads learn what is left). A head may read other heads (stacking): it is fitted on what these say
of rows they were not fitted on, out of `fit: {oof: k}` folds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from composer.calibrate import calibrate
from composer.check import TypedNode
from composer.dropout import Losable, columns_of, with_copies, with_dropout
from composer.errors import BadGraph
from composer.examples import computed
from composer.lock import Lock
from composer.lower import Lowered
from composer.rank.head import Ridge, ridge
from composer.rank.probe import CUT, Array, Probe, Targets, hits_of, judge
from composer.rank.rows import folds

FOLDS = 5
"""Folds of heads that are read by a head which names no number."""

Values = Mapping[str, Tensor]


@dataclass(frozen=True)
class Ending:
    """What the output of a composition is made of: nodes with their factors.

    output  the node whose values are predictions;  heads  are fitted, at least one;  known  are not
    """

    output: str
    heads: tuple[tuple[TypedNode, float], ...]
    known: tuple[tuple[str, float], ...] = ()

    @classmethod
    def of(cls, lock: Lock) -> Ending:
        """That of a lock; what `decode` says of a head's classes is read off the head. Raises BadGraph when its output
        is nothing that rows could fit."""
        nodes = {node.name: node for node in lock.nodes}
        ends = {_undecoded(nodes[name], nodes) for name in lock.outputs.values()}
        output = nodes[min(ends)]
        if output.op == "head" and len(ends) == 1:
            return cls(output.name, ((output, 1.0),))
        if output.op != "sum" or len(ends) != 1:
            shown = f"outputs are {', '.join(sorted(ends))}" if len(ends) > 1 else f"output is a {output.op}"
            raise BadGraph(
                f"{lock.name}: the {shown}. A composition that is fitted ends in one head, in a sum of heads and of "
                "values that are known, or in the decode of one of these. Make that the output."
            )
        said = output.attrs.get("weights")
        if isinstance(said, str):
            raise BadGraph(f"sum {output.name!r} of heads has weights: {said}. Write numbers, or stack a head on them.")
        heads, known = [], []
        for source, factor in zip(output.sources, said or [1.0] * len(output.sources), strict=True):
            if nodes[source].op == "head":
                heads.append((nodes[source], float(factor)))
            elif learners(source, nodes):
                raise BadGraph(
                    f"sum {output.name!r} adds {source!r}, which learns and is no head. Add heads, and values that do "
                    "not learn."
                )
            else:
                known.append((source, float(factor)))
        if not heads or sum(factor for _, factor in heads) <= 0:
            raise BadGraph(f"sum {output.name!r} has no head with a positive weight. Add one, or nothing is fitted.")
        if known and "labels" in heads[0][0].attrs:
            raise BadGraph(
                f"sum {output.name!r} adds {known[0][0]!r} to class scores. Only numbers are known that way."
            )
        return cls(output.name, tuple(heads), tuple(known))

    @property
    def head(self) -> TypedNode:
        """The head that says what is predicted."""
        return self.heads[0][0]

    @property
    def factor(self) -> float:
        """What the heads count together: each predicts the rest divided by it."""
        return sum(factor for _, factor in self.heads)


def _undecoded(node: TypedNode, nodes: Mapping[str, TypedNode]) -> str:
    """The node whose classes a `decode` node names; any other node itself."""
    return node.sources[0] if node.op == "decode" and nodes[node.sources[0]].op in ("head", "sum") else node.name


def learners(name: str, nodes: Mapping[str, TypedNode]) -> set[str]:
    """The nodes that learn among `name` and what it is made of."""
    seen, open_ = set(), [name]
    while open_:
        node = open_.pop()
        if node not in seen:
            seen.add(node)
            open_ += nodes[node].sources
    return {node for node in seen if nodes[node].learns}


def read_by_heads(lock: Lock) -> list[str]:
    """The nodes that heads read, without what other heads said first: side by side, what the whole is linear in."""
    nodes = {node.name: node for node in lock.nodes}
    heads = {node.name for node in lock.nodes if node.op == "head" and node.learns}
    read = [nodes[head].sources[0] for head in nodes if head in heads]
    return list(dict.fromkeys(source for source in read if not heads & learners(source, nodes)))


def what_heads_learn(lowered: Lowered, values: Values, targets: Targets) -> Targets:
    """The targets without what is known of them."""
    ending = Ending.of(lowered.lock)
    known = _known(lowered, values, ending)
    return targets if known is None else _rest(targets, known / targets.spread, ending.factor)


def fit_heads(lowered: Lowered, values: Values, targets: Targets, *, judged: Probe | None = None) -> Probe:
    """Fits every head in place on the values of all rows; what leaving rows out says of the whole.

    judged  what was said of held-out rows of `what_heads_learn`, where leaving one out says nothing any more: other
            parts were trained on all of them
    """
    ending = Ending.of(lowered.lock)
    known = _known(lowered, values, ending)
    wanted = what_heads_learn(lowered, values, targets)
    heads = [node for node in lowered.lock.nodes if node.op == "head" and node.learns]
    nodes = {node.name: node for node in lowered.lock.nodes}
    made_of = {head.name: learners(head.name, nodes) - {head.name} for head in heads}
    readers = {head.name: [other for other in heads if head.name in made_of[other.name]] for head in heads}
    given, found = dict(values), dict[str, Ridge]()
    for head in heads:
        features = computed(lowered, given, head.sources[0]).numpy()
        made = found[head.name] = _dropped(
            lowered, given, head, ridge(features, wanted), features, wanted, mixed=judged is not None
        )
        inner = bool(readers[head.name])
        _set(lowered.learned[head.name], made.weight, made.bias, wanted, inner=inner)
        if inner:
            count = min((h.attrs.get("fit") or {}).get("oof", FOLDS) for h in readers[head.name])
            given[head.name] = _out_of_fold(features, wanted, count, lowered.lock.seed)
    probes = [(found[head.name].probe, factor) for head, factor in ending.heads]
    whole = judged or (probes[0][0] if len(probes) == 1 else _together(probes, ending.factor))
    if known is not None:
        whole = _beside(whole, known, targets, lowered, ending)
    elif not targets.is_number:
        for head, _ in ending.heads:
            read(lowered.learned[head.name], whole)
        # the sum multiplies what each head says, so what reads it is as much flatter
        lowered.learned[ending.head.name].get_buffer("temperature").mul_(ending.factor)
    return whole


def _dropped(
    lowered: Lowered, given: Values, head: TypedNode, made: Ridge, features: NDArray[np.float32], wanted: Targets, *,
    mixed: bool,
) -> Ridge:  # fmt: skip
    """The head with dropout of columns, where it reads several that may be missing."""
    [source] = head.sources
    columns = columns_of(lowered.lock, source)
    if columns is not None:
        return with_dropout(made, features, wanted, columns, mixed=mixed)
    losable = None if source in given else Losable.of(lowered, [source])
    if losable is None:
        return made
    lost = []
    for at in range(len(losable.columns)):
        with losable.lost(at):
            lost.append(computed(lowered, given, source).numpy())
    return with_copies(made, features, lost, wanted, mixed=mixed)


def set_head(head: nn.Module, weight: Array, bias: Array, judged: Probe, targets: Targets) -> None:
    """Sets a head to weights of least squares on the columns of `targets`, and how its answers are read.

    Probabilities of a class head are softmax(y / temperature), of a head for sets of labels sigmoid(y / temperature).
    """
    _set(head, weight, bias, targets, inner=False)
    if not targets.is_number:
        read(head, judged)


def read(head: nn.Module, judged: Probe) -> None:
    """Sets temperature, and for sets of labels offsets and threshold, of a head whose weights are set."""
    found = calibrate(judged)
    state = head.state_dict()
    state["temperature"].fill_(found.temperature)
    if judged.targets.sets:
        state["bias"] += torch.from_numpy(found.offsets).float()
        state["threshold"].fill_(found.threshold)


def _set(head: nn.Module, weight: Array, bias: Array, targets: Targets, *, inner: bool) -> None:
    if targets.is_number:
        weight, bias = weight * targets.spread, bias * targets.spread + targets.mean
    elif targets.sets:
        bias = bias - CUT
    state = head.state_dict()
    state["weight"].copy_(torch.from_numpy(weight))
    state["bias"].copy_(torch.from_numpy(bias))
    state["temperature"].fill_(1.0)


def _out_of_fold(features: NDArray[np.float32], targets: Targets, count: int, seed: int) -> Tensor:
    """(n, K) what a head says of each row when it was fitted on the other folds."""
    numbers = folds(targets, count, seed)
    found = np.empty_like(targets.matrix)
    for k in range(int(numbers.max()) + 1):
        train, held = np.flatnonzero(numbers != k), np.flatnonzero(numbers == k)
        head = ridge(features[train], targets.take(train))
        found[held] = features[held] @ head.weight.T + head.bias
    if targets.is_number:
        found = found * targets.spread + targets.mean
    return torch.from_numpy(found - CUT if targets.sets else found).float()


def _together(probes: list[tuple[Probe, float]], factor: float) -> Probe:
    """The probe of a sum of heads: leaving a row out leaves it out of all of them."""
    first = probes[0][0]
    if len({len(probe.targets) for probe, _ in probes}) > 1:
        raise BadGraph("heads of a sum were judged on different rows")
    scores = np.asarray(sum(part * probe.scores for probe, part in probes) / factor)
    sharpness, losses = judge(scores, first.targets)
    return Probe(first.targets, first.penalty, sharpness, scores, losses, hits_of(scores, losses, first.targets))


def _known(lowered: Lowered, values: Values, ending: Ending) -> Array | None:
    """(n,) what is known of the target, or None."""
    if not ending.known:
        return None
    parts = [factor * computed(lowered, values, name).numpy().astype(np.float64)[:, 0] for name, factor in ending.known]
    found = np.asarray(sum(parts))
    if not np.isfinite(found).all():
        row = int(np.flatnonzero(~np.isfinite(found))[0]) + 1
        raise BadGraph(f"what is known of the target is no finite number in row {row}. Correct the formula or the row.")
    return found


def _rest(targets: Targets, known: Array, factor: float) -> Targets:
    """What heads must predict beside what is known, in units of the target's spread."""
    values = targets.matrix[:, 0] * targets.spread + targets.mean
    rest = (values - known * targets.spread) / factor
    left = Targets.of_values(rest)
    return replace(targets, matrix=left.matrix, mean=left.mean, spread=left.spread)


def _beside(rest: Probe, known: Array, targets: Targets, lowered: Lowered, ending: Ending) -> Probe:
    """The probe of the whole, of the probe of what is left. Heads that do no better than what is known say nothing."""
    whole_task = len(rest.targets) == len(targets)
    rows = np.arange(len(targets)) if whole_task else _rows_of(rest, targets, known, ending.factor)
    whole, known = targets.take(rows), known[rows]
    left = (rest.scores[:, 0] * rest.targets.spread + rest.targets.mean) * ending.factor
    values = whole.matrix[:, 0] * targets.spread + targets.mean
    if np.square(values - known - left).sum() >= np.square(values - known).sum():
        left = np.zeros_like(left)
        for head, _ in ending.heads:
            for parameter in lowered.learned[head.name].parameters():
                parameter.data.zero_()
    scores = ((known + left - targets.mean) / targets.spread)[:, None]
    losses = np.square(scores - whole.matrix)[:, 0]
    return Probe(whole, rest.penalty, 1.0, scores, losses, 1.0 - losses)


def _rows_of(rest: Probe, targets: Targets, known: Array, factor: float) -> NDArray[np.int64]:
    """The rows that a probe was judged on: all, or the sample of `ridge`."""
    from composer.rank.head import MAX_ROWS
    from composer.rank.rows import sample

    return sample(_rest(targets, known / targets.spread, factor), MAX_ROWS)
