"""The verdict on a task: what is in the report, and how many labels a set saves."""

import json

import numpy as np
import pytest

from composer.benchmark import Point, benchmark, labels_saved
from composer.errors import Cancelled
from priors.errors import BadTask
from priors.tasks import Task
from tests.composer._made_up import function_library, sentences, table_task, text_task


@pytest.fixture
def judge(tmp_path):
    library = function_library(tmp_path / "priors")
    return lambda task, **options: benchmark(
        task,
        library=library,
        cache=tmp_path / "cache",
        **{"labels_per_class": 8, "draws": 3, "curve": (4, 8), **options},
    )


def points(**curves: list[float]) -> list[Point]:
    labels = curves.pop("labels")
    return [
        Point(n, 0.1, single, best) for n, single, best in zip(labels, curves["single"], curves["best"], strict=True)
    ]


def test_the_report_holds_a_row_for_every_way_and_the_curve(judge):
    found = judge(text_task(120))

    report = json.loads(found.to_json())
    assert {row["kind"] for row in report["rows"]} == {"none", "single", "all", "recommended"}
    assert [row["name"] for row in report["rows"] if row["kind"] == "single"] == [
        "char-ngrams",
        "text-statistics",
        "word-ngrams",
    ]
    for row in report["rows"]:
        assert 0 <= row["low"] <= row["accuracy"] <= row["high"] <= 1
        assert row["seconds"] >= 0
    assert [point["labels"] for point in report["curve"]] == [4, 8]
    assert set(report["curve"][0]) == {"labels", "none", "best_single", "recommended"}
    assert set(report["labels_saved"]) == {"labels", "single_needs", "saved", "text"}
    assert (report["task"], report["metric"], report["labels_per_class"], report["draws"]) == (
        "topics",
        "accuracy",
        8,
        3,
    )
    assert report["test_rows"] == 120 - 24
    assert report["notes"] == []


def test_the_curve_at_the_tables_labels_is_the_table(judge):
    found = judge(text_task(120), curve=(4,))

    here = next(point for point in found.curve if point.labels == 8)
    assert here.none == found.row("none").accuracy
    assert here.best_single == found.row("single").accuracy
    assert here.recommended == found.row("recommended").accuracy
    assert found.row("recommended").accuracy > 0.45
    assert set(found.row("all").priors) == {"priorhub/char-ngrams", "priorhub/text-statistics", "priorhub/word-ngrams"}
    assert found.row("none").priors == ()


def test_the_same_seed_gives_the_same_verdict(judge):
    task = text_task(90)
    first, second, other = judge(task), judge(task), judge(task, seed=5)

    def scores(report):
        return [(row.name, row.accuracy, row.low) for row in report.rows]

    assert scores(first) == scores(second)
    assert scores(first) != scores(other)


def test_a_number_is_judged_by_its_variance(judge):
    found = judge(table_task(90), labels_per_class=30, curve=(12,))

    assert found.metric == "r2"
    assert found.row("recommended").accuracy > 0.8
    assert "labels a class" not in found.labels_saved.text
    assert all(row.high <= 1 for row in found.rows)


def test_label_counts_that_are_too_many_are_left_out_with_a_note(judge):
    found = judge(text_task(60), curve=(4, 20, 500))

    assert [point.labels for point in found.curve] == [4, 8]
    assert found.notes == (
        "20 labels a class are more than topics has: left out of the curve.",
        "500 labels a class are more than topics has: left out of the curve.",
    )
    with pytest.raises(BadTask, match="class 'food' has 20 rows to draw from, fewer than the 50"):
        judge(text_task(60), labels_per_class=50)


def test_one_draw_has_no_interval_and_says_so(judge):
    found = judge(text_task(60), draws=1, curve=())

    assert all(row.low == row.accuracy == row.high for row in found.rows)
    assert "One draw" in found.notes[0]


