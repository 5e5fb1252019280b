"""No prior at all: what a plain model makes of the rows, which every claim is held against.

    text, category   word TF-IDF (scikit-learn's defaults)        number   columns standardised
    image            16 x 16 gray pixels                           audio    16 levels of loudness over the recording
    series           64 moments of each channel

Gaps are means. Logistic regression on top (C = 10), as people would reach for first.
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
        parts: list[tuple[Matrix, Matrix]] = []
        for texts in self._texts:
            vectorizer = TfidfVectorizer()
            try:
                known = vectorizer.fit_transform([texts[i] for i in labelled])
            except ValueError:  # no words at all: nothing to say
                continue
            parts.append((known.toarray(), vectorizer.transform([texts[i] for i in rows]).toarray()))
        for block in self._dense:
            known = np.isfinite(block[labelled])  # a gap is taken for the mean of what is known
            taught = np.where(known, block[labelled], 0.0)
            count = np.maximum(known.sum(0), 1)
            mean = taught.sum(0) / count
            spread = np.sqrt(np.where(known, np.square(taught - mean), 0.0).sum(0) / count)
            scale = np.where(spread > 0, spread, 1.0)
            before, asked = (np.nan_to_num((block[some] - mean) / scale) for some in (labelled, rows))
            parts.append((before, asked))
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

    there = [row for row, value in enumerate(values) if value is not None]
    channels = values[there[0]].shape[1] if there else 1
    found = np.full((len(values), MOMENTS * channels), np.nan)
    grid = SeriesGrid({"length": MOMENTS, "channels": channels})
    found[there] = grid.extract([values[row] for row in there]).reshape(len(there), -1)
    return found


def _media(values: Any, modality: str) -> Matrix:
    """(n, SIDE * SIDE) or (n, SLICES)."""
    from priors.host import read_audio, read_image

    rows = []
    for value in values:
        if value is None:
            rows.append(np.full(SIDE * SIDE if modality == "image" else SLICES, np.nan))
        elif modality == "image":
            from PIL import Image

            gray = Image.fromarray(read_image(value)).convert("L").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
            rows.append(np.asarray(gray, np.float64).ravel() / 255)
        else:
            parts = np.array_split(read_audio(value, RATE), SLICES)  # some are empty in a recording of few samples
            rows.append(np.log([1e-6 + float(np.square(part).sum()) / max(len(part), 1) for part in parts]))
    return np.array(rows)
