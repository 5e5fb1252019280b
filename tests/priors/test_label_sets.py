"""Targets with several labels a row: from lists and from separators, saved, drawn, and refused where it cannot be."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from priors.errors import BadTable, BadTask
from priors.tasks import Task
from priors.tasks.spec import parse_task

TEXTS = ["a b", "b c", "c d", "d e", "e f", "f g", "g h", "h i"]
SETS = [["red"], ["red", "big"], ["big"], [], ["red", "odd"], ["odd"], ["big", "odd", "red"], ["big"]]
WANTED = [[0, 0, 1], [1, 0, 1], [1, 0, 0], [0, 0, 0], [0, 1, 1], [0, 1, 0], [1, 1, 1], [1, 0, 0]]


@pytest.fixture(params=["jsonl", "parquet", "csv", "python"])
def task(request, tmp_path):
    path = tmp_path / f"t.{request.param}"
    match request.param:
        case "jsonl":
            path.write_text("".join(json.dumps({"x": x, "y": y}) + "\n" for x, y in zip(TEXTS, SETS, strict=True)))
        case "parquet":
            pq.write_table(pa.table({"x": TEXTS, "y": pa.array(SETS, pa.list_(pa.string()))}), path)
        case "csv":
            cells = [" ; ".join(one) or ";" for one in SETS]
            path.write_text("x,y\n" + "".join(f"{x},{y}\n" for x, y in zip(TEXTS, cells, strict=True)))
            return Task.from_file(path, "y", kind="multilabel")
        case _:
            return Task.from_table({"x": TEXTS, "y": SETS}, "y")
    return Task.from_file(path, "y")


def test_lists_and_separated_cells_are_the_same_task_however_they_came(task, tmp_path):
    assert (task.kind, task.metric, task.labels) == ("multilabel", "macro_f1", ("big", "odd", "red"))
    assert task.y.tolist() == WANTED
    saved = Task.from_dir(task.save(tmp_path / "saved"))
    assert saved.y.tolist() == WANTED
    assert saved.fingerprint == task.fingerprint


@pytest.mark.parametrize("metric", ["macro_f1", "map"])
def test_several_labels_may_be_judged_either_way_and_nothing_else_by_ranking(tmp_path, metric):
    task = Task.from_table({"x": TEXTS, "y": SETS}, "y", metric=metric)
    other = Task.from_table({"x": TEXTS, "y": SETS}, "y", metric="macro_f1" if metric == "map" else "map")

    assert Task.from_dir(task.save(tmp_path / "saved")).metric == task.metric == metric
    assert task.fingerprint != other.fingerprint
    with pytest.raises(BadTask, match="metric='accuracy' does not fit a multilabel target"):
        Task.from_table({"x": TEXTS, "y": SETS}, "y", metric="accuracy")
    with pytest.raises(BadTask, match="metric='map' does not fit a multiclass target"):
        Task.from_table({"x": TEXTS, "y": list("abcabcab")}, "y", metric="map")
    with pytest.raises(BadTask, match="metric 'r2' with kind 'multilabel'"):
        parse_task(task.spec.to_json().replace(f'"{metric}"', '"r2"'))


def test_a_missing_cell_is_unlabelled_and_a_lone_separator_says_none(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("x,y\none,a|b\ntwo,a\nthree,|\nfour,b\nfive,\nsix,|\n")
    task = Task.from_csv(path, "y", separator="|")
    assert (len(task), task.unlabelled.num_rows) == (5, 1)
    assert task.y.sum(axis=1).tolist() == [2, 1, 0, 1, 0]


def test_a_draw_takes_rows_by_their_rarest_label():
    rng = np.random.default_rng(0)
    sets = [
        [name for name, p in (("often", 0.8), ("some", 0.4), ("rare", 0.15)) if rng.random() < p] for _ in range(200)
    ]
    task = Task.from_table({"x": [f"{i} word" for i in range(200)], "y": sets}, "y")
    few, more = task.draw(4, seed=1), task.draw(8, seed=1)
    assert task.y[few.train].sum(axis=0).min() >= 4
    assert set(few.train) <= set(more.train)
    assert not set(few.train) & set(few.test)


@pytest.mark.parametrize(
    ("columns", "options", "words"),
    [
        ({"x": TEXTS, "y": [["a"]] * 8}, {}, "1 distinct labels"),
        ({"x": TEXTS, "y": [["a"], ["b"], *[["b"]] * 6]}, {}, "label 'a' of the target 'y' has 1 of 8 rows"),
        ({"x": TEXTS, "y": SETS}, {"unit": "m"}, "Only numbers have one"),
        ({"x": TEXTS, "y": SETS}, {"metric": "accuracy"}, "does not fit a multilabel target"),
    ],
)
def test_what_is_no_set_of_labels_is_refused(columns, options, words):
    with pytest.raises(BadTask, match=words):
        Task.from_table(columns, "y", **options)


def test_a_list_in_another_column_and_a_label_with_the_separator_are_refused():
    with pytest.raises(BadTable, match="column 'x' holds lists, which only a target may"):
        Task.from_table({"x": SETS, "y": ["p", "q"] * 4}, "y")
    with pytest.raises(BadTable, match=r"a label with '\|', 'a\|b'"):
        Task.from_table({"x": TEXTS, "y": [["a|b"], *SETS[1:]]}, "y")


def test_a_unit_is_kept_with_the_task(tmp_path):
    task = Task.from_table({"x": [1.5, 2.5, 3.5, 9.0], "y": [0.5, 1.5, 2.5, 8.1]}, "y", unit="m", kind="regression")
    assert Task.from_dir(task.save(tmp_path / "t")).unit == "m"
