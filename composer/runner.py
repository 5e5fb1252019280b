"""Run an exported ONNX file on raw values, as the JSON beside it says: numpy and onnxruntime, no torch.

model = Runner("spam.onnx")                     # reads spam.preprocessing.json, and tokenizers it names
model.predict(["free entry, text WIN"])         # ["spam"]
model.predict_proba({"message": ["…", "…"]})    # (n, K)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from composer._rows import read_rows
from composer.answers import Answers
from priors.errors import BadManifest, BadTable, UserError
from priors.functions.absent import extract, filled
from priors.host.encoder import encoder_of
from priors.registry import find_host_function
from priors.types import PortType, parse

if TYPE_CHECKING:
    from priors.tasks.spec import Column

VERSION = 1
"""Of the document beside an exported file."""

BATCH = 32
"""Rows that run together, similar lengths beside each other."""

Array = NDArray[Any]
Step = Callable[[Sequence[Any]], tuple[Array, ...]]

_DTYPES = {
    "bool": "?", "u8": "u1", "i8": "i1", "i16": "i2", "i32": "i4", "i64": "i8", "f16": "f2", "f32": "f4", "f64": "f8"
}  # fmt: skip


def beside(path: Path) -> Path:
    """Where the description of an exported file is."""
    return path.with_suffix(".preprocessing.json")


class Runner:
    """An exported model: the same predictions as the composition it was made of, within the parity it states."""

    def __init__(self, path: Path | str) -> None:
        """Raises UserError when something is missing that the file needs, BadManifest for a description of another
        kind."""
        self.path = Path(path)
        self.description = _read(self.path)
        self._steps = {
            number: _step(step, self._types(step), self.path.parent)
            for number, step in enumerate(self.description["steps"])
        }

    @property
    def name(self) -> str:
        return str(self.description["composition"])

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes in the order of `predict_proba`'s columns; empty for a regression."""
        return tuple(self._output.get("labels", ()))

    @property
    def answers(self) -> Answers:
        """How what the file gives is read."""
        return Answers.of(self.name, self._output, self._output)

    @property
    def columns(self) -> Mapping[str, str | Sequence[str]]:
        """Input node -> the table column (or columns) it reads."""
        return {step["reads"]: step["column"] for step in self.description["steps"]}

    @property
    def table_columns(self) -> tuple[Column, ...]:
        """The table columns it reads, each with what it is read as. Needs pyarrow."""
        from composer.predictions import as_columns

        return as_columns((step["column"], step["kind"]) for step in self.description["steps"])

    def predict(self, rows: Any) -> list[Any]:
        """A label a row (a list of them where there may be several, or a number). `rows`: values of the only column, or
        a mapping of column name to values."""
        return self.answers.predictions(self.outputs(rows))

    def predict_proba(self, rows: Any) -> NDArray[np.float64]:
        """(n, K) probabilities, columns in the order of `labels`. Rows sum to 1, unless one may have several labels."""
        return self.answers.probabilities(self.outputs(rows) if self.labels else np.empty((0, 1)))

    def outputs(self, rows: Any) -> NDArray[np.float64]:
        """(n, K): the first output as it comes, a row each."""
        gaps = {step["reads"] for step in self.description["steps"] if step.get("gaps")}
        columns = read_rows(self.name, self.columns, rows, gaps)
        lengths = {len(values) for values in columns.values()}
        if len(lengths) > 1:
            raise BadTable("the columns have different numbers of rows. Give one value a row for each.")
        count = lengths.pop()
        made: NDArray[np.float64] | None = None
        for at in _batches(columns, count):
            arrays = [
                array
                for number, step in enumerate(self.description["steps"])
                for array in self._steps[number]([columns[step["reads"]][i] for i in at])
            ]
            feed = {given["name"]: array for given, array in zip(self.description["inputs"], arrays, strict=True)}
            [scores] = self._session.run([self._output["name"]], feed)
            if made is None:
                made = np.empty((count, *scores.shape[1:]))
            made[at] = scores
        return np.empty((0, max(len(self.labels), 1))) if made is None else made

    @property
    def _output(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.description["outputs"][0]
        return found

    def _types(self, step: Mapping[str, Any]) -> list[PortType]:
        types = {given["name"]: given["type"] for given in self.description["inputs"]}
        return [parse(types[name]) for name in step["gives"]]

    @cached_property
    def _session(self) -> Any:
        try:
            import onnxruntime
        except ImportError as error:
            raise UserError("running ONNX needs onnxruntime. Run: pip install 'priorhub[run]'") from error
        return onnxruntime.InferenceSession(str(self.path), providers=["CPUExecutionProvider"])


def _read(path: Path) -> dict[str, Any]:
    described = beside(path)
    for needed in (path, described):
        if not needed.is_file():
            raise UserError(f"{needed} is missing. Keep the files of an export together.")
    try:
        found: dict[str, Any] = json.loads(described.read_bytes())
        version = found["preprocessing"]
    except (ValueError, KeyError, TypeError) as error:
        raise BadManifest(f"{described} is not the description of an export ({error}). Export again.") from error
    if version != VERSION:
        raise BadManifest(f"{described} is of version {version!r}, this version reads {VERSION}. Export again.")
    return found


def _step(step: Mapping[str, Any], types: Sequence[PortType], folder: Path) -> Step:
    """The work of one step: raw values -> the arrays it gives."""
    if "function" in step:
        function: Any = find_host_function(step["function"])(dict(step["config"]))
        return lambda values: (extract(function, values),)
    if "encoder" in step:
        spec = dict(step["encoder"])
        if "beside" in step:
            spec["file"] = step["beside"]
        encoder = encoder_of(spec, folder)
        at = step.get("at", 0)
        return lambda values: encoder.arrays(filled(values, step["kind"]))[at : at + len(types)]
    if "values" in step:
        return lambda values: (_numbers(values, types[0], step["column"]),)
    raise BadManifest(f"what makes {', '.join(step['gives'])} is not known to this version. Update, or export again.")


def _numbers(values: Sequence[Any], t: PortType, column: Any) -> Array:
    widths = [axis.dim for axis in t.axes[1:]]
    try:
        rows = np.asarray(values)
        rows = rows.reshape(len(rows), 1) if rows.ndim == 1 and len(widths) == 1 else rows
        if rows.ndim != len(t.axes):
            raise ValueError(f"they are {rows.shape}")
        return rows.astype(_DTYPES[t.dtype])
    except (TypeError, ValueError) as error:
        raise BadTable(f"column {column!r} takes {t}, and its values do not fit ({error}).") from error


def _batches(columns: Mapping[str, Sequence[Any]], count: int) -> Iterator[list[int]]:
    texts = [values for values in columns.values() if count and isinstance(values[0], str)]
    order = sorted(range(count), key=lambda i: sum(len(str(values[i])) for values in texts))
    for start in range(0, count, BATCH):
        yield order[start : start + BATCH]
