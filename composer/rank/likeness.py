"""How alike tasks are, and how alike priors are, by their cards alone: Gram matrices with 1 on the diagonal."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from composer.rank.glossary import subjects
from composer.rank.history import PriorCard, TaskCard
from composer.rank.probe import Array

TREES = 200
"""Random trees of the metadata kernel. Its error falls with their root: 0.035 at most."""

DEPTH = 5

MOST_WORDS = 2_048
"""Letters and tags that are looked at, the most frequent ones that two cards share."""

LOG_SPAN = 20.0
"""Positive numbers that span this much are compared by their logarithm: sizes, times, prices."""


def tasks_alike(tasks: Sequence[TaskCard]) -> tuple[Array, Array]:
    """(T, T) by type and subject, and (T, T) by the letters of name and text."""
    return _cosines([_labels(task) for task in tasks]), _cosines([_letters(task) for task in tasks])


class Tasks:
    """Tasks that others are held against again and again: their words are read once."""

    def __init__(self, tasks: Sequence[TaskCard]) -> None:
        self._labels = [_labels(task) for task in tasks]
        self._letters = [_letters(task) for task in tasks]

    def like(self, task: TaskCard) -> tuple[Array, Array]:
        """(T,) and (T,): the likeness of `tasks_alike` to one more task."""
        return _overlaps(_labels(task), self._labels), _overlaps(_letters(task), self._letters)


def _overlaps(one: frozenset[str], others: Sequence[frozenset[str]]) -> Array:
    return np.array([len(one & other) / max(len(one) * len(other), 1) ** 0.5 for other in others])


def _letters(task: TaskCard) -> frozenset[str]:
    return _grams(f"{task.name} {task.text}" if task.text != task.name else task.name, 4)


def task_type(task: TaskCard) -> frozenset[str]:
    """The type that its card names, else what its name says it is about."""
    return frozenset({task.type}) if task.type else subjects(task.name)


def _labels(task: TaskCard) -> frozenset[str]:
    shared = {f"modality {task.modality}" if task.modality else "", f"kind {task.kind}" if task.kind else ""}
    return (task_type(task) | shared) - {""}


def _grams(text: str, width: int) -> frozenset[str]:
    padded = f"#{text.lower()}#"
    return frozenset(padded[i : i + width] for i in range(max(len(padded) - width + 1, 1)))


def _cosines(sets: Sequence[frozenset[str]]) -> Array:
    vectors = _vectors(sets, rare=False)
    found: Array = vectors @ vectors.T
    np.fill_diagonal(found, 1.0)
    return found


def _vectors(sets: Sequence[frozenset[str]], *, rare: bool) -> Array:
    """(N, W) sets as vectors whose products are cosines; elements that one set alone has count for its length only.

    rare  weigh an element by how few sets have it
    """
    counts = Counter(element for one in sets for element in one)
    weigh = {e: float(np.log(1 + len(sets) / n)) if rare else 1.0 for e, n in counts.items()}
    shared = sorted((e for e, n in counts.items() if n > 1), key=lambda e: (-counts[e], e))[:MOST_WORDS]
    at = {element: i for i, element in enumerate(shared)}
    found = np.zeros((len(sets), len(shared)))
    for i, one in enumerate(sets):
        norm = sum(weigh[element] ** 2 for element in one) ** 0.5 or 1.0
        for element in one:
            if element in at:
                found[i, at[element]] = weigh[element] / norm
    return found


@dataclass(frozen=True)
class Metadata:
    """Cards as features, filled and scaled on all cards given: no result of any prior goes into it.

    numbers  (P, N) standardized, logarithms where they span much, 0 where missing
    words, parts, tags  (P, W) letters of the name, words of name and tags, and whole tags, rare ones longer
    leaves   (P, TREES) where each falls in random trees
    missing  (P, M) numbers that some cards state, 1 where a card does not
    """

    numbers: Array
    words: Array
    parts: Array
    tags: Array
    leaves: NDArray[np.int64]
    missing: Array

    @classmethod
    def of(cls, cards: Sequence[PriorCard]) -> Metadata:
        stated = [{**_named_numbers(card), **card.numbers} for card in cards]
        keys = sorted({key for numbers in stated for key in numbers})
        columns = [_scaled(np.array([numbers.get(key, np.nan) for numbers in stated])) for key in keys]
        numbers = np.stack(columns, axis=1) if columns else np.zeros((len(cards), 0))
        missing = np.array([[key not in numbers for key in keys] for numbers in stated], dtype=np.float64)
        missing = missing.reshape(len(cards), len(keys))
        texts = [card.text or card.name for card in cards]
        tags = _vectors([card.tags for card in cards], rare=True)
        return cls(
            numbers=numbers,
            words=_vectors([_grams(text, 3) | _grams(text, 5) for text in texts], rare=True),
            parts=_vectors([_words(card) for card in cards], rare=True),
            tags=tags,
            leaves=_leaves(np.concatenate([numbers, tags > 0], axis=1)),
            missing=missing[:, missing.any(axis=0)],
        )

    def table(self) -> Array:
        """(P, N) numbers, and which tags each has."""
        return np.concatenate([self.numbers, self.tags > 0], axis=1)

    def take(self, rows: Sequence[int]) -> Metadata:
        """The same features of some of the cards."""
        at = list(rows)
        return Metadata(
            self.numbers[at], self.words[at], self.parts[at], self.tags[at], self.leaves[at], self.missing[at]
        )

    def alike(self, rows: slice) -> Array:
        """(n, n) one likeness, 1 on the diagonal: half by letters and tags, half by trees."""
        kernels = self.kernels(rows, rows)
        words = (kernels["names"] + kernels.get("tags", kernels["names"])) / 2
        found = (kernels.get("trees", words) + words) / 2
        np.fill_diagonal(found, 1.0)
        return found

    def kernels(self, rows: slice | NDArray[np.int64], columns: slice | NDArray[np.int64]) -> Mapping[str, Array]:
        """Gram matrices between two parts of the cards, each a way to be alike.

        size   the numbers as a line: it goes on beyond the range that was seen
        near   all numbers close
        names  letters of the name;  parts  words of name and tags;  tags  whole tags; rare ones counting more
        trees  the part of random trees over numbers and tags in whose leaf both fall: interactions, and no scale
        """
        found = {
            "names": self.words[rows] @ self.words[columns].T,
            "parts": self.parts[rows] @ self.parts[columns].T,
        }
        if self.tags.shape[1]:
            found["tags"] = self.tags[rows] @ self.tags[columns].T
        if width := self.numbers.shape[1]:
            a, b = self.numbers[rows], self.numbers[columns]
            gaps = np.square(a).sum(axis=1)[:, None] + np.square(b).sum(axis=1)[None, :] - 2 * a @ b.T
            found |= {"size": a @ b.T / width, "near": np.exp(-np.maximum(gaps, 0.0) / width)}
        if self.leaves.shape[1]:
            pairs = zip(self.leaves[rows].T, self.leaves[columns].T, strict=True)
            same = sum(x[:, None] == y[None, :] for x, y in pairs)
            found["trees"] = np.asarray(same, dtype=np.float64) / self.leaves.shape[1]
        return found


def _words(card: PriorCard) -> frozenset[str]:
    """Words and numbers that its name and the values of its tags are made of."""
    texts = (card.name, *(tag.split("=", 1)[-1] for tag in card.tags))
    spaced = (re.sub(r"(?<=[a-z]{2})(?=\d)", " ", text.lower()) for text in texts)
    return frozenset(word for text in spaced for word in re.split(r"[^a-z0-9.]+", text) if word)


def _scaled(column: Array) -> Array:
    known = np.isfinite(column)
    values = column[known]
    if not known.any() or values.min() == values.max():
        return np.zeros(len(column))
    if values.min() > 0 and values.max() / values.min() > LOG_SPAN:
        values = np.log(values)
    found = np.zeros(len(column))
    found[known] = (values - values.mean()) / values.std()
    return found


def _leaves(table: Array) -> NDArray[np.int64]:
    """(P, TREES) the leaf of every row in totally random trees of DEPTH; no trees where there are no columns.

    Splits never look at a result, so the kernel is the same whatever is left out. Half of the splits are on numbers:
    there are many more tags than numbers, and single tags tell few priors apart.
    """
    rng = np.random.default_rng(0)
    rows, columns = table.shape
    found = np.zeros((rows, TREES if columns else 0), dtype=np.int64)
    wide = np.array([len(np.unique(table[:, j])) > 2 for j in range(columns)], dtype=bool)
    pools = [pool for pool in (np.flatnonzero(wide), np.flatnonzero(~wide)) if len(pool)]
    for tree in range(found.shape[1]):
        leaf = np.zeros(rows, dtype=np.int64)
        for _ in range(DEPTH):
            for node in range(int(leaf.max()) + 1):
                at = np.flatnonzero(leaf == node)
                column = table[at, int(rng.choice(pools[int(rng.integers(len(pools)))]))]
                low, high = column.min(), column.max()
                if low < high:
                    leaf[at[column > rng.uniform(low, high)]] += rows + 1  # a number that no other node has
            leaf = np.unique(leaf, return_inverse=True)[1].astype(np.int64)
        found[:, tree] = leaf
    return found


def families(cards: Sequence[PriorCard]) -> list[str]:
    """What each prior descends from, as far as cards say: its family, else who made it, else how its name starts.

    A family of more than a third of the cards is a kind of architecture and not one; it is split by ever more of the
    names' parts.
    """
    found = [_family(card) for card in cards]
    for parts in range(2, 6):
        counts = Counter(found)
        found = [
            one if counts[one] * 3 <= len(cards) else "-".join(_parts(card.name)[:parts])
            for one, card in zip(found, cards, strict=True)
        ]
    return found


def _family(card: PriorCard) -> str:
    for key in ("family", "org", "organization", "namespace", "author"):
        for tag in sorted(card.tags):
            if tag.startswith(f"{key}="):
                return tag.split("=", 1)[1]
    return _parts(card.name)[0]


def _parts(name: str) -> list[str]:
    return [part for part in re.split(r"[/|_\-.\s#@]+", name.lower()) if part] or [name]


_AMOUNT = re.compile(r"(?<![a-z0-9.])([a-z]?)(\d+(?:\.\d+)?)([kmbt])(?![a-z0-9])")
_POWERS = {"k": 3.0, "m": 6.0, "b": 9.0, "t": 12.0}
_SIZES = {
    "nano": 0.0, "tiny": 0.0, "micro": 0.0, "xs": 0.0, "mini": 1.0, "small": 2.0, "base": 3.0, "medium": 3.5,
    "large": 4.0, "big": 4.5, "xl": 5.0, "xlarge": 5.0, "huge": 5.0, "giant": 6.0, "xxl": 6.0,
}  # fmt: skip


def _named_numbers(card: PriorCard) -> dict[str, float]:
    """Amounts that names and tags state, as `7b`, `400m` or `s13b` (samples seen), and words for sizes."""
    found: dict[str, float] = {}
    for text in (card.name, *sorted(tag.split("=", 1)[-1] for tag in card.tags)):
        spaced = re.sub(r"(?<=[a-z]{2})(?=\d)", " ", text.lower())
        for letter, amount, power in _AMOUNT.findall(spaced.replace("_", " ").replace("-", " ")):
            if float(amount) > 0:
                size = float(np.log10(float(amount))) + _POWERS[power]
                found.setdefault(f"stated {letter}", size)
                found["stated most"] = max(found.get("stated most", size), size)
    sizes = [_SIZES[word] for word in _parts(card.name) if word in _SIZES]
    return found | ({"stated word": sizes[0]} if sizes else {})
