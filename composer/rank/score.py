"""`python -m composer.rank.score --features F.npz`: the scores of a file of features.

The file holds `features` (n, d) and either `labels`, one class a row (numbers or texts) or (n, K) of 0 and 1, or
`targets`, a number a row; `groups` (n,) may say which rows belong together. Where it also holds `sources`
(n, S), the probabilities of the model's own classes, LEEP is computed from these, else from a mixture over features.
"""

from __future__ import annotations

import argparse
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from composer.rank.alignment import effective_rank
from composer.rank.evidence import logme_of_nothing
from composer.rank.grams import Grams
from composer.rank.probe import Targets, gram, probe
from composer.rank.rows import sample
from composer.rank.transfer import brier, leep, nearest, nleep
from priors.errors import BadTask, UserError

MAX_ROWS = 2_000
"""Rows that leave-one-out, neighbours and mixtures are computed on; evidence and H-score take all."""

MAX_CLASSES = 1_000
"""As many as a task may have."""

AT_ONCE = 8_192
"""Rows that are made doubles at once."""


def score(
    features: NDArray[np.floating], targets: Targets, raw: NDArray[np.float64], sources: Any = None
) -> dict[str, Any]:
    """All scores as JSON values; None where one does not apply.

    raw  (n, C) what LogME explains: the targets as they came, as its definition has it
    """
    sums = Grams(features.shape[1], raw.shape[1])
    for start in range(0, len(features), AT_ONCE):
        sums.add(features[start : start + AT_ONCE], raw[start : start + AT_ONCE])
    rows = sample(targets, MAX_ROWS)
    some = targets.take(rows)
    block = np.asarray(features[rows], dtype=np.float64)
    kernel = gram(block)
    found = probe(kernel, some)
    low, high = found.interval
    result: dict[str, Any] = {
        "rows": len(targets),
        "features": features.shape[1],
        "kind": "regression" if targets.is_number else "multilabel" if targets.sets else "classification",
        "logme": float(sums.spectrum().evidence().mean()),
        "logme_of_nothing": logme_of_nothing(Targets(raw, None)),
        "h_score": None,
        "leep": None,
        "leep_from": None,
        "press": {
            "score": found.score,
            "low": low,
            "high": high,
            "log_loss": None if targets.is_number else found.loss,
            "squared_error": found.loss if targets.is_number else None,
            "brier": brier(found),
            "penalty": found.penalty,
        },
        "knn": nearest(kernel, some),
        "effective_rank": effective_rank(kernel),
        "rows_of_press": len(rows),
    }
    if not targets.is_number:
        held = sums.h_score(several=targets.sets)
        result |= {
            "h_score": held.value,
            "h_score_limit": held.limit,
            "h_score_shrinkage": held.shrinkage,
            "h_score_saturated": held.saturated,
            "leep": leep(sources[rows], some) if sources is not None else nleep(block, some),
            "leep_from": "sources" if sources is not None else "features",
        }
    return result


def read(path: Path) -> tuple[NDArray[np.floating], Targets, NDArray[np.float64], NDArray[np.float64] | None]:
    """Features, targets, targets as they came and sources of a file. Raises BadTask saying what is wrong with it."""
    try:
        with np.load(path, allow_pickle=False) as file:
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise BadTask(f"{path} is one array. Write an .npz with 'features' and 'labels' or 'targets'.")
            held = {name: file[name] for name in file.files}
    except OSError as error:
        raise BadTask(f"{path} cannot be read ({error.strerror or error}). Name an .npz file.") from error
    except (ValueError, EOFError, zipfile.BadZipFile, KeyError) as error:
        raise BadTask(
            f"{path} is no .npz of plain arrays ({error}). Write it with numpy.savez, numbers and texts only."
        ) from error
    features = held.get("features")
    if features is None or ("labels" in held) == ("targets" in held):
        raise BadTask(
            f"{path} holds {', '.join(sorted(held)) or 'nothing'}. It needs 'features' and 'labels' or 'targets'."
        )
    if features.ndim != 2 or not features.size or features.dtype.kind not in "fiu":
        raise BadTask(f"{path}: features are {features.dtype} {features.shape}. Give numbers (rows, features).")
    features = features if features.dtype.kind == "f" else features.astype(np.float64)
    for name, array in held.items():
        if array.ndim < 1 or len(array) != len(features):
            raise BadTask(
                f"{path}: {name} is of shape {array.shape}, and there are {len(features):,} rows. Make them one."
            )
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            row = int(np.flatnonzero(~np.isfinite(array.reshape(len(array), -1)).all(axis=1))[0])
            raise BadTask(f"{path}: {name} is not a number in row {row + 1}. Fill it in, or drop the row.")
    targets, raw = _numbers(path, held["targets"]) if "targets" in held else _labels(path, held["labels"])
    sources = held.get("sources")
    if sources is not None and (sources.ndim != 2 or (sources < 0).any() or abs(sources.sum(axis=1) - 1).max() > 1e-3):
        raise BadTask(f"{path}: sources are no probabilities. Give (rows, classes) that are positive and sum to 1.")
    return _of_a_size(features), targets.grouped(held.get("groups")), raw, sources


