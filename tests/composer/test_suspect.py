"""What is said about tasks whose scores would be too good, and which tasks are refused, in bounded time."""

import numpy as np
import pytest

from composer.suspect import suspicions
from priors.errors import BadTask
from priors.tasks import Task
from tests.composer._made_up import image_task, sentences, text_task

N = 60
LABELS = ["a", "b", "c"] * (N // 3)
RNG = np.random.default_rng(0)
NOISE = RNG.normal(size=N)


def table(y=LABELS, target="y", **columns) -> Task:
    options = {k: columns.pop(k) for k in ("group", "split", "modalities", "ignore", "kind") if k in columns}
    return Task.from_table({"noise": NOISE[: len(y)], **columns, target: y}, target, **options)


def by_class(start: float = 0.0) -> list[float]:
    """Numbers that lie class by class, in another order than the rows."""
    within = RNG.permutation(N)
    return [start + 1_000 * "cab".index(label) + within[i] for i, label in enumerate(LABELS)]


@pytest.mark.parametrize(
    ("column", "words"),
    [
        (by_class(), "its values lie class by class"),
        ([f"row-{int(v):05}" for v in by_class()], "its values lie class by class"),
        ([f"{label}_{i}" for i, label in enumerate(LABELS)], "lie class by class"),
        (["x" + label for label in LABELS], "each of its values has one class"),
        (LABELS, "each of its values has one class"),
    ],
)
def test_a_column_that_gives_the_class_away_is_named(column, words):
    [said] = suspicions(table(id=column))

    assert "column 'id'" in said and words in said and "leave it out" in said


def test_texts_that_name_their_own_class_are_told_of():
    texts, labels = sentences(N)
    named = [f"{text} [{label}]" for text, label in zip(texts, labels, strict=True)]

    [said] = suspicions(table(labels, text=named, modalities={"text": "text"}))

    assert "column 'text' is where the name of each row's own 'y' stands" in said
    assert suspicions(table(labels, text=texts, modalities={"text": "text"})) == []


def test_a_number_that_is_the_target_in_another_unit_is_named():
    y = 3 * NOISE + RNG.normal(size=N)

    [said] = suspicions(table(y.tolist(), feet=(3.281 * y + 5).tolist(), near=(y + 0.1 * NOISE**2).tolist()))

    assert "column 'feet' is 'y' itself, but for its unit" in said


def test_honest_columns_and_few_rows_are_not_suspected():
    assert suspicions(table(size=[ord(v) + 3 * x for v, x in zip(LABELS, RNG.normal(size=N), strict=True)])) == []
    few = Task.from_table({"a": [1.0, 2.5, 7.0, 8.0], "y": ["no", "no", "yes", "yes"]}, "y")
    assert suspicions(few) == []
    assert suspicions(text_task()) == []


def test_rows_of_the_test_that_are_in_train_are_counted():
    texts, labels = sentences(N)
    texts[50:56] = [text.upper() for text in texts[:6]]
    labels[50:56] = labels[:6]
    split = ["train"] * 40 + ["test"] * 20

    found = suspicions(Task.from_table({"t": texts, "y": labels, "s": split}, "y", split="s", modalities={"t": "text"}))

    assert any("6 of 20 rows of the split 'test' are copies of rows of 'train'" in one for one in found)


def test_a_group_on_both_sides_of_a_split_is_named():
    split, who = ["train"] * 40 + ["test"] * 20, [f"p{i // 9}" for i in range(N)]

    [said] = suspicions(table(s=split, who=who, split="s", group="who"))

    assert "'who' 'p4' and 0 others have rows in 'train' and in 'test'" in said


def test_copies_among_the_rows_are_counted_with_those_that_disagree():
    texts, labels = sentences(30)
    twice = Task.from_table(
        {"t": texts * 2, "y": labels * 2, "g": [str(i) for i in range(30)] * 2}, "y", modalities={"t": "text"},
        ignore=["g"],
    )  # fmt: skip
    torn = Task.from_table({"t": texts * 2, "y": labels + labels[1:] + labels[:1]}, "y", modalities={"t": "text"})
    grouped = Task.from_table(
        {"t": texts * 2, "y": labels * 2, "g": [str(i) for i in range(30)] * 2}, "y", modalities={"t": "text"},
        group="g",
    )  # fmt: skip

    assert "30 of 60 labelled rows are copies of others" in suspicions(twice)[0]
    assert "30 of them have another 'y'" in suspicions(torn)[0]
    assert suspicions(grouped) == []


def test_copies_of_pictures_are_found_by_content(tmp_path):
    task = image_task(tmp_path / "bars")
    for i in range(3):
        copy = tmp_path / "bars" / "lies" / f"copy-{i}.png"
        copy.write_bytes((tmp_path / "bars" / "lies" / f"{i}.png").read_bytes())

    assert suspicions(task) == []
    assert "3 of 19 labelled rows are copies" in suspicions(Task.from_image_folder(tmp_path / "bars"))[0]


def test_columns_that_say_nothing_are_named():
    task = table(same=[4.0] * N, gone=[float("nan")] * N, word=["x"] * N, modalities={"word": "category"})

    assert suspicions(task) == [
        "column 'gone' is empty in every labelled row: nothing can be learned from it.",
        "columns 'same', 'word' are the same in every labelled row: nothing can be learned from them.",
    ]
    late = table(late=[float("nan")] * 30 + NOISE[:30].tolist()).subset(range(30))
    assert suspicions(late) == ["column 'late' is empty in every labelled row: nothing can be learned from it."]


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"x": np.arange(9) % 4, "y": ["one"] * 9}, "every row of the target 'y' is 'one'"),
        ({"x": np.arange(100_000) % 7, "y": [f"c{i}" for i in range(100_000)]}, "100,000 distinct values"),
        ({"x": [float("nan")] * 9, "y": ["a", "b", "c"] * 3}, "no column is left to learn from"),
        ({"x": [1.0, 2.0, 3.0], "y": ["a", "a", "b"]}, "class 'b' of the target 'y' has one row"),
    ],
)
def test_tasks_that_cannot_be_learned_are_refused(columns, words):
    with pytest.raises(BadTask, match=words):
        Task.from_table(columns, "y")


def test_many_columns_of_many_rows_are_looked_at_in_bounded_parts(monkeypatch):
    monkeypatch.setattr("composer.suspect.ROWS", 30)
    monkeypatch.setattr("composer.suspect.COLUMNS", 2)

    found = suspicions(table(id=by_class(), late=by_class()))

    assert len(found) == 1 and "column 'id' is" in found[0]
