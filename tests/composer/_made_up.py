"""Made-up tasks of a few rows, and a library of every starter function prior: quick, nothing to install."""

import json
import random
import wave
from pathlib import Path

import numpy as np
from PIL import Image

from priors.library import LocalLibrary
from priors.sources import starter
from priors.sources._functions import FUNCTION_PRIORS
from priors.tasks import Task

WORDS = {
    "food": ["soup", "bread", "lunch", "cook", "taste", "spicy", "dinner", "sweet"],
    "talk": ["hello", "friend", "chat", "listen", "story", "laugh", "voice", "answer"],
    "work": ["office", "meeting", "boss", "deadline", "report", "email", "desk", "salary"],
}
FILLER = ["the", "a", "and", "then", "we", "today", "very", "some", "with", "for"]


def function_library(root: Path, *names: str) -> LocalLibrary:
    """`root`/priorhub/<name>/prior.json for the function priors of these names, or for all."""
    for prior in FUNCTION_PRIORS:
        if not names or prior.name in names:
            folder = root / starter.NAMESPACE / prior.name
            folder.mkdir(parents=True)
            (folder / "prior.json").write_text(json.dumps(starter._content(prior, {})))
    return LocalLibrary(root)


def sentences(count: int, *, classes: int = 3, seed: int = 0) -> tuple[list[str], list[str]]:
    """`count` texts, mostly filler with two words of their class, and their classes in turn."""
    rng = random.Random(seed)
    labels = [list(WORDS)[i % classes] for i in range(count)]
    texts = []
    for label in labels:
        words = rng.choices(FILLER, k=4) + rng.choices(WORDS[label], k=2)
        rng.shuffle(words)
        texts.append(" ".join(words))
    return texts, labels


def text_task(count: int = 36, *, classes: int = 3, seed: int = 0, **options) -> Task:
    texts, labels = sentences(count, classes=classes, seed=seed)
    options = {"name": "topics", "modalities": {"text": "text"}, **options}
    return Task.from_table({"text": texts, "topic": labels}, "topic", **options)


def table_task(count: int = 60, *, seed: int = 0) -> Task:
    """A number that two columns of very different scales decide, and a column of noise."""
    rng = np.random.default_rng(seed)
    a, b, noise = rng.normal(size=(3, count))
    y = 2 * a - b + 0.1 * rng.normal(size=count)
    return Task.from_table({"a": a, "b": 1000 * b + 5, "noise": noise, "y": y}, "y", name="numbers")


def image_task(root: Path, each: int = 8) -> Task:
    """Pictures with a bar that stands or lies."""
    rng = np.random.default_rng(0)
    for label in ("lies", "stands"):
        (root / label).mkdir(parents=True)
        for i in range(each):
            pixels = rng.integers(0, 60, (24, 24, 3))
            at = int(rng.integers(4, 16))
            pixels[at : at + 4] += 150
            pixels = pixels if label == "lies" else pixels.transpose(1, 0, 2)
            Image.fromarray(pixels.astype(np.uint8)).save(root / label / f"{i}.png")
    return Task.from_image_folder(root)


def audio_task(root: Path, each: int = 6) -> Task:
    """Tones that are high or low, half a second each."""
    rng = np.random.default_rng(0)
    for label, pitch in (("high", 2_000), ("low", 300)):
        (root / label).mkdir(parents=True)
        for i in range(each):
            tone = np.sin(np.arange(8_000) * 2 * np.pi * pitch * rng.uniform(0.8, 1.2) / 16_000)
            samples = (8_000 * tone + 500 * rng.normal(size=8_000)).astype("<i2")
            with wave.open(str(root / label / f"{i}.wav"), "wb") as file:
                file.setparams((1, 2, 16_000, 0, "NONE", ""))
                file.writeframes(samples.tobytes())
    return Task.from_audio_folder(root)