def _of_a_size(features: NDArray[np.floating]) -> NDArray[np.floating]:
    """The same features, all by one power of two larger or smaller where their squares are none of double's numbers:
    no score depends on it."""
    largest = float(np.abs(features).max())
    if not largest or 1e-100 < largest < 1e100:
        return features
    return np.asarray(np.ldexp(features.astype(np.float64), -int(np.frexp(largest)[1])))


def _numbers(path: Path, values: NDArray[Any]) -> tuple[Targets, NDArray[np.float64]]:
    if values.dtype.kind not in "fiu" or values.size != len(values):
        raise BadTask(f"{path}: targets are {values.dtype} {values.shape}. Give a number a row; classes are 'labels'.")
    raw = values.astype(np.float64).reshape(-1, 1)
    if len(raw) < 4 or np.ptp(raw) == 0:
        raise BadTask(f"{path}: {len(raw)} targets, or the same in every row, cannot be explained. Give others too.")
    return Targets.of_values(raw[:, 0]), raw


def _labels(path: Path, labels: NDArray[Any]) -> tuple[Targets, NDArray[np.float64]]:
    if labels.ndim == 2 and labels.shape[1] > 1:
        if not np.isin(labels, (0, 1)).all():
            raise BadTask(f"{path}: labels (rows, K) are 0 and 1 for several labels a row. One class a row is (rows,).")
        matrix = labels.astype(np.int64)
        counts = matrix.sum(axis=0)
        if ((counts < 2) | (counts > len(matrix) - 2)).any():
            raise BadTask(f"{path}: every label needs two rows that have it and two that do not. Leave out the others.")
        targets = Targets.of_sets(matrix)
        return targets, targets.matrix
    names, numbers, counts = np.unique(labels.reshape(len(labels)), return_inverse=True, return_counts=True)
    if labels.dtype.kind == "f" and (names % 1 != 0).any():
        raise BadTask(f"{path}: labels such as {names[names % 1 != 0][0]:g} are numbers. Write them as 'targets'.")
    if len(names) > MAX_CLASSES:
        raise BadTask(f"{path}: {len(names):,} classes are more than {MAX_CLASSES:,}. Are these 'targets', or ids?")
    if len(names) < 2 or counts.min() < 2:
        what = f"one class, {names[0]}" if len(names) == 1 else f"one row of class {names[int(counts.argmin())]}"
        raise BadTask(f"{path}: there is only {what}. Give two classes or more with two rows each.")
    targets = Targets.of_classes(numbers.astype(np.int64), len(names))
    return targets, targets.matrix


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m composer.rank.score", description="Scores of a file of features.")
    parser.add_argument("--features", type=Path, required=True, help=".npz with features, and labels or targets")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of lines")
    options = parser.parse_args()
    try:
        result = score(*read(options.features))
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(1)
    if options.json:
        print(json.dumps(result, indent=1))
        return
    for name, value in result.items():
        shown = value.items() if isinstance(value, dict) else [("", value)]
        for part, one in shown:
            print(f"{name} {part}".ljust(24), f"{one:.4f}" if isinstance(one, float) else one)


if __name__ == "__main__":
    main()
