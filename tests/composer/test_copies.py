"""Whoever brings many priors, copies or near copies, moves no recommendation by that."""

import json
import shutil
from pathlib import Path

import pytest

from composer.assemble import distinct
from composer.race import Entrant, _spread
from composer.recommend import recommend
from priors.library import Entry, LocalLibrary
from tests.composer._made_up import function_library, text_task
from tests.composer.test_taps import COUNTS, LAST, offered

NAMES = ("char-ngrams", "word-ngrams", "text-statistics")


def with_copies(root: Path, count: int, **changes) -> LocalLibrary:
    """Words and characters, and `count` of words under other names, the first letter of the alphabet first."""
    library = function_library(root, *NAMES)
    for number in range(count):
        folder = root / f"aaa{number}" / f"mine{number}"
        shutil.copytree(root / "priorhub" / "word-ngrams", folder)
        content = json.loads((folder / "prior.json").read_text())
        content["name"] = folder.name
        if changes:
            content["function"]["config"]["dim"] = 256 + number
            content["taps"] = {"out": f"vec.feat[B,D:{256 + number}]:f32"}
        (folder / "prior.json").write_text(json.dumps(content))
    return library


@pytest.mark.parametrize(("count", "changes"), [(50, {}), (12, {"dim": True})])
def test_fifty_names_of_one_prior_and_near_copies_change_nothing(tmp_path, count, changes):
    task = text_task(48)
    plain = recommend(task, library=function_library(tmp_path / "plain", *NAMES), cache=tmp_path / "cache")
    many = with_copies(tmp_path / "many", count, **changes)

    ranking = recommend(task, library=many, cache=tmp_path / "cache")

    assert len(many.entries()) == count + 3
    assert len(ranking.singles) == 3 + (count if changes else 0)
    assert ranking.best.members == plain.best.members
    assert ranking.sets[0].members == plain.sets[0].members
    assert (ranking.answer, ranking.best.expected) == (plain.answer, plain.best.expected)


def test_a_content_goes_by_the_name_that_is_known_else_by_the_first_one(tmp_path):
    found = with_copies(tmp_path, 3).entries()
    assert [entry.ref.repo for entry in distinct(found)] == [f"priorhub/{name}" for name in sorted(NAMES)]

    others = [entry for entry in found if entry.ref.namespace != "priorhub"]
    dated = [
        Entry(one.ref, one.manifest, since)
        for one, since in zip(others, ("2026-03", "2026-01", "2026-02"), strict=True)
    ]
    [first] = distinct(dated)
    assert first.ref.repo == "aaa1/mine1"


def test_strangers_take_no_place_of_the_best_that_are_known():
    unit = offered().units[0]
    runners = [
        Entrant(type(unit)(name, (candidate,), True), (candidate,), 1.0)
        for name, candidate in zip("abcdef", [LAST] * 5 + [COUNTS], strict=True)
    ]

    assert _spread([0, 1, 2, 3, 4, 5], runners, {"a", "b", "c"})[:4] == [0, 1, 3, 4]
    assert _spread([0, 1, 2, 3, 4, 5], runners, ()) == [0, 1, 2, 3, 4, 5]
