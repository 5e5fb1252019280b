"""A fitted composition: configuration and weights, no code. Saved as a folder, loaded anywhere, run on new rows.

composition.json        the graph, as `composer.graph` writes it
composition.lock.json   every node with its type and hash, and the hash of the parameters
model.safetensors       what was learned; priors are referenced by content and fetched from a library
*.safetensors           files that constants name, as they were
report.json             how it was fitted and what it scored
README.md, NOTICE       the same for people, and what the licenses of the parts ask for
"""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from composer._rows import read_rows
from composer.answers import Answers
from composer.check import check
from composer.errors import BadGraph, BadLock
from composer.gaps import with_gaps
from composer.graph import GRAPH_FILE as GRAPH_FILE
from composer.graph import Graph
from composer.heads import Ending
from composer.license import judge, notice
from composer.license_texts import from_library, texts
from composer.lock import FILE_NAME as LOCK_FILE
from composer.lock import WEIGHTS_FILE, Lock
from composer.lower import Lowered, lower
from composer.nested import resolver
from priors.errors import BadWeights, UserError
from priors.library import Library
from priors.weights import load_weights, save_weights, sha256_file

if TYPE_CHECKING:
    from composer.export import ExportReport
    from priors.client import Hub
    from priors.tasks.spec import Column

REPORT_FILE = "report.json"
NOTICE_FILE = "NOTICE"


class Composition:
    """A model made of priors. Made by `composer.fit` or `Composition.load`.

    graph, lock  what it is;  report  JSON-able facts about the fit
    """

    def __init__(self, graph: Graph, lock: Lock, lowered: Lowered, report: Mapping[str, Any]) -> None:
        self.graph = graph
        self.lock = lock
        self.lowered = lowered
        self.report = dict(report)

    @classmethod
    def load(cls, folder: Path | str, *, hub: Hub | None = None, library: Library | None = None) -> Composition:
        """The composition in a folder. Priors come from `library` or `hub`, by default the hub that `Hub()` knows; what
        is in the local cache is not asked for again.

        Raises BadLock when files are missing or not what the lock says, BadWeights for a hostile or changed parameter
        file.
        """
        folder = Path(folder)
        graph, lock = read_folder(folder)
        lock.require_ready()
        library = library or default_library(hub)
        if check(graph, resolver(library)).structure != lock.structure:
            raise BadLock(f"{folder / GRAPH_FILE} is not the graph of its lock. Fetch both files again.")
        lowered = lower(lock, library, folder=folder)
        if lock.weights is not None:
            lowered.load_learned(load_weights(folder / WEIGHTS_FILE, lock.weights))
        return cls(graph, lock, lowered, _read_report(folder / REPORT_FILE))

    def save(self, folder: Path | str) -> Path:
        """Writes the files into `folder`, parameters first, so that a lock never names parameters that are not there.

        Raises UserError when the folder cannot be written, BadWeights when a file of constants was changed since.
        """
        folder = Path(folder)
        new = not folder.exists()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._copy_constants(folder)
            self.lock = self.lock.fitted(save_weights(self.lowered.learned_state(), folder / WEIGHTS_FILE))
            _write(folder / GRAPH_FILE, self.graph.to_json())
            _write(folder / LOCK_FILE, self.lock.to_json())
            _write(folder / REPORT_FILE, json.dumps(self.report, indent=1, ensure_ascii=False) + "\n")
            _write(folder / "README.md", card(self))
            verdict = judge(self.lock)
            kept = texts(verdict, from_library(self.lowered.priors.library))
            _write(folder / NOTICE_FILE, notice(self.lock.name, verdict, kept))
        except OSError as error:
            if new:
                shutil.rmtree(folder, ignore_errors=True)
            raise UserError(f"{folder} cannot be written: {error.strerror or error}. Choose another place.") from error
        return folder

    @property
    def structure(self) -> str:
        """`sha256:<hex>` of what is computed."""
        return self.lock.structure

    @property
    def model(self) -> str | None:
        """`sha256:<hex>` of what is computed and learned; None until it was saved."""
        return self.lock.model

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes in the order of `predict_proba`'s columns; empty for a regression."""
        return tuple(self._ending.head.attrs.get("labels", ()))

    @property
    def answers(self) -> Answers:
        """How what the head gives is read."""
        buffers = dict(self.lowered.learned[self._ending.head.name].named_buffers())
        return Answers.of(
            self.lock.name, self._ending.head.attrs, {name: float(value) for name, value in buffers.items()}
        )

    @property
    def columns(self) -> Mapping[str, str | list[str]]:
        """Input node -> the table column (or columns) it reads."""
        return {n.name: n.attrs.get("column", n.name) for n in self.lock.nodes if n.op == "input"}

    @property
    def table_columns(self) -> tuple[Column, ...]:
        """The table columns it reads, each with what it is read as."""
        from composer.predictions import input_columns

        return input_columns(self.lock)

    def predict(self, rows: Any) -> list[Any]:
        """A label a row (a list of labels where there may be several, or a number). `rows`: values of the only column,
        or a mapping of column name to values."""
        return self.answers.predictions(self._outputs(rows))

    def predict_proba(self, rows: Any) -> NDArray[np.float64]:
        """(n, K) probabilities, columns in the order of `labels`. Rows sum to 1, unless one may have several labels."""
        return self.answers.probabilities(self._outputs(rows) if self.labels else np.empty((0, 1)))

    def export(self, path: Path | str, *, format: str = "pt2") -> ExportReport:
        """Writes everything after the host operations as a file of its own, with its parity checked: pt2 or onnx."""
        from composer.export import export

        return export(self, Path(path), format=format)

    def inputs(self, rows: Any) -> dict[str, Any]:
        """Raw values by input node, from values of the only column or a mapping of columns. Raises BadTable."""
        return read_rows(self.lock.name, self.columns, rows, with_gaps(self.lock))

    def _copy_constants(self, folder: Path) -> None:
        """The files that constants name, from where they were read."""
        named = {node.attrs["file"]: node.attrs["sha256"] for node in self.lock.nodes if "file" in node.attrs}
        for name, digest in named.items():
            source = (self.lowered.folder or folder) / name
            if source.resolve() == (folder / name).resolve():
                continue
            temporary = folder / f".{name}.{uuid.uuid4().hex}.tmp"
            try:
                shutil.copyfile(source, temporary)
                if sha256_file(temporary) != digest:
                    raise BadWeights(f"{source} was changed since this composition read it. Put the old one back.")
                temporary.replace(folder / name)
            finally:
                temporary.unlink(missing_ok=True)

    @cached_property
    def _ending(self) -> Ending:
        return Ending.of(self.lock)

    def _outputs(self, rows: Any) -> NDArray[np.float64]:
        node = self._ending.output
        return self.lowered.features(self.inputs(rows), [node])[node].astype(np.float64)


