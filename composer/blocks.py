"""The feature blocks of a task: frozen parts computed once through the cache, fitted parts on whichever rows are
labelled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from composer._hash import digest
from composer.assemble import Offer, block_graph
from composer.cache import FeatureCache, data_hash
from composer.check import check, frozen_frontier
from composer.choices import Cancelled, Candidate, Report, never, silent
from composer.errors import Cancelled as Stopped
from composer.examples import computed
from composer.gaps import refuse_gaps
from composer.lock import Lock
from composer.lower import Lowered, lower
from composer.nested import resolver
from priors.errors import BadAudio, BadImage, BadTask
from priors.library import Library

if TYPE_CHECKING:
    from priors.tasks import Task

Rows = NDArray[np.int64]

ON_HOST = ("encode", "bridge")
"""Operations whose values are what a host encoder gives: never worth a file."""

_READ_FROM: Mapping[str, tuple[str, ...]] = {
    "text": ("text", "category"),
    "image": ("image",),
    "audio": ("audio",),
    "series": ("series",),
}
"""Modality of an input node -> the columns it may read; others read numbers."""


class Blocks:
    """Every candidate's block over all rows of a task.

    The rows in `task` decide what is computed and cached; which of them are labelled is said later, so one extraction
    serves all draws. Nothing here looks at the target.

    rows    ascending numbers of those that are wanted; the others are not computed, and may not be asked for
    hashes  kept between several Blocks of one task, so that its columns are hashed once
    """

    def __init__(
        self,
        task: Task,
        offered: Offer,
        library: Library,
        cache: FeatureCache,
        *,
        candidates: Sequence[Candidate] | None = None,
        rows: Rows | None = None,
        hashes: dict[Any, str] | None = None,
        report: Report = silent,
        cancelled: Cancelled = never,
    ) -> None:
        chosen = tuple(candidates if candidates is not None else offered.candidates)
        graph, self._ends = block_graph(offered, chosen)
        self._rows = rows
        self._lock = Lock.of(check(graph, resolver(library)))
        self._lowered = lower(self._lock, library)
        self._values = frozen_values(
            self._lowered, task, cache, rows=rows, hashes=hashes, report=report, cancelled=cancelled
        )

    def fitted(
        self, labelled: Rows, rows: Rows | None = None, *, normalized: bool = True
    ) -> dict[Candidate, NDArray[np.float32]]:
        """Each block (m, D) for `rows` (all, when None), with everything fitted on the rows `labelled` alone.

        normalized  False gives what the prior says, before it is brought to the length of the others
        """
        if self._rows is not None:
            labelled = np.searchsorted(self._rows, labelled)
            rows = None if rows is None else np.searchsorted(self._rows, rows)
        fit_functions(self._lowered, self._values, labelled)
        given = {name: value if rows is None else value[rows] for name, value in self._values.items()}
        ends = list(self._ends.values())
        if not normalized:
            ends = [self._lock.node(end).sources[0] for end in ends]
            held = {end: given[end] for end in ends if end in given}
            made = dict.fromkeys(end for end in ends if end not in held)
            with torch.inference_mode():
                held |= dict(zip(made, self._lowered.part(list(given), list(made))(*given.values()), strict=True))
            return {candidate: held[end].numpy() for candidate, end in zip(self._ends, ends, strict=True)}
        with torch.inference_mode():
            found = self._lowered.part(list(given), ends)(*given.values())
        return {candidate: value.numpy() for candidate, value in zip(self._ends, found, strict=True)}


def column_values(lock: Lock, task: Task) -> dict[str, Any]:
    """The raw values of a task's columns by input node. Raises BadTask for a column it lacks or has as another type."""
    held = {column.name: column.modality for column in task.inputs}
    found: dict[str, Any] = {}
    for node in lock.nodes:
        if node.op != "input" or node.type is None:
            continue
        column = node.attrs.get("column", node.name)
        for name in [column] if isinstance(column, str) else column:
            if held.get(name) not in _READ_FROM.get(node.type.modality, ("num",)):
                raise BadTask(
                    f"{lock.name} reads {node.type.modality} from column {name!r}, which is "
                    f"{held.get(name, 'no input')} in {task.name}. Correct the composition's input {node.name!r}."
                )
        if isinstance(column, str):
            found[node.name] = task.values(column)
        else:
            found[node.name] = np.stack([np.asarray(task.values(name), dtype=np.float32) for name in column], axis=1)
    refuse_gaps(lock.name, found, lock)
    return found


