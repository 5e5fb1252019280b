"""Rows that lack a column: fitted on, predicted for, exported, and refused where nothing is known of them."""

import numpy as np
import pytest

from composer.assemble import offer, set_graph
from composer.choices import Member
from composer.composition import Composition
from composer.export import export
from composer.fit import fit
from composer.gaps import count_gaps
from composer.runner import Runner
from priors.errors import BadTable
from priors.tasks import Task
from tests.composer._made_up import WORDS, audio_task, function_library, image_task, sentences

NAN = float("nan")


@pytest.fixture
def library(tmp_path):
    names = ("char-ngrams", "word-ngrams", "standardize", "pixels", "log-mel-statistics", "series-statistics")
    return function_library(tmp_path / "priors", *names)


def every_kind(folder, *, gaps: bool) -> Task:
    """Rows of a text, a category, a picture, a sound, a series and numbers, each of which says the class."""
    pictures = image_task(folder / "pictures", 8)
    sounds = audio_task(folder / "sounds", 8)
    texts, _ = sentences(16, classes=2)
    y = [i % 2 for i in range(16)]
    rng = np.random.default_rng(0)

    def of(task, column):
        files = [[path for path, label in zip(task.values(column), task.y, strict=True) if label == k] for k in (0, 1)]
        return [str(files[k][i // 2]) for i, k in enumerate(y)]

    columns = {
        "text": texts,
        "kind": ["red" if k else "blue" for k in y],
        "picture": of(pictures, pictures.inputs[0].name),
        "sound": of(sounds, sounds.inputs[0].name),
        "series": [[k + 0.1 * rng.normal() for _ in range(12)] for k in y],
        "n": [k + 0.3 * rng.normal() for k in y],
        "m": list(rng.normal(size=16)),
    }
    if gaps:
        for at, name in enumerate(columns):
            for row in (at, at + 7):
                columns[name][row] = NAN if name in "nm" else None
    said = {"text": "text", "kind": "category", "picture": "image", "sound": "audio", "series": "series"}
    return Task.from_table({**columns, "y": [str(k) for k in y]}, "y", modalities=said)


def everything(task: Task, library, **options):
    offered = offer(task, library.entries())
    units = [one for unit in offered.units for one in unit.candidates]
    return set_graph(task, [Member(one, 1 / len(units)) for one in units], offered, **options)


@pytest.mark.parametrize("gaps", [False, True], ids=["whole rows", "rows with gaps"])
def test_a_row_may_lack_any_column_or_all_of_them(library, tmp_path, gaps):
    task = every_kind(tmp_path, gaps=gaps)
    model = fit(task, everything(task, library), library=library, cache=tmp_path / "cache")
    rows = {column.name: list(task.values(column.name)) for column in task.inputs}
    truth = [task.labels[k] for k in task.y]

    assert np.mean([a == b for a, b in zip(model.predict(rows), truth, strict=True)]) > 0.9
    assert model.report.get("gaps", {}) == count_gaps(task)
    assert bool(count_gaps(task)) == gaps
    for lost in (*rows, "n and m"):
        without = {name: [None] * 16 if name in lost.split(" and ") else list(found) for name, found in rows.items()}
        assert np.mean([a == b for a, b in zip(model.predict(without), truth, strict=True)]) > 0.8, lost
    nothing = model.predict_proba({name: [None] for name in rows})
    assert np.isfinite(nothing).all() and nothing.max() < 0.9


def test_an_exported_file_takes_the_same_gaps(library, tmp_path):
    task = every_kind(tmp_path, gaps=True)
    fit(task, everything(task, library), library=library, cache=tmp_path / "cache").save(tmp_path / "model")
    model = Composition.load(tmp_path / "model", library=library)
    rows = {column.name: list(task.values(column.name)) for column in task.inputs}

    export(model, tmp_path / "model.onnx", format="onnx")

    assert np.abs(Runner(tmp_path / "model.onnx").predict_proba(rows) - model.predict_proba(rows)).max() < 1e-5


def test_a_missing_row_is_the_same_whatever_stands_in_for_it(library, tmp_path):
    """A cell that is empty says nothing: the other columns decide as they would alone."""
    texts, labels = sentences(24)
    table = {"text": texts, "n": [float(list(WORDS).index(label)) for label in labels], "y": labels}
    task = Task.from_table(table, "y", modalities={"text": "text"})
    model = fit(task, everything(task, library), library=library, cache=tmp_path / "cache")
    lost = [model.predict_proba({"text": [value] * 3, "n": [0.0, 1.0, 2.0]}) for value in (None, "", "  ", NAN)]
    assert all(np.array_equal(lost[0], other) for other in lost)
    assert model.predict({"text": [None, None], "n": [0.0, 2.0]}) == ["food", "work"]


def test_a_gap_in_the_only_column_is_refused_with_its_row(library, tmp_path):
    texts, labels = sentences(24)
    task = Task.from_table({"text": texts, "y": labels}, "y", modalities={"text": "text"})
    model = fit(task, everything(task, library), library=library, cache=tmp_path / "cache")
    with pytest.raises(BadTable, match="'text' has no value in row 2"):
        model.predict(["soup", None])
