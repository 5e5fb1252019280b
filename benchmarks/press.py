"""Exact leave-one-out of ridge probes against cross-validated logistic regression, block by block."""

import numpy as np
from sklearn.linear_model import LogisticRegressionCV

from benchmarks._table import show
from benchmarks._timing import interleaved
from composer.rank.probe import Targets, gram, probe

BLOCKS, ROWS, WIDTH, CLASSES = 20, 400, 384, 7
FOLDS, PENALTIES = 5, 7  # as many penalties as the probe tries


def run() -> None:
    generator = np.random.default_rng(0)
    labels = np.arange(ROWS) % CLASSES
    centres = generator.standard_normal((BLOCKS, CLASSES, WIDTH))
    noise = np.linspace(3.0, 12.0, BLOCKS)[:, None, None] * generator.standard_normal((BLOCKS, ROWS, WIDTH))
    blocks = (centres[:, labels] + noise).astype(np.float32)
    targets = Targets.of_classes(labels, CLASSES)

    def by_press() -> list[float]:
        return [probe(gram(block - block.mean(0)), targets).score for block in blocks]

    def by_folds() -> list[float]:
        search = LogisticRegressionCV(
            Cs=PENALTIES, cv=FOLDS, max_iter=200, l1_ratios=(0,), scoring="accuracy", use_legacy_attributes=False
        )
        return [float(search.fit(block, labels).score(block, labels)) for block in blocks]

    times = interleaved({"leave-one-out (PRESS)": by_press, "LogisticRegressionCV": by_folds}, 1, warm_up=0)
    show(f"{BLOCKS} blocks of {WIDTH} features, {ROWS} rows, {CLASSES} classes", times)
