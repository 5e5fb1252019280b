"""A fitted model over a file: predictions as CSV, a score on labelled rows, and whether a folder is what it claims."""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TextIO

import numpy as np

from composer.answers import Answers
from composer.rank.precision import mean_average_precision, precision_left_out
from composer.rank.probe import NORMAL_95, f1_left_out, left_out_error, macro_f1
from priors.errors import BadTable, BadTask
from priors.tasks.columns import as_text, conform
from priors.tasks.readers import LIST_SEPARATOR, RawTable
from priors.tasks.spec import Column, Modality
from priors.tasks.task import Task, column_values

if TYPE_CHECKING:
    from composer.composition import Composition
    from composer.lock import Lock
    from priors.library import Library

_MODALITY: Mapping[str, Modality] = {
    "text": "text",
    "image": "image",
    "audio": "audio",
    "series": "series",
    "tab": "num",
}
BOOTSTRAPS = 500  # resamples for the interval of R²; its 95 % ends move by under .01 from 500 to 5,000 on 200 rows


def input_columns(lock: Lock) -> tuple[Column, ...]:
    """The table columns a composition reads, each with what it is read as."""
    inputs = [node for node in lock.nodes if node.op == "input" and node.type is not None]
    return as_columns((node.attrs.get("column", node.name), node.type.modality if node.type else "") for node in inputs)


def as_columns(read: Iterable[tuple[str | Sequence[str], str]]) -> tuple[Column, ...]:
    """(a column or several, the modality of their values) -> the columns, each once."""
    found: dict[str, Column] = {}
    for given, modality in read:
        for name in [given] if isinstance(given, str) else given:
            found[name] = Column(name, _MODALITY.get(modality, "ignored"))
    return tuple(found.values())


class Predictor(Protocol):
    """A composition, or an exported file of one: what predicts the rows of a table."""

    @property
    def answers(self) -> Answers:
        """How its outputs are read."""

    @property
    def table_columns(self) -> tuple[Column, ...]:
        """The columns it reads, each with what it is read as."""

    def predict(self, rows: Any) -> list[Any]:
        """A label (or a number) a row, of columns by name."""

    def predict_proba(self, rows: Any) -> Any:
        """(n, K) probabilities."""


def write_predictions(model: Predictor, raw: RawTable, out: Path | str, *, local: bool = True) -> int:
    """Writes the columns of `raw`, then `prediction`, then p_<label> a class, as CSV; returns the number of rows.

    Several labels of a row are joined by `|`; a number that has a unit has it in a column `unit`.

    out    a path, replaced only once everything is written, or "-" for stdout
    local  False refuses absolute paths to images and audio: a server predicting for somebody else

    Cells are written as they were read, also those that begin with = + - or @, which a spreadsheet takes for formulas:
    changing data would be worse. A target among the columns is passed over. Raises BadTable for missing columns, bad
    cells, and columns that already have the names to be written.
    """
    columns = model.table_columns
    table = conform(raw, columns, local=local)
    answers = model.answers
    unit = ["unit", answers.unit] if answers.unit else []
    added = ["prediction", *(f"p_{label}" for label in answers.labels), *unit[:1]]
    taken = [name for name in added if name in raw.table.column_names]
    if taken:
        raise BadTable(f"{raw.source} already has a column '{taken[0]}'. Rename or remove it, then predict again.")
    values = {column.name: column_values(table, column, base=raw.base, local=local) for column in columns}
    if answers.labels:
        chances = model.predict_proba(values)
        said = answers.said(chances)
        joined = [LIST_SEPARATOR.join(one) if isinstance(one, list) else one for one in said]
        predicted = [[one, *(f"{p:.6f}" for p in row)] for one, row in zip(joined, chances, strict=True)]
    else:
        predicted = [[repr(value), *unit[1:]] for value in model.predict(values)]
    given = zip(*(as_text(column).to_pylist() for column in raw.table.columns), strict=True)
    with _replacing(out) as file:
        writer = csv.writer(file)
        writer.writerow([*raw.table.column_names, *added])
        # None is written as an empty cell
        writer.writerows([*cells, *more] for cells, more in zip(given, predicted, strict=True))
    return len(predicted)