def read_folder(folder: Path) -> tuple[Graph, Lock]:
    """The graph and the lock in a folder. Raises BadLock when one is missing or not valid."""
    for name in (GRAPH_FILE, LOCK_FILE):
        if not (folder / name).is_file():
            raise BadLock(f"{folder} has no {name}. Give the folder of a composition that was fitted and saved.")
    return Graph.load(folder / GRAPH_FILE), Lock.from_json((folder / LOCK_FILE).read_text("utf-8"))


def _read_report(path: Path) -> dict[str, Any]:
    """The facts about the fit, which nothing depends on: none where there is no such file."""
    if not path.is_file():
        return {}
    try:
        found: dict[str, Any] = json.loads(path.read_bytes())
    except ValueError as error:
        raise BadLock(f"{path} is not JSON ({error}). Fetch it again, or remove it.") from error
    return found


def _write(path: Path, text: str) -> None:
    """The whole text or nothing of it."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def default_library(hub: Hub | None = None) -> Library:
    """The catalogue of `hub`, or of the one named by PRIORHUB_URL or `priorhub login`, with the local cache."""
    from priors.client import Hub as AnyHub
    from priors.client import HubLibrary

    return HubLibrary(hub or AnyHub())


def card(model: Composition) -> str:
    """README.md of a composition: what it is made of, what it expects, how it scored."""
    lock, facts = model.lock, model.report
    priors = sorted({ref.repo: str(ref) for ref in lock.priors.values()}.items())
    whole = judge(lock).license
    lines = [
        "---",
        f"license: {whole if whole and 'NOASSERTION' not in whole else 'other'}",
        "library_name: priorhub",
        "tags: [composition]",
        "---",
        "",
        f"# {lock.name}",
        "",
        f"A composition of {len(priors)} prior{'s' if len(priors) != 1 else ''}" + (f", which {_purpose(model)}."),
        "",
        "| prior | content |",
        "|---|---|",
        *(f"| {repo} | `{ref.rpartition('@')[2][:23]}…` |" for repo, ref in priors),
        "",
        f"Licenses of the parts: {whole or 'not stated'}. NOTICE says what each asks for.",
        "",
    ]
    adaptation = facts.get("adaptation", {})
    if "expected" in facts:
        judged = facts.get("judged", "leave-one-out")
        lines += [
            f"Fitted on {facts['rows']:,} labelled rows; {judged} {facts['metric']} "
            f"{facts['expected']:.3f} (95 % interval {facts['low']:.3f} to {facts['high']:.3f}).",
            "",
        ]
    if adaptation:
        lines += [f"Adaptation: {adaptation['chosen']}. {adaptation['why'][:1].upper()}{adaptation['why'][1:]}.", ""]
    return "\n".join(lines)


def _purpose(model: Composition) -> str:
    try:
        answers = model.answers
    except BadGraph:  # no head at its end: a part for other compositions
        return f"gives {', '.join(model.lock.outputs)}"
    if answers.several:
        return f"says which of {len(answers.labels)} labels a row has"
    if answers.labels:
        return f"tells {len(answers.labels)} classes apart"
    return f"predicts a number in {answers.unit}" if answers.unit else "predicts a number"