def frozen_values(
    lowered: Lowered,
    task: Task,
    cache: FeatureCache,
    *,
    rows: Rows | None = None,
    hashes: dict[Any, str] | None = None,
    report: Report = silent,
    cancelled: Cancelled = never,
) -> dict[str, Tensor]:
    """What fitting starts from, for every row or for `rows` (ascending), by slot: the frozen frontier (through the
    cache), sequences with their masks, and the numeric inputs.

    Raises Cancelled between batches when asked to stop.
    """
    lock = lowered.lock
    columns = column_values(lock, task)
    asked = np.arange(len(task)) if rows is None else rows
    nodes = {node.name: node for node in lock.nodes}
    keys = data_keys(lock, _column_hashes(lock, columns, {} if hashes is None else hashes))
    by_data: dict[str, dict[str, list[str]]] = {}  # hash of the data -> hash of the value -> where it is wanted
    masks = {mask for _, mask in lowered.masks.values()}
    for name in lock.frontier:
        if nodes[name].op in ON_HOST:
            continue  # what a network that learns reads: cheap to make again (`encoded_values`)
        if not keys[name]:
            continue  # made of constants alone: the same for every row
        wanted = by_data.setdefault(keys[name], {})
        wanted.setdefault(nodes[name].hash, []).append(name)
        if name in lowered.masks:
            wanted.setdefault(digest(["mask", nodes[name].hash]), []).append(lowered.masks[name][1])
    found: dict[str, Tensor] = {}
    for data, wanted in by_data.items():

        def compute(
            missing: Sequence[str], some: Rows | None = None, wanted: Mapping[str, list[str]] = wanted
        ) -> Mapping[str, Any]:
            def progress(done: int, of: int) -> None:
                if cancelled():
                    raise Stopped("stopped while computing features. What was finished before is cached.")
                report(done, of, f"features of {of:,} rows")

            slots = list(dict.fromkeys(wanted[key][0] for key in missing))
            part = columns if some is None else {name: _take(values, some) for name, values in columns.items()}
            with _files_named(task):
                made = lowered.padded(part, slots, progress=progress)
            return {key: made[wanted[key][0]] for key in missing}

        # Sequences are as long as the longest of all rows, so parts of them do not join.
        whole = [key for key, slots in wanted.items() if any(slot in lowered.masks or slot in masks for slot in slots)]
        held = cache.get_rows([key for key in wanted if key not in whole], data, asked, len(task), compute)
        held |= {key: value[asked] for key, value in cache.get(whole, data, compute).items()}
        for key, slots in wanted.items():
            # A copy: torch has no read-only tensors, and a map must not be written by accident.
            value = torch.from_numpy(np.array(held[key]))
            found |= {slot: value > 0 if slot in masks else value for slot in slots}
    for node in lock.nodes:
        if node.name in columns and node.type is not None and not node.type.is_raw:
            found[node.name] = torch.as_tensor(np.asarray(columns[node.name], dtype=np.float32)[asked])
    return found


def _take(values: Any, rows: Rows) -> Any:
    if len(rows) == len(values):
        return values
    return values[rows] if isinstance(values, np.ndarray) else [values[row] for row in rows]


def _column_hashes(lock: Lock, columns: Mapping[str, Any], known: dict[Any, str]) -> dict[str, str]:
    """The hash of each input's values; what is `known` by column is not hashed again."""
    found = {}
    for name, values in columns.items():
        column = lock.node(name).attrs.get("column", name)
        key = column if isinstance(column, str) else tuple(column)
        if key not in known:
            known[key] = data_hash({"": values})
        found[name] = known[key]
    return found


def encoded_values(lowered: Lowered, task: Task) -> dict[str, Tensor]:
    """What networks that learn read, for every row, by slot: tokens, pixels or frames, and their masks."""
    columns = column_values(lowered.lock, task)
    wanted = {lowered.slots[name] for name in lowered.lock.frontier if lowered.lock.node(name).op in ON_HOST}
    found: dict[str, Tensor] = {}
    for step in lowered.host:
        if step.node in wanted:
            with _files_named(task):
                made = step.encode(columns[step.source])
            found |= {given.slot: x for given, x in zip(step.inputs, made, strict=True)}
    return found


@contextmanager
def _files_named(task: Task) -> Iterator[None]:
    """An image or recording that cannot be read, and the next two like it, are named as the table names them."""
    try:
        yield
    except (BadImage, BadAudio):
        task.check_media()
        raise


def adapted_values(lowered: Lowered, task: Task) -> dict[str, Tensor]:
    """What the nets of trained deltas give for every row, up to where something else learns; never cached."""
    still = tuple(
        replace(node, attrs={**node.attrs, "train": "frozen"}) if node.op in ("delta", "net") else node
        for node in lowered.lock.nodes
    )
    wanted = [name for name in frozen_frontier(still, lowered.lock.outputs) if name not in set(lowered.lock.frontier)]
    found = lowered.features(column_values(lowered.lock, task), wanted)
    return {name: torch.from_numpy(value) for name, value in found.items()}


def fit_functions(lowered: Lowered, values: Mapping[str, Tensor], labelled: Rows) -> None:
    """Fits every function of the composition that learns from rows, in order, on the labelled rows alone."""
    given = {name: value[labelled] for name, value in values.items()}
    for node in lowered.lock.nodes:
        if node.op == "fn" and node.attrs.get("fit") == "train":
            source = node.sources[0]
            given[source] = computed(lowered, given, source)
            lowered.fit_function(node.name, given[source])


def data_keys(lock: Lock, inputs: Mapping[str, str]) -> dict[str, str]:
    """Node -> a hash of everything its value depends on besides its own hash, given the hashes of the inputs' values.

    Node hashes leave out which column feeds an input and the seed of projections. So the key of a node that reads one
    column is that column's, whatever lies between; of one that reads several, their order counts.
    """
    keys: dict[str, str] = dict(inputs)
    for node in lock.nodes:
        if node.name in keys:
            continue
        parts = [keys[source] for _, source in sorted(node.inputs) if keys.get(source)]
        if node.has_parameters:
            parts.append(f"seed {lock.seed}")
        keys[node.name] = parts[0] if len(parts) == 1 else data_hash({"": parts}) if parts else ""
    return keys
