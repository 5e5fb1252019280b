"""The starter history's own arithmetic: draws, sets that share work, regret on made-up scores."""

import json

import numpy as np
import pytest

from benchmarks.history.build import outcome_of, read_runs, result_path, stoppable, write
from benchmarks.history.cells import Grams, Judge, Weigher
from benchmarks.history.choices import Chosen
from benchmarks.history.evaluate import Gaps, evaluate, text
from benchmarks.history.labels import most_worth
from benchmarks.history.problems import MOST_LABELLED, Problem, Source
from composer.rank.history import ALL_LABELS, Outcome, TaskCard, read_outcomes
from composer.rank.probe import Targets, gram
from composer.rank.sets import weigh
from priors.errors import BadTask


def problem(count=400, classes=2, **options):
    answers = [f"class {row % classes}" for row in range(count)]
    return Problem("source/question", "made up", "Which class", np.arange(count), answers, **options)


def blocks(seed=0, count=120, classes=2, noise=2.0):
    """Two views of the labels and one of nothing, as features (count, 20)."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    centers = rng.normal(size=(2, classes, 20))
    found = {name: centers[i][labels] + noise * rng.normal(size=(count, 20)) for i, name in enumerate("ab")}
    return {**found, "nothing": rng.normal(size=(count, 20))}, labels


class TestDraws:
    def test_a_smaller_draw_is_part_of_a_larger_one_and_nothing_is_on_both_sides(self):
        few, many = (problem().draw(labels, 0) for labels in (4, 16))

        assert set(few.train) <= set(many.train)
        assert not set(many.train) & set(many.test)

    def test_all_labels_hold_out_two_fifths_and_learn_from_the_rest_up_to_a_limit(self):
        drawn = problem(400).draw(ALL_LABELS, 0)
        large = problem(2_000).draw(ALL_LABELS, 0)

        assert (len(drawn.train), len(drawn.test)) == (240, 160)
        assert len(large.train) == MOST_LABELLED

    def test_groups_stay_whole_with_all_labels(self):
        groups = [f"group {row // 10}" for row in range(400)]
        drawn = problem(400, groups=groups).draw(ALL_LABELS, 0)

        assert not {groups[row] for row in drawn.train} & {groups[row] for row in drawn.test}

    def test_too_few_rows_are_refused(self):
        with pytest.raises(BadTask, match="too few rows"):
            problem(60).draw(16, 0)

    def test_a_problem_is_a_task_of_its_own(self):
        source = Source("source", {"x": [float(row) for row in range(400)]}, (problem(100),), {"x": "num"})
        task = source.task_of(problem(100))

        assert (len(task), task.kind, task.labels) == (100, "binary", ("class 0", "class 1"))


class TestCells:
    def test_a_set_is_weighed_as_the_product_weighs_it(self):
        features, labels = blocks()
        kernels = {name: gram(block) for name, block in features.items()}
        targets = Targets.of_classes(labels, 2)

        ours = Weigher(kernels, targets, set()).weights(("a", "b"))
        theirs = weigh({name: kernels[name] for name in ("a", "b")}, targets).weights
        assert ours == pytest.approx(theirs)

    def test_a_run_is_scored_on_the_other_rows_with_an_interval(self):
        features, _ = blocks(count=400)
        drawn = problem().draw(16, 0)
        judge = Judge.of(problem(), 16, 0, drawn)
        rows = np.concatenate([drawn.train, drawn.test])

        ran = judge.run(("a",), "single", Grams.of(features["a"][rows], len(drawn.train)))
        assert 0.6 < ran.outcome.score <= 1
        assert ran.outcome.low < ran.outcome.score < ran.outcome.high
        assert ran.said.shape == (len(drawn.test), 2)
        assert np.allclose(ran.said.sum(axis=1), 1, atol=1e-2)

    def test_numbers_are_scored_by_the_variance_of_the_test_rows(self):
        rng = np.random.default_rng(0)
        x = rng.normal(size=(300, 5))
        values = (3 * x[:, 0] + 10).tolist()
        asked = Problem("source/number", "made up", "How much", np.arange(300), values)
        drawn = asked.draw(64, 0)
        judge = Judge.of(asked, 64, 0, drawn)

        ran = judge.run(("x",), "single", Grams.of(x[np.concatenate([drawn.train, drawn.test])], len(drawn.train)))
        truth = asked.y[drawn.test]
        by_hand = 1 - np.square(ran.said[:, 0] - truth).sum() / np.square(truth - truth.mean()).sum()
        assert ran.outcome.score == pytest.approx(by_hand, abs=2e-3)
        assert ran.outcome.score > 0.8


def run(task, members, score, loss, *, arm=None, draw=0, labels=16):
    arm = arm or ("single" if len(members) == 1 else "set")
    return {
        "task": task, "members": list(members), "arm": arm, "labels": labels, "draw": draw, "score": score,
        "low": score - 0.1, "high": score + 0.1, "seconds": 0.0, "expected": score, "loss": loss,
    }  # fmt: skip


def runs(task, a, b, both):
    placebos = [run(task, (), 0.5, 1.0, arm=arm) for arm in ("no_prior", "everything", "shuffled")]
    return [run(task, ("a",), a, 0.5), run(task, ("b",), b, 0.6), run(task, ("a", "b"), both, 0.4), *placebos]


def choice(task, units, score, **options):
    given = {
        "answer": "set", "single": "a", "expected": score, "low": score - 0.1, "high": score + 0.1, "gain": 0.1,
        "supported": True, "clear": (3.0, 3.0), "error": 0.1, "single_score": 0.7, "bare": score, "draw": 0,
        "alone": tuple({"a": 0.7, "b": 0.6}[one] for one in units), "seconds": 0.0, **options,
    }  # fmt: skip
    return Chosen(task=task, labels=16, units=units, score=score, **given)


CARDS = [TaskCard("one/x", "text"), TaskCard("two/x", "text")]


class TestEvaluation:
    def test_regret_is_against_the_best_set_and_plain_ways_stand_beside(self):
        found = evaluate(
            runs("one/x", 0.7, 0.6, 0.8) + runs("two/x", 0.9, 0.6, 0.8),
            CARDS,
            [choice("one/x", ("a", "b"), 0.79), choice("two/x", ("a",), 0.9, answer="one")],
        )

        assert found.regret["chosen"].mean == pytest.approx(0.5)  # 1 point on the first, none on the second
        assert found.regret["best single by leave-one-out"].mean == pytest.approx(5.0)
        assert found.regret["static list, sets"].mean == pytest.approx(10.0)  # each what is best on the other
        assert found.regret["everything"].mean == pytest.approx(35.0)
        assert (found.idle, found.under.mean, found.worst) == ((0, 1), 0.0, [])
        assert found.covered.mean == 1.0
        assert "2 tasks" in text(found)
        json.dumps(found.to_dict())

    def test_a_set_under_its_best_member_and_a_claim_that_does_not_help_are_counted(self):
        sure = choice("one/x", ("a", "b"), 0.65, expected=0.9, low=0.8, high=1.0)
        found = evaluate(runs("one/x", 0.7, 0.6, 0.8), CARDS[:1], [sure])

        assert found.worst == [("one/x", -5.0)]
        assert (found.under.mean, found.over.mean) == (1.0, -5.0)
        assert found.idle == (1, 1)
        assert found.covered.mean == 0.0

    def test_the_best_member_is_picked_on_the_other_draws(self):
        lucky = [(0.70, (0.75, 0.6)), (0.70, (0.6, 0.75)), (0.70, (0.68, 0.60))]
        asked = [choice("one/x", ("a", "b"), score, alone=alone, draw=i) for i, (score, alone) in enumerate(lucky)]
        found = Gaps.of(asked)

        assert found.mean == pytest.approx((10 + 10 + 2) / 3)  # by the luckier one of each draw it were -8 / 3
        assert found.error == pytest.approx(np.std([10, 10, 2], ddof=1) / 3**0.5)

    def test_how_many_tasks_would_be_under_by_chance_is_told_from_how_the_draws_differ(self):
        def asked(scores):
            return [choice("one/x", ("a", "b"), score, alone=(0.7, 0.6), draw=i) for i, score in enumerate(scores)]

        assert Gaps.of(asked([0.7, 0.7, 0.7])).by_chance == 0.0
        assert 0.3 < Gaps.of(asked([0.6, 0.7, 0.8])).by_chance < 0.5
        assert Gaps.of(asked([0.68] * 10)).mean == pytest.approx(-2.0)

    def test_more_draws_than_sets_were_fitted_on_count_for_what_a_choice_is_over_its_members(self):
        more = [choice("one/x", ("a", "b"), 0.79, draw=draw) for draw in range(4)]
        found = evaluate(runs("one/x", 0.7, 0.6, 0.8), CARDS[:1], more)

        assert found.regret["chosen"].mean == pytest.approx(1.0)
        assert (found.idle, found.over.mean) == ((0, 4), pytest.approx(9.0))


def test_what_was_kept_becomes_a_file_of_outcomes(tmp_path):
    path = result_path(tmp_path, "one/x")
    path.parent.mkdir()
    kept = {"of": "", "card": vars(CARDS[0]), "seconds": {"cells": 1.0}, "runs": runs("one/x", 0.7, 0.6, 0.8)}
    path.write_text(json.dumps(kept))

    assert write(tmp_path, tmp_path / "history.parquet") == 6
    outcomes, cards = read_outcomes(tmp_path / "history.parquet")
    assert cards == CARDS[:1]
    assert set(outcomes) == {outcome_of(one) for one in read_runs(tmp_path)[0]}


def test_interrupts_are_asked_about_and_handlers_put_back():
    import os
    import signal

    before = signal.getsignal(signal.SIGTERM)
    with stoppable() as stopped:
        assert not stopped()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stopped()
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_task_without_a_run_of_no_prior_says_nothing_of_labels_saved():
    words = ("priorhub/words#out",)

    def run(task, labels, score, members=()):
        return Outcome(task, members, "single" if members else "no_prior", labels, 0, score, score, score, 0.0)

    outcomes = [run("a", 4, 0.4), run("a", 16, 0.5), run("a", 64, 0.7), run("a", 16, 0.6, words)]
    found = most_worth([*outcomes, run("bare", 16, 0.9, words)], [TaskCard("bare"), TaskCard("a")])

    assert [(one.task, one.without) for one in found] == [("a", 0.5)]
