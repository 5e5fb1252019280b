"""From what a library offers to graphs: which blocks a task could use, and the composition that wires chosen ones."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from composer.choices import Candidate, Limits, Member
from composer.graph import Graph
from composer.rank.starter import starter_priors
from priors.errors import BadTask
from priors.library import Entry
from priors.manifest import PriorManifest
from priors.types import parse

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from priors.tasks import Task

Fusion = Literal["concat", "late", "gate", "attend"]
FUSIONS: tuple[Fusion, ...] = get_args(Fusion)

GATE_WIDTH = 128
"""Features each block is projected to before a gate mixes them, or they attend to each other."""

ATTENTION_HEADS = 4

DEEP = 1_000_000
"""Parameters from which a pretrained network is trusted to start a set (composer.rank.sets)."""

NARROW = 8
"""Blocks of so few features keep their size: a row of one number brought to length 1 says only its sign."""

PLAIN: Mapping[str, str] = {
    "text": "word_ngrams",
    "image": "pixels",
    "audio": "log_mel_statistics",
    "tab": "standardize",
    "series": "series_statistics",
}
"""Modality -> the function that stands for "no prior" where a composition must be built all the same."""

_RAW = {
    "text": "text.raw[B]:str",
    "image": "image.raw[B]:u8",
    "audio": "audio.raw[B]:f32",
    "series": "series.raw[B]:f32",
}
TRIED = frozenset(
    (
        *("char_ngrams", "word_ngrams", "text_statistics"),
        *("pixels", "oriented_gradients", "color_histogram", "wavelet_scattering"),
        *("mfcc_statistics", "log_mel_statistics", "spectral_moments"),
        *("standardize", "quantile", "fourier_features"),
        *("series_statistics", "rocket"),
    )
)
"""Function priors that are offered to a search without being asked for. The others are in the catalogue and run in any
composition that names them: each more that is tried costs time and, as scores on few rows are noisy, accuracy. On the
starter history wavelet scattering is the best single prior in 7 of 14 cells of images and spectral moments in 5 of 11
of sounds; with them the recommended sets of 18 tasks gain 0.8 points on average (-0.7 to 6.7). Splines with radial
bases or random features beside those of tables gained nothing on five tables."""

LONGEST_SERIES = 512
"""Series are stretched to their longest, or to this where that is longer."""

_COUNTS = ("char_ngrams", "word_ngrams")
_SCALED = ("standardize", "quantile")
"""Table functions that bring columns of any scale to one; before the others a standardize is put."""

_KERNELS = ("fourier_features",)
"""Functions whose features have sizes that mean something: their inner products are those of a kernel."""

CLIP = 3.0
"""Standard deviations that values of columns are held within before the functions that a standardize is put before:
far from all rows a kernel knows nothing, and one such row of a few that were seen shrinks all others together."""


@dataclass(frozen=True)
class Unit:
    """What a set takes or leaves as a whole: the averaged taps of a network, or one function prior.

    taps     more than one: equal parts of several taps of one network
    trusted  a pretrained network that a set may start from
    """

    name: str
    candidates: tuple[Candidate, ...]
    trusted: bool

    @property
    def is_taps(self) -> bool:
        return len(self.candidates) > 1


@dataclass(frozen=True)
class Offer:
    """What there is for a task: every block, how blocks group into units, and the manifests behind them.

    series   column of series -> the length and the number of channels they are brought to
    gaps     whether a row may lack a column: there are others then, and number columns are one
    """

    candidates: tuple[Candidate, ...]
    units: tuple[Unit, ...]
    manifests: Mapping[Candidate, PriorManifest] = field(repr=False)
    series: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    gaps: bool = False

    @property
    def several_columns(self) -> bool:
        """Whether blocks are read from different columns, so that names must say which."""
        return len({candidate.column for candidate in self.candidates}) > 1

    def name(self, candidate: Candidate) -> str:
        """What people read; unlike `Candidate.name` different for every block of the task."""
        return candidate.name + (candidate.place if self.several_columns else "")


def offer(
    task: Task,
    entries: Iterable[Entry],
    limits: Limits | Mapping[str, Any] | None = None,
    *,
    functions: Collection[str] = TRIED,
) -> Offer:
    """Every block that `task`'s columns and the limits allow. Raises BadTask when there is none.

    functions  ids of the function priors that may be candidates
    """
    limits = Limits.of(limits)
    allowed = [entry for entry in entries if limits.allow(entry.manifest)]
    units: list[Unit] = []
    singles: list[Candidate] = []
    manifests: dict[Candidate, PriorManifest] = {}
    columns = _columns(task)
    for column, modality in columns:
        for entry in allowed:
            manifest = entry.manifest
            if not _reads(manifest, modality, functions):
                continue
            taps = {tap: Candidate(entry.ref, tap, column) for tap in manifest.taps if tap not in manifest.averages}
            manifests |= dict.fromkeys(taps.values(), manifest)
            singles += taps.values()
            grouped = next(iter(manifest.averages.values()), None)
            names = [tap for tap in grouped if tap in taps] if grouped else [manifest.default_tap]
            suffix = f" ({column})" if len(columns) > 1 and isinstance(column, str) else ""
            unit = f"{entry.ref.name}{f' ({len(names)} taps)' if len(names) > 1 else ''}{suffix}"
            trusted = manifest.kind == "network" and (manifest.parameters or 0) >= DEEP
            units.append(Unit(unit, tuple(taps[name] for name in names), trusted))
    if not units:
        shown = ", ".join(dict.fromkeys(modality for _, modality in columns)) or "no input columns"
        raise BadTask(f"no prior of the library reads this task ({shown}). Import priors for it, or relax the limits.")
    return Offer(tuple(singles), tuple(units), manifests, _series(task), len(columns) > 1)


def distinct(entries: Iterable[Entry]) -> list[Entry]:
    """Each content once, so that one prior under fifty names is tried, and weighed, as one. It is called as in the
    starter history, else as it was called first, and on the terms that it has there: a copy brings no other license."""
    known = starter_priors()
    first: dict[str, Entry] = {}
    for entry in sorted(entries, key=lambda one: (one.ref.repo not in known, one.since, one.ref.repo)):
        first.setdefault(entry.ref.sha256 or entry.ref.repo, entry)
    return sorted(first.values(), key=lambda one: one.ref.repo)


def _series(task: Task) -> dict[str, tuple[int, int]]:
    found = {}
    for column in task.inputs:
        if column.modality == "series":
            values = cast("list[NDArray[Any] | None]", task.values(column.name))
            shapes = [value.shape for value in values if value is not None]
            found[column.name] = (max(9, min(LONGEST_SERIES, max(length for length, _ in shapes))), shapes[0][1])
    return found


def plain_members(offered: Offer) -> tuple[Member, ...]:
    """The blocks that stand for "no prior": words, pixels, bare columns. Empty when the library lacks them. Where there
    are several for a column, because somebody brought variants, it is one that is known."""
    known = starter_priors()
    found: dict[str | tuple[str, ...], Candidate] = {}
    for candidate in sorted(offered.candidates, key=lambda one: one.ref.repo not in known):
        manifest = offered.manifests[candidate]
        if manifest.function is not None and manifest.function.id == PLAIN.get(manifest.modality):
            found.setdefault(candidate.column, candidate)
    return tuple(Member(candidate, 1 / len(found)) for candidate in found.values())


def block_graph(
    offered: Offer, candidates: Sequence[Candidate], *, name: str = "blocks"
) -> tuple[Graph, dict[Candidate, str]]:
    """A graph with one output a candidate, its normalized block, and the node of each."""
    wiring = _Wiring(offered)
    ends = {candidate: wiring.block(candidate, 1.0) for candidate in candidates}
    outputs = {f"o{i}": end for i, end in enumerate(ends.values())}
    return Graph.from_dict(_document(name, wiring.nodes, outputs, seed=0)), ends


ADAPTED_DELTA = "delta"
"""The node of the delta that a set is adapted by."""


def set_graph(
    task: Task,
    members: Sequence[Member],
    offered: Offer,
    *,
    seed: int = 0,
    fusion: Fusion = "concat",
    adapted: Candidate | None = None,
    delta: Mapping[str, Any] | None = None,
) -> Graph:
    """The composition of `members` for `task`: blocks normalized by their weight, fused, and a head.

    concat  blocks side by side under one head, which is then a closed form
    late    a head a column, over its blocks; the output is their mean by the weights of the columns
    gate    each block is projected to GATE_WIDTH features, which are mixed row by row: trained by gradient descent,
            from the first block alone, or of several columns from all of them alike
    attend  concat, and beside it what the first block's projection reads from those of all of them by cross attention,
            which begins by reading nothing: trained by gradient descent

    Of one block, or late of one column, all are concat. With `adapted` the last block is that tap of its network with a
    delta of the attributes `delta`, at the node ADAPTED_DELTA.
    """
    wiring = _Wiring(offered)
    ordered = sorted(members, key=lambda member: -member.weight)
    gated = fusion == "gate" and len(ordered) > 1
    ends = [wiring.block(member.candidate, 1.0 if gated else member.weight) for member in ordered]
    if adapted is not None:
        ends.append(wiring.adapted(adapted, delta or {}))
    head = {"op": "head", **head_of(task), "train": "full"}
    columns: dict[str | tuple[str, ...], list[int]] = {}
    for at, member in enumerate(ordered):
        columns.setdefault(member.candidate.column, []).append(at)
    if fusion == "late" and adapted is None and len(columns) > 1:
        total = sum(member.weight for member in ordered)
        heads, parts = [], []
        for places in columns.values():
            heads.append(wiring.add("head", {**head, "in": [wiring.joined([ends[at] for at in places])]}))
            parts.append(round(sum(ordered[at].weight for at in places) / total, 6))
        wiring.add("y", {"op": "sum", "in": heads, "weights": parts})
    else:
        if gated:
            # Of several columns none may be the one that all hangs on. Digits beside sentences at 16 labels a class,
            # 3 draws: 98.1 % right with both against 95.3, 93.6 against 87.7 without the sentence, 70.9 against 34.6
            # without the digit.
            start = "first" if len(columns) == 1 else "uniform"
            gate = {"op": "gate", "in": ends, "type": f"vec.feat[B,D:{GATE_WIDTH}]:f32", "init": start}
            joined = wiring.add("gate", gate)
        elif fusion == "attend" and len(ends) > 1:
            joined = wiring.joined([wiring.joined(ends), wiring.attended(ends)])
        else:
            joined = wiring.joined(ends)
        wiring.add("y", {**head, "in": [joined]})
    return Graph.from_dict(_document(task.name, wiring.nodes, {"y": "y"}, seed=seed))


def head_of(task: Task) -> dict[str, Any]:
    """What a head says about what `task` predicts."""
    if task.kind == "regression":
        return {"target": task.target, "loss": "mse", **({"unit": task.unit} if task.unit else {})}
    loss = "binary_cross_entropy" if task.kind == "multilabel" else "cross_entropy"
    return {"labels": list(task.labels), "loss": loss}


class _Wiring:
    """Nodes being written: inputs, loads and taps once each, whoever uses them."""

    def __init__(self, offered: Offer) -> None:
        self.nodes: dict[str, dict[str, Any]] = {}
        self._manifests, self._series, self._gaps = offered.manifests, offered.series, offered.gaps
        self._made: dict[Any, str] = {}

    def add(self, name: str, node: dict[str, Any]) -> str:
        """Writes a node under `name`, or a numbered form of it where that is taken; gives the name."""
        stem = re.sub(r"[^A-Za-z0-9_.-]+", "_", name)[:80]
        stem = stem if re.match(r"[A-Za-z_]", stem) else f"n{stem}"
        chosen, count = stem, 2
        while chosen in self.nodes:
            chosen, count = f"{stem}_{count}", count + 1
        self.nodes[chosen] = node
        return chosen

    def joined(self, ends: Sequence[str]) -> str:
        """The blocks side by side; the block itself where there is one."""
        return ends[0] if len(ends) == 1 else self.add("joined", {"op": "concat", "in": list(ends), "axis": "D"})

    def attended(self, ends: Sequence[str]) -> str:
        """What the first block, projected, reads from all of them."""
        narrow = [self.add("narrow", {"op": "proj", "in": [end], "d_out": GATE_WIDTH, "init": "pca"}) for end in ends]
        places = [self.add("place", {"op": "expand", "in": [one], "axis": "T"}) for one in narrow]
        context = self.add("places", {"op": "concat", "in": places, "axis": "T"})
        wires = {"q": narrow[0], "kv": context}
        return self.add("attended", {"op": "attend", "in": wires, "heads": ATTENTION_HEADS, "init": "zero"})

    def once(self, key: Any, name: str, node: dict[str, Any]) -> str:
        if key not in self._made:
            self._made[key] = self.add(name, node)
        return self._made[key]

    def block(self, candidate: Candidate, weight: float) -> str:
        """The normalized block of a candidate; its last node."""
        manifest = self._manifests[candidate]
        source = self._features(candidate, manifest)
        function = None if manifest.function is None else manifest.function.id
        mode = "rows"
        if function in _KERNELS:
            mode = "whole"
        elif manifest.modality == "tab" or tap_width(manifest, candidate.tap) <= NARROW:
            mode = "columns"
        elif function in _COUNTS:
            mode = "counts"
        return self._normed(source, candidate, manifest, mode, round(weight, 6))

    def adapted(self, candidate: Candidate, delta: Mapping[str, Any]) -> str:
        """The normalized block of a network with a delta; its last node."""
        manifest = next(m for one, m in self._manifests.items() if one.ref == candidate.ref)
        loaded = self._load(candidate, manifest)
        weights = self.add(ADAPTED_DELTA, {"op": "delta", "in": [loaded], **delta, "train": "full"})
        source = self._input(candidate.column, manifest)
        net = {"op": "net", "in": {"w": weights, next(iter(manifest.inputs)): source}, "tap": candidate.tap}
        node = self.add(f"{candidate.ref.name}_adapted", {**net, "train": "delta"})
        mode = "columns" if tap_width(manifest, candidate.tap) <= NARROW else "rows"
        return self._normed(node, candidate, manifest, mode, 1.0)

    def _normed(self, source: str, candidate: Candidate, manifest: PriorManifest, mode: str, weight: float) -> str:
        """The node that normalizes the features `source`, and leaves out rows that lack their column."""
        config: dict[str, Any] = {"mode": mode, "weight": weight}
        given = source
        if self._gaps:
            config["gaps"] = True
            given = self.once(("beside", source), f"{source}_there", self._beside(source, candidate.column, manifest))
        return self.add(
            f"{source}_block", {"op": "fn", "fn": "block_norm", "in": [given], "config": config, "fit": "train"}
        )

    def _beside(self, source: str, column: str | tuple[str, ...], manifest: PriorManifest) -> dict[str, Any]:
        """Whether each row has the column, and then its features."""
        if isinstance(column, str):
            reads, name = self._input(column, manifest), f"{column}_present"
        else:
            reads, name = self._table(column), "numbers_known"
        there = {"op": "fn", "fn": "present" if isinstance(column, str) else "known", "in": [reads]}
        return {"op": "concat", "in": [self.once(("there", column), name, there), source], "axis": "D"}

    def _load(self, candidate: Candidate, manifest: PriorManifest) -> str:
        ref, arch = candidate.ref, manifest.architecture.id if manifest.architecture else None
        paid = {"license": manifest.license.spdx, "fee_bp": manifest.fee_bp}
        load = {"op": "load", "prior": str(ref), "arch": arch, **paid}
        return self.once(("load", ref), f"{ref.name}_weights", load)

    def _features(self, candidate: Candidate, manifest: PriorManifest) -> str:
        ref, column = candidate.ref, candidate.column
        source = self._input(column, manifest)
        paid = {"license": manifest.license.spdx, "fee_bp": manifest.fee_bp}
        if manifest.function is None:
            weights = self._load(candidate, manifest)
            port = next(iter(manifest.inputs))
            net = {"op": "net", "in": {"w": weights, port: source}, "tap": candidate.tap, "train": "frozen"}
            return self.once(candidate, f"{ref.name}_{candidate.tap}", net)
        node = {
            "op": "fn",
            "fn": manifest.function.id,
            "config": dict(manifest.function.config),
            "prior": str(ref),
            **paid,
        }
        if manifest.modality == "series" and isinstance(column, str):
            length, channels = self._series[column]
            size = {"length": length, "channels": channels}
            grid = {"op": "fn", "fn": "series_grid", "in": [source], "config": size}
            source = self.once(("grid", column), f"{column}_grid", grid)
        if isinstance(column, str) and parse(next(iter(manifest.inputs.values()))).kind == "image.pixels":
            grid = {"op": "fn", "fn": "image_grid", "in": [source]}
            source = self.once(("grid", column), f"{column}_grid", grid)
        if manifest.modality == "tab" and manifest.function.id not in _SCALED:
            scaled = {"op": "fn", "fn": "standardize", "config": {"clip": CLIP}, "in": [source], "fit": "train"}
            source = self.once(("scaled", column), "scaled", scaled)
        if manifest.function.id in _SCALED:
            node["fit"] = "train"
        return self.once(candidate, ref.name, {**node, "in": [source]})

    def _input(self, column: str | tuple[str, ...], manifest: PriorManifest) -> str:
        if isinstance(column, str):
            raw = {"op": "input", "type": _RAW[manifest.modality], "column": column}
            return self.once(("input", column), f"in_{column}", raw)
        filled = {"op": "fn", "fn": "fill", "in": [self._table(column)], "fit": "train"}
        return self.once(("filled", column), "filled", filled)

    def _table(self, column: tuple[str, ...]) -> str:
        """The number columns as they are, gaps included."""
        table = {"op": "input", "type": f"tab.num[B,C:{len(column)}]:f32", "column": list(column)}
        return self.once(("input", column), "table", table)


def _document(name: str, nodes: Mapping[str, Any], outputs: Mapping[str, str], *, seed: int) -> dict[str, Any]:
    return {
        "composition": 1,
        "opset": {"core": 1, "fn": 1, "arch": 1},
        "name": name,
        "adapt": "trainable",
        "dims": {"B": "batch"},
        "nodes": dict(nodes),
        "outputs": dict(outputs),
        "fit": {"seed": seed},
    }


def tap_width(manifest: PriorManifest, tap: str) -> float:
    """How many features a tap has; infinite where that depends on the input."""
    found = manifest.tap(tap)
    axis = found.axis("D") or found.axes[-1]
    return axis.dim if isinstance(axis.dim, int) else float("inf")


def _columns(task: Task) -> list[tuple[str | tuple[str, ...], str]]:
    """What blocks read: each text, image, audio or category column, and all number columns together."""
    found: list[tuple[str | tuple[str, ...], str]] = [
        (column.name, column.modality) for column in task.inputs if column.modality != "num"
    ]
    numbers = tuple(column.name for column in task.inputs if column.modality == "num")
    return [*found, (numbers, "tab")] if numbers else found


def _reads(manifest: PriorManifest, modality: str, functions: Collection[str]) -> bool:
    """Whether a prior can read a column. A category is read as its words; networks have nothing to say about it."""
    if modality == "category":
        return manifest.function is not None and manifest.function.id == "word_ngrams"
    if manifest.function is not None and manifest.function.id not in functions:
        return False
    return manifest.modality == modality and len(manifest.inputs) == 1
