"""What the set network reads: cards as vectors of hashed words, and episodes of a history: one task, some of its
priors, none to eight results revealed, and sets that were run."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from composer.rank.cold import Cold
from composer.rank.history import PriorCard, TaskCard
from composer.rank.likeness import task_type
from composer.rank.probe import Array

if TYPE_CHECKING:
    from torch import Tensor

HASHED = 96
"""Length of the vector of hashed words of a card."""

FEATURES = 4
"""Numbers of a prior's token beside its words: cold mean, its deviation, results known, whether it is a set."""

MOST_REVEALED = 8
EPISODE_PRIORS = 48
SUBSETS = 8
"""Subsets of an episode that the loss on sets looks at."""


@dataclass(frozen=True)
class Rows:
    task: Array
    words: Array
    ids: NDArray[np.int64]
    mean: Array
    sd: Array
    known: NDArray[np.int64]


def _hashed(words: Sequence[str]) -> Array:
    found = np.zeros(HASHED)
    for word in words:
        code = zlib.crc32(word.encode())
        found[code % HASHED] += 1.0 if code & 1 << 20 else -1.0
    return found / max(float(np.linalg.norm(found)), 1.0)


def _grams(text: str) -> list[str]:
    plain = f"#{text.lower()}#"
    return [plain[i : i + 4] for i in range(max(len(plain) - 3, 1))]


def task_words(task: TaskCard) -> Array:
    said = [f"subject {one}" for one in task_type(task)] + [f"modality {task.modality}", f"kind {task.kind}"]
    return _hashed(said * 3 + _grams(task.name))


def prior_words(card: PriorCard) -> Array:
    sizes = [f"{key} {round(2 * float(np.log10(max(abs(value), 1e-9)))):d}" for key, value in card.numbers.items()]
    return _hashed([*card.tags, *sizes, *_grams(card.text or card.name)])


@dataclass(frozen=True)
class Episode:
    """One task with some priors: features (n, …), and results by place: (n,) standings less the cold mean, NaN where
    not revealed."""

    task: Array
    words: Array
    ids: NDArray[np.int64]
    numbers: Array
    results: Array


def episode(rows: Rows, at: NDArray[np.int64], results: Mapping[int, float]) -> Episode:
    numbers = np.stack([rows.mean[at], rows.sd[at], np.log1p(rows.known[at]) / 4, np.zeros(len(at))], axis=1)
    shown = np.full(len(at), np.nan)
    for i, row in enumerate(at):
        if int(row) in results:
            shown[i] = results[int(row)] - rows.mean[row]
    return Episode(rows.task, rows.words[at], rows.ids[at], numbers, shown)


def batch_of(episodes: Sequence[Episode], drop: tuple[np.random.Generator, float] | None) -> list[Tensor]:
    """task (B, H), words (B, n, H), ids (B, n), numbers (B, n, F), results (B, n), revealed (B, n)."""
    import torch

    ids = np.stack([one.ids for one in episodes])
    if drop is not None:
        ids = np.where(drop[0].random(ids.shape) < drop[1], 0, ids)
    results = np.stack([one.results for one in episodes])
    parts = [np.stack([getattr(one, name) for one in episodes]) for name in ("task", "words", "numbers")]
    task, words, numbers = (torch.from_numpy(part).float() for part in parts)
    shown = torch.from_numpy(np.nan_to_num(results)).float()
    return [task, words, torch.from_numpy(ids).long(), numbers, shown, torch.from_numpy(np.isfinite(results))]


def drawn_tasks(
    sizes: Sequence[int], usable: Sequence[int], batch: int, rng: np.random.Generator
) -> tuple[list[int], int]:
    """Tasks of one batch, and how many priors each shows: as many as the first drawn has, up to EPISODE_PRIORS. Tasks
    with fewer are replaced, so one small task makes one batch small and not all of them."""
    tasks = [int(t) for t in rng.choice(usable, batch)]
    count = min(EPISODE_PRIORS, sizes[tasks[0]])
    enough = [t for t in usable if sizes[t] >= count]
    return [t if sizes[t] >= count else int(rng.choice(enough)) for t in tasks], count


def sets_in(names: Sequence[str]) -> list[tuple[int, tuple[int, ...]]]:
    """(row, rows of its members) of every prior that is a set of others."""
    at = {name: i for i, name in enumerate(names)}
    found = []
    for row, name in enumerate(names):
        members = name.split(" + ")
        if len(members) > 1 and all(member in at for member in members):
            found.append((row, tuple(at[member] for member in members)))
    return found


def draw_subsets(
    drawn: Sequence[tuple[int, NDArray[np.int64]]], sets: Sequence[tuple[int, tuple[int, ...]]], tier: Cold,
    rng: np.random.Generator,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """mask (B, S, n), utility over the best member's cold mean and gain over the best member (B, S): sets that were run
    on the episode's task, as far as there are any, and single priors, which gain nothing."""
    import torch

    count = len(drawn[0][1])
    mask = np.zeros((len(drawn), SUBSETS, count), dtype=bool)
    utility, gained = np.zeros(mask.shape[:2]), np.zeros(mask.shape[:2])
    for b, (t, rows) in enumerate(drawn):
        place = {int(row): i for i, row in enumerate(rows)}
        truth, base = tier.blended[:, t], tier.surface.left_out[:, t]
        fit = [(row, m) for row, m in sets if np.isfinite(truth[row]) and all(one in place for one in m)]
        chosen = [fit[int(i)] for i in rng.permutation(len(fit))[: SUBSETS - 2]]
        singles = rng.choice(rows, SUBSETS - len(chosen))
        for s, (row, members) in enumerate([*chosen, *((int(row), (int(row),)) for row in singles)]):
            mask[b, s, [place[one] for one in members]] = True
            utility[b, s] = truth[row] - max(base[one] for one in members)
            gained[b, s] = truth[row] - max(truth[one] for one in members)
    return torch.from_numpy(mask), torch.from_numpy(utility).float(), torch.from_numpy(gained).float()