def score(model: Composition, task: Task) -> dict[str, Any]:
    """{"metric", "score", "low", "high", "rows"} of the model on a task's rows, with a 95 % interval.

    Where rows may have several labels there are "macro_f1" and "map" too, the mean average precision of their
    probabilities; the task says which of them is the score. Accuracy has Wilson's interval (Wilson 1927), these two a
    jackknife and R² a percentile bootstrap over rows. A class the model does not know counts as wrong. Raises BadTask
    when the task is of another kind than the model.
    """
    kinds = (_predicts(model), "a number" if task.kind == "regression" else _sorts(task.kind == "multilabel"))
    if kinds[0] != kinds[1]:
        raise BadTask(
            f"the model predicts {kinds[0]}, the target '{task.target}' is {kinds[1]}. Choose another target."
        )
    rows = {column.name: task.values(column.name) for column in input_columns(model.lock)}
    if model.answers.several:
        chances = model.predict_proba(rows)
        predicted = model.answers.said(chances)
        known = tuple(dict.fromkeys((*task.labels, *model.labels)))
        right = _matrix([[task.labels[i] for i in np.flatnonzero(row)] for row in task.y], known)
        said = _matrix(predicted, known)
        ranked = np.zeros(right.shape)
        ranked[:, [known.index(label) for label in model.labels]] = chances
        both = {"macro_f1": macro_f1(right, said), "map": mean_average_precision(right, ranked)}
        metric = "map" if task.metric == "map" else "macro_f1"
        parts = precision_left_out(right, ranked) if metric == "map" else f1_left_out(right, said)
        half = NORMAL_95 * left_out_error(both[metric], parts)
        low, high = max(both[metric] - half, 0.0), min(both[metric] + half, 1.0)
        return {"metric": metric, "score": both[metric], "low": low, "high": high, "rows": len(right), **both}
    predicted = model.predict(rows)
    if model.labels:
        truth = [task.labels[i] for i in task.y]
        hits = sum(a == b for a, b in zip(predicted, truth, strict=True))
        low, high = wilson(hits, len(truth))
        return {"metric": "accuracy", "score": hits / len(truth), "low": low, "high": high, "rows": len(truth)}
    values, found = np.asarray(task.y, np.float64), np.asarray(predicted, np.float64)
    rng = np.random.default_rng(0)
    resampled = [_r2(values[i], found[i]) for i in rng.integers(0, len(values), (BOOTSTRAPS, len(values)))]
    low, high = (float(end) for end in np.nanpercentile(resampled, [2.5, 97.5]))
    return {"metric": "r2", "score": _r2(values, found), "low": low, "high": high, "rows": len(values)}


def _predicts(model: Composition) -> str:
    return _sorts(model.answers.several) if model.labels else "a number"


def _sorts(several: bool) -> str:
    return "sets of labels" if several else "classes"


def _matrix(sets: Sequence[Sequence[str]], labels: Sequence[str]) -> np.ndarray:
    """(n, K) whether each row has each label."""
    return np.array([[label in one for label in labels] for one in sets], dtype=bool).reshape(len(sets), len(labels))


def wilson(hits: int, rows: int, z: float = 1.959964) -> tuple[float, float]:
    """The 95 % interval of a share of `hits` in `rows` (> 0)."""
    share, z2 = hits / rows, z * z / rows
    middle = (share + z2 / 2) / (1 + z2)
    half = z / (1 + z2) * float(np.sqrt(share * (1 - share) / rows + z2 / (4 * rows)))
    return max(0.0, middle - half), min(1.0, middle + half)


def verify_folder(folder: Path, library: Callable[[], Library]) -> dict[str, Any]:
    """{"kind", "identity", "checked"} of a composition, prior or task folder, after all it claims was recomputed.

    For a composition that is its lock from its graph, its parameters, and every file of every prior it names (fetched
    from `library` if needed). Raises BadLock, BadManifest, BadWeights or BadTask for the first difference.
    """
    if (folder / "composition.json").is_file():
        return _verify_composition(folder, library())
    if (folder / "prior.json").is_file():
        from priors.load import load

        manifest = load(folder).manifest
        return {"kind": "prior", "identity": manifest.identity(), "checked": sorted(manifest.files)}
    if (folder / "task.json").is_file():
        task = Task.from_dir(folder)
        task.check_media()
        return {"kind": "task", "identity": f"sha256:{task.fingerprint}", "checked": ["task.json", "data.parquet"]}
    raise BadTask(f"{folder} holds no composition.json, prior.json or task.json. Give the folder of one of these.")


def _verify_composition(folder: Path, library: Library) -> dict[str, Any]:
    from composer.composition import read_folder
    from composer.lock import WEIGHTS_FILE
    from composer.nested import ARCHITECTURE, HoldsCompositions, read_lock, resolver
    from priors.load import load
    from priors.weights import load_weights

    graph, lock = read_folder(folder)
    lock.verify(graph, resolver(library))
    if lock.weights is not None:
        load_weights(folder / WEIGHTS_FILE, lock.weights)
    nested = {str(ref) for name, ref in lock.priors.items() if lock.node(name).architecture == ARCHITECTURE}
    refs = sorted({str(ref): ref for ref in lock.priors.values()}.items())
    for name, ref in refs:
        if name in nested and isinstance(library, HoldsCompositions):
            inside = library.composition(ref)
            read_lock(inside, ref)
            _verify_composition(inside, library)
        else:
            load(library.directory(ref))
    checked = [*(name for name, _ in refs), *([WEIGHTS_FILE] if lock.weights else [])]
    return {"kind": "composition", "identity": lock.model or lock.structure, "checked": checked}


def _r2(values: np.ndarray, found: np.ndarray) -> float:
    spread = float(((values - values.mean()) ** 2).sum())
    return 1 - float(((values - found) ** 2).sum()) / spread if spread else float("nan")


@contextmanager
def _replacing(out: Path | str) -> Iterator[TextIO]:
    """A file for `csv` that takes the place of `out` when the block ends well and vanishes when it does not."""
    if str(out) == "-":
        yield sys.stdout
        return
    place = Path(out)
    fresh = place.with_name(f".{place.name}.{os.getpid()}.part")
    try:
        with fresh.open("w", encoding="utf-8", newline="") as file:
            yield file
        fresh.replace(place)
    except OSError as error:
        raise BadTable(f"{place} cannot be written: {error.strerror or error}. Choose another place.") from error
    finally:
        fresh.unlink(missing_ok=True)