def test_groups_stay_on_one_side_and_splits_are_kept(judge):
    texts, labels = sentences(120)
    columns = {"text": texts, "topic": labels, "who": [str(i // 5) for i in range(120)]}
    grouped = Task.from_table(columns, "topic", group="who", modalities={"text": "text"})
    split = Task.from_table(
        {**columns, "part": ["train"] * 60 + ["test"] * 60},
        "topic",
        split="part",
        ignore=["who"],
        modalities={"text": "text"},
    )

    assert 0 < judge(grouped).test_rows < 96
    assert judge(split).test_rows == 60


def test_a_large_task_is_cut_with_its_splits(judge, monkeypatch):
    monkeypatch.setattr("composer.benchmark.MAX_ROWS", 90)
    texts, labels = sentences(120)
    part = ["train" if i < 60 else "test" for i in range(120)]
    task = Task.from_table({"text": texts, "y": labels, "part": part}, "y", split="part", modalities={"text": "text"})

    found = judge(task, draws=2, curve=())

    assert found.notes == ("90 of 120 rows, chosen at random, take part.",)
    assert 30 <= found.test_rows <= 60


def test_test_rows_are_at_most_those_asked_for(judge):
    assert judge(text_task(120), test_rows=20, curve=()).test_rows == 20


def test_progress_ends_at_its_end_and_stopping_stops(judge):
    told = []
    judge(text_task(60), draws=2, report=lambda step, of, message, **metrics: told.append((step, of, message)))

    assert {of for _, of, _ in told} == {1 + 2 * 2}
    assert told[0][0] == 0
    assert all(step <= of for step, of, _ in told)
    assert told[-1][:2] == (5, 5)
    with pytest.raises(Cancelled):
        judge(text_task(60), cancelled=lambda: True)


@pytest.mark.parametrize(
    ("labels", "single", "best", "needs", "saved", "words"),
    [
        (
            [4, 8, 16, 32],
            [0.4, 0.5, 0.6, 0.7],
            [0.4, 0.55, 0.65, 0.7],
            16 * 2**0.5,
            16 * 2**0.5 - 16,
            "needs 23 labels",
        ),
        ([4, 8, 16, 32], [0.4, 0.5, 0.6, 0.7], [0.4, 0.5, 0.7, 0.8], 32, 16, "needs 32 labels"),
        ([4, 8, 16, 32], [0.4, 0.5, 0.6, 0.7], [0.4, 0.5, 0.9, 0.9], None, None, "does not reach with 32"),
        ([4, 8, 16], [0.4, 0.5, 0.6], [0.4, 0.5, 0.7], None, None, "The curve ends here"),
        ([4, 8, 16, 32], [0.4, 0.5, 0.6, 0.7], [0.4, 0.5, 0.6, 0.7], 16, 0, "no more labels"),
        ([4, 8, 16, 32], [0.4, 0.7, 0.6, 0.8], [0.4, 0.5, 0.55, 0.7], 8 / 2**0.5, 0, "no more labels"),
        ([4, 8, 16, 32], [0.6, 0.5, 0.6, 0.8], [0.4, 0.5, 0.55, 0.7], 4, 0, "no more labels"),
        ([16], [0.5], [0.6], None, None, "The curve ends here"),
        ([16], [0.6], [0.6], 16, 0, "no more labels"),
    ],
)
def test_labels_saved_are_read_off_the_curve(labels, single, best, needs, saved, words):
    found = labels_saved(points(labels=labels, single=single, best=best), 16)

    assert found.single_needs == (needs if needs is None else pytest.approx(needs, abs=0.051))
    assert found.saved == (saved if saved is None else pytest.approx(saved, abs=0.051))
    assert words in found.text
    assert found.labels == 16


def test_rows_that_do_not_vary_explain_nothing(judge):
    rng = np.random.default_rng(0)
    task = Task.from_table({"a": rng.normal(size=12), "y": [float(n) for n in range(12)]}, "y", kind="regression")

    found = judge(task, labels_per_class=11, curve=(), draws=1)

    assert found.test_rows == 1
    assert found.row("recommended").accuracy == 0


def test_rows_that_make_the_verdict_too_good_are_noted(judge):
    texts, labels = sentences(60)
    task = Task.from_table({"text": texts * 2, "topic": labels * 2}, "topic", modalities={"text": "text"})

    assert "60 of 120 labelled rows are copies of others" in judge(task, curve=(), draws=1).notes[0]
