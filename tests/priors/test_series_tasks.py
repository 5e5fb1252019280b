"""Series in tables: read from every kind of file, kept exactly, refused with column and row."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from priors.errors import BadTable
from priors.tasks import Task

LABELS = ["up", "down", "up", "down"]
FLAT = [[1.0, 2.0, 3.5], [3.0, 2.0, 1.0], [0.0, 0.5, 1.0], [9.0, 8.0, 7.0]]
TS = """#a comment
@problemName Made
@timeStamps false
@univariate true
@classLabel true up down
@data
1.0,2.0,3.5:up
3,2,1:down
0.0,0.5,1e0:up
9,8,7:down
"""


def written(folder: Path, suffix: str) -> Path:
    path = folder / f"table.{suffix}"
    match suffix:
        case "jsonl":
            rows = [{"series": s, "label": label} for s, label in zip(FLAT, LABELS, strict=True)]
            path.write_text("\n".join(map(json.dumps, rows)))
        case "csv":
            lines = [f'"{json.dumps(s)}",{label}' for s, label in zip(FLAT, LABELS, strict=True)]
            path.write_text("\n".join(["series,label", *lines]))
        case "parquet":
            pq.write_table(pa.table({"series": pa.array(FLAT, pa.list_(pa.float32())), "label": LABELS}), path)
        case _:
            path.write_text(TS)
    return path


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet", "ts"])
def test_a_column_of_lists_is_a_series_in_any_file(suffix: str, tmp_path: Path) -> None:
    task = Task.from_file(written(tmp_path, suffix), "label")

    assert task.modalities == ("series",) and task.labels == ("down", "up")
    values: Any = task.values("series")
    assert [one.shape for one in values] == [(3, 1)] * 4
    assert np.array_equal(np.stack(values)[:, :, 0], np.array(FLAT))


def test_the_same_series_have_one_fingerprint_wherever_they_come_from(tmp_path: Path) -> None:
    tasks = [Task.from_file(written(tmp_path, suffix), "label") for suffix in ("jsonl", "csv", "ts")]
    tasks.append(Task.from_table({"series": np.array(FLAT), "label": LABELS}, "label"))

    assert len({task.fingerprint for task in tasks}) == 1


def test_saved_and_loaded_series_of_unlike_lengths_and_several_channels_stay_as_they_are(tmp_path: Path) -> None:
    cells = [[[1.0, 2.0], [3.0, 4.0]], [[1.0, 2.0, 5.0], [0.0, 0.1, 0.2]], [[0.0], [1.0]], [[7.0] * 9, [8.0] * 9]]
    task = Task.from_table({"motion": cells, "label": LABELS, "weight": [1.5, 2.5, 0.5, 3.5]}, "label", name="motion")

    loaded = Task.from_dir(task.save(tmp_path / "task"))

    assert loaded.fingerprint == task.fingerprint and loaded.modalities == ("series", "num")
    for before, after in zip(task.values("motion"), loaded.values("motion"), strict=True):
        assert np.array_equal(before, after)
    assert task.values("motion")[1].shape == (3, 2)  # type: ignore[union-attr]


def test_arrays_are_rows_by_time_by_channel() -> None:
    cube = np.arange(24.0).reshape(4, 3, 2)

    task = Task.from_table({"x": cube, "label": LABELS}, "label")

    assert np.array_equal(np.stack(task.values("x")), cube)  # type: ignore[arg-type]


def test_numbers_between_spaces_are_a_series_where_that_is_said(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("x,label\n1 2 3:4 5 6,a\n0;0;0:1;1;1,b\n1 2 3:4 5 6,a\n0 0 0:1 1 1,b\n")

    task = Task.from_csv(path, "label", modalities={"x": "series"})

    assert [one.tolist() for one in task.values("x")][:2] == [[[1, 4], [2, 5], [3, 6]], [[0, 1]] * 3]
    assert Task.from_csv(path, "label").modalities == ("text",)


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ([1.0, None], "row 2 holds a number that is missing"),
        ([1.0, float("inf")], "row 2 holds a number that is missing or not finite"),
        ([[1.0, 2.0], [3.0]], "row 2 has channels of"),
        ([[1.0], [2.0]], "row 2 has 2 channels, others 1"),
        ([], "row 2 has channels of"),
        (["a"], "row 2 is no series"),
        (None, "row 2 is empty"),
        ([[[1.0]]], "row 2 is no series"),
    ],
)
def test_what_is_no_series_is_refused_with_its_row(cell: Any, words: str) -> None:
    with pytest.raises(BadTable, match=words):
        Task.from_table({"x": [FLAT[0], cell, FLAT[2], FLAT[3]], "label": LABELS}, "label")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1,2:a", "no @ line"),
        ("@classLabel true a", "no @data"),
        ("@classLabel true a\n@data\n", "no rows"),
        ("@classLabel true a\n@data\n1,x:a", "line 3"),
        ("@timestamps true\n@data\n(0,1):a", "time beside"),
        ("@classLabel true a\n@data\n(0,1),(1,2):a", "parentheses"),
    ],
)
def test_broken_ts_files_are_refused_with_their_line(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "x.ts").write_text(text)

    with pytest.raises(BadTable, match=words):
        Task.from_file(tmp_path / "x.ts", "label")
