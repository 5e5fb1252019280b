"""No prior at all: what a plain model makes of the rows, which every claim is held against.

    text, category   word TF-IDF (scikit-learn's defaults)        number   columns standardised
    image            16 x 16 gray pixels                           audio    16 levels of loudness over the recording
    series           64 moments of each channel

Logistic regression on top (C = 10), as people would reach for first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.multiclass import OneVsRestClassifier

if TYPE_CHECKING:
    from priors.tasks import Task

Rows = NDArray[np.int64]
Matrix = NDArray[np.float64]

SIDE, SLICES, RATE, MOMENTS = 16, 16, 16_000, 64


class Plain:
    """The plain features of a task's columns."""

    def __init__(self, task: Task) -> None:
        self._texts = [[str(v) for v in task.values(c.name)] for c in task.inputs if c.modality in ("text", "category")]
        numbers = [np.asarray(task.values(c.name), np.float64) for c in task.inputs if c.modality == "num"]
        media = [_media(task.values(c.name), c.modality) for c in task.inputs if c.modality in ("image", "audio")]
        media += [_moments(task.values(c.name)) for c in task.inputs if c.modality == "series"]
        self._dense = [*([np.stack(numbers, axis=1)] if numbers else []), *media]

    def fitted(self, labelled: Rows, rows: Rows) -> tuple[Matrix, Matrix]:
        """(n, D) and (m, D) features of the labelled rows and of others, with what is fitted fitted on the former."""
        parts = []
        for texts in self._texts:
            vectorizer = TfidfVectorizer()
            try:
                known = vectorizer.fit_transform([texts[i] for i in labelled])
            except ValueError:  # no words at all: nothing to say
                continue
            parts.append((known.toarray(), vectorizer.transform([texts[i] for i in rows]).toarray()))
        for block in self._dense:
            mean, spread = block[labelled].mean(0), block[labelled].std(0)
            scale = np.where(spread > 0, spread, 1.0)
            parts.append(((block[labelled] - mean) / scale, (block[rows] - mean) / scale))
        if not parts:
            return np.zeros((len(labelled), 1)), np.zeros((len(rows), 1))
        return np.hstack([a for a, _ in parts]), np.hstack([b for _, b in parts])


def plain_predictions(plain: Plain, y: NDArray[Any], labelled: Rows, rows: Rows, *, regression: bool) -> NDArray[Any]:
    """Predictions (m,) of the plain model for `rows`, fitted on the rows `labelled`."""
    known, asked = plain.fitted(labelled, rows)
    if y.ndim == 2:  # a model a label
        each = OneVsRestClassifier(LogisticRegression(C=10, max_iter=1_000))
        return np.asarray(each.fit(known, y[labelled]).predict(asked))
    if regression:
        return np.asarray(Ridge().fit(known, y[labelled]).predict(asked))
    return np.asarray(LogisticRegression(C=10, max_iter=1_000).fit(known, y[labelled]).predict(asked))


def _moments(values: Any) -> Matrix:
    """(n, MOMENTS * C)."""
    from priors.functions.series_grid import SeriesGrid

    grid = SeriesGrid({"length": MOMENTS, "channels": values[0].shape[1]})
    return grid.extract(values).reshape(len(values), -1).astype(np.float64)


def _media(values: Any, modality: str) -> Matrix:
    """(n, SIDE * SIDE) or (n, SLICES)."""
    from priors.host import read_audio, read_image

    rows = []
    for value in values:
        if modality == "image":
            from PIL import Image

            gray = Image.fromarray(read_image(value)).convert("L").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
            rows.append(np.asarray(gray, np.float64).ravel() / 255)
        else:
            parts = np.array_split(read_audio(value, RATE), SLICES)  # some are empty in a recording of few samples
            rows.append(np.log([1e-6 + float(np.square(part).sum()) / max(len(part), 1) for part in parts]))
    return np.array(rows)
