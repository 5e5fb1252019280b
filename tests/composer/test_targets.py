"""What labelled rows teach, and what is known of them before they are looked at."""

from dataclasses import dataclass

import numpy as np
import pytest

from composer.assemble import Offer, Unit
from composer.choices import Candidate
from composer.known import followers
from composer.rank.probe import gram, probe
from composer.targets import read_targets, targets_of
from priors.errors import BadTask
from priors.manifest import PriorRef
from priors.tasks import Task


def test_the_best_penalty_is_looked_for_nearer_to_one_where_a_text_is_read():
    at = np.linspace(-3, 3, 40)
    wave = np.sin(3 * at).tolist()
    table, words = (
        read_targets(Task.from_table({"a": column, "y": wave}, "y", name="t", kind="regression"))
        for column in (at.tolist(), [f"some words {i}" for i in range(40)])
    )

    bumps = gram(np.exp(-np.square(at[:, None] - at[None, ::2])))
    assert probe(bumps, table).penalty < probe(bumps, words).penalty < 1


def test_some_rows_of_a_task_are_its_targets_whatever_their_kind():
    columns = {"a": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], "who": list("aabbcc"), "y": [0.5, 1.0, 1.5, 2.0, 2.5, 3.0]}
    task = Task.from_table(columns, "y", name="t", group="who", kind="regression")

    some = targets_of(task, np.array([0, 2, 3]))

    assert some.is_number and some.mean == pytest.approx((0.5 + 1.5 + 2.0) / 3)
    assert some.groups is not None and some.groups.tolist() == [0, 1, 1]
    with pytest.raises(BadTask, match="3 labelled rows"):
        read_targets(task.subset(np.array([0, 2, 4])))


@dataclass(frozen=True)
class Reads:
    modality: str


def test_functions_of_a_text_that_a_network_reads_start_no_set():
    def unit(name: str, column: str, trusted: bool = False) -> Unit:
        return Unit(name, (Candidate(PriorRef("lab", name), "out", column),), trusted)

    units = (unit("net", "text", True), unit("words", "text"), unit("words-of-title", "title"), unit("waves", "n"))
    reads = {"net": "text", "words": "text", "words-of-title": "text", "waves": "tab"}
    manifests = {u.candidates[0]: Reads(reads[u.name]) for u in units}

    assert followers(Offer(tuple(manifests), units, manifests)) == ["words"]
