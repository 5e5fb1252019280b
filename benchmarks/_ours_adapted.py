"""What this project makes of one draw: the recommended set frozen and adapted, and an encoder alone adapted.

python -m benchmarks._ours_adapted [--lora] RESULT.json < draw.json

--lora: instead only train a lora delta of the encoder and fit logistic regression on it, as `_peer_peft.py` does.
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from benchmarks._starter import library
from composer.adapt import RECIPES, Mode, Recipe
from composer.contrast import Subject, alike, tune
from composer.delta import upper_half
from composer.fit import fit
from composer.given import given
from composer.rank.probe import Targets
from priors.library import LocalLibrary
from priors.load import load
from priors.sources.starter import NAMESPACE
from priors.tasks import Task

ENCODER = "all-minilm-l6-v2"
ALONE: dict[str, tuple[str, dict[str, Mode]]] = {
    "text": (ENCODER, {"alone": "auto"}),
    "audio": ("ge2e-speaker-encoder", {"alone-frozen": "none", "alone-lora": "lora", "alone-full": "full"}),
}
"""By modality: an encoder without any other prior, and how it is adapted."""


def main() -> None:
    draw = json.load(sys.stdin)
    torch.set_num_threads(1)
    load(library().root / NAMESPACE / ENCODER).module(("layer_6",))  # loads libraries, as the peers have by now
    found = lora(draw) if sys.argv[1] == "--lora" else compositions(draw)
    Path(sys.argv[-1]).write_text(json.dumps(found))


def compositions(draw: dict[str, Any]) -> dict[str, Any]:
    modality = draw["modality"]
    task = Task.from_table(
        {"x": values(draw["train"], modality), "label": [f"c{label}" for label in draw["labels"]]},
        target="label",
        modalities={"x": modality},
        name="draw",
    )
    everything = library()
    found = {}
    with tempfile.TemporaryDirectory() as scratch:
        alone = Path(scratch) / "alone"
        (alone / NAMESPACE).mkdir(parents=True)
        ways: list[tuple[str, LocalLibrary, Mode]] = [("frozen", everything, "none"), ("adapted", everything, "auto")]
        if modality in ALONE:
            encoder, modes = ALONE[modality]
            (alone / NAMESPACE / encoder).symlink_to(everything.root / NAMESPACE / encoder)
            ways += [(name, LocalLibrary(alone), mode) for name, mode in modes.items()]
        for name, priors, adapt in ways:
            started = time.process_time()
            cache = Path(scratch) / name
            # A ranking may say that an encoder alone does not help; what it then learns is measured all the same.
            choice = given(task, [encoder], library=priors, cache=cache) if name.startswith("alone-") else None
            model = fit(task, choice, library=priors, cache=cache, adapt=adapt, seed=draw["seed"])
            seconds = time.process_time() - started
            facts = model.report
            found[name] = {
                "seconds": seconds,
                "predicted": [int(label[1:]) for label in model.predict(values(draw["test"], modality))],
                "expected": facts["expected"],
                "adaptation": facts.get("adaptation", {}),
                "members": [member["ref"].partition("@")[0] for member in facts["members"]],
            }
    return found


def values(rows: list[Any], modality: str) -> list[Any]:
    return [np.asarray(row, dtype=np.float32) for row in rows] if modality == "series" else rows


def lora(draw: dict[str, Any]) -> dict[str, Any]:
    labels = np.array(draw["labels"])
    subject = Subject(load(library().root / NAMESPACE / ENCODER), "layer_6", [*draw["train"], *draw["test"]])
    train, test = np.arange(len(labels)), np.arange(len(labels), len(subject))
    started = time.process_time()
    plan: Recipe = RECIPES["lora"]
    recipe = Recipe(kind="lora", lr=plan.lr, targets=tuple(upper_half(subject.network)))
    delta = recipe.make(subject.network, draw["seed"])
    tune(subject, delta, train, alike(Targets.of_classes(labels, int(labels.max()) + 1)), recipe, seed=draw["seed"])
    seconds = time.process_time() - started
    known, asked = (_unit(subject.features(rows, delta)) for rows in (train, test))
    predicted = LogisticRegression(C=10, max_iter=1000).fit(known, labels).predict(asked)
    return {"lora": {"seconds": seconds, "predicted": [int(label) for label in predicted]}}


def _unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


if __name__ == "__main__":
    main()
