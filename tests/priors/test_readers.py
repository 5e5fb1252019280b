"""Files somebody gives: what is read, and what each kind of broken file is answered with."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from priors.errors import BadTable
from priors.tasks.readers import from_columns, read_folder, read_jsonl, read_table

TEXT = st.text(st.characters(), max_size=9) | st.just("\ud800")  # a lone surrogate: legal in JSON, not in UTF-8


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_quoted_commas_quotes_and_line_breaks_stay_in_their_cell(tmp_path):
    path = write(tmp_path / "t.csv", 'text,label\r\n"a, ""b""\r\nc",x\r\nplain,y\r\n')

    table = read_table(path).table

    assert table.to_pylist() == [{"text": 'a, "b"\r\nc', "label": "x"}, {"text": "plain", "label": "y"}]


def test_a_byte_order_mark_is_not_part_of_the_first_name(tmp_path):
    assert read_table(write(tmp_path / "t.csv", b"\xef\xbb\xbftext,y\na,1\n")).table.column_names == ["text", "y"]


def test_tabs_separate_in_a_tsv_and_any_mark_can_be_given(tmp_path):
    assert read_table(write(tmp_path / "t.tsv", "a\tb\n1\t2\n")).table.num_columns == 2
    assert read_table(write(tmp_path / "t.csv", "a;b\n1;2\n"), delimiter=";").table.num_columns == 2


def test_blank_lines_are_no_rows_and_an_unnamed_column_gets_a_number(tmp_path):
    table = read_table(write(tmp_path / "t.csv", ",text\n\n0,a\n\n1,b\n")).table

    assert table.column_names == ["column 1", "text"]
    assert table.num_rows == 2


def test_jsonl_keeps_numbers_apart_from_strings_and_fills_gaps_with_null(tmp_path):
    lines = [{"n": 1, "x": 0.5, "s": "a\u2028b"}, {"n": 2, "x": 1, "s": None, "ok": True}]
    path = write(tmp_path / "t.jsonl", "\n".join(json.dumps(line, ensure_ascii=False) for line in lines))

    table = read_table(path).table

    assert [str(field.type) for field in table.schema] == ["int64", "double", "string", "string"]
    assert table.to_pylist()[1] == {"n": 2, "x": 1.0, "s": None, "ok": "true"}
    assert table.to_pylist()[0]["s"] == "a\u2028b"


def test_parquet_reads_numbers_strings_booleans_dates_and_dictionaries(tmp_path):
    table = pa.table(
        {
            "i": pa.array([1, 2], pa.int8()),
            "f": pa.array([0.5, 1.5], pa.float32()),
            "s": pa.array(["a", ""], pa.large_string()),
            "b": [True, False],
            "d": pa.array(["x", "y"]).dictionary_encode(),
            "t": pa.array([0, 1], pa.date32()),
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")

    found = read_table(tmp_path / "t.parquet").table

    assert [str(field.type) for field in found.schema] == ["int64", "double", "string", "string", "string", "string"]
    assert found.to_pylist()[1] == {"i": 2, "f": 1.5, "s": None, "b": "false", "d": "y", "t": "1970-01-02"}


def test_numpy_vectors_and_lists_make_a_table():
    table = from_columns({"x": np.array([0.5, 1.5]), "y": ["a", "b"]}, "here").table

    assert table.to_pydict() == {"x": [0.5, 1.5], "y": ["a", "b"]}


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("t.csv", "", ["t.csv is empty", "header"]),
        ("t.csv", " \n\n", ["t.csv is empty"]),
        ("t.csv", "text,label\n", ["header and no rows"]),
        ("t.csv", "a,b\n1,2\n1\n1,2,3\n", ["header has 2 cells", "row 2 (line 3) has 1", "row 3 (line 4) has 3"]),
        ("t.csv", "a,b,a\n1,2,3\n", ["column name 'a'", "1 and 3"]),
        ("t.csv", 'a,b\n"never closed,2\n3,4\n', ["line 3", "Quote cells"]),
        ("t.csv", 'a,b\n"x"y,2\n', ["line 2", "double the quotes"]),
        ("t.csv", "a;b\n1;2\n", ["one column by commas", "delimiter=';'"]),
        ("t.csv", b"a,b\ncaf\xe9,2\n", ["line 2 is not UTF-8", "0xe9", "UTF-8"]),
        ("t.csv", "a,b\n1,2\n".encode("utf-16"), ["UTF-16", "UTF-8"]),
        ("t.csv", "a,b\n" + "x" * 1_000_000 + ",2\n", ["'a' row 1", "1,000,000 characters", "100,000"]),
        ("t.csv", ",".join(f"c{i}" for i in range(10_001)) + "\n1\n", ["10,001 columns", "10,000"]),
        ("t.jsonl", "", ["t.jsonl is empty"]),
        ("t.jsonl", '{"a": 1}\n{"a": \n', ["line 2 is not a JSON object"]),
        ("t.jsonl", '{"a": 1}\n[1]\n', ["line 2 holds a list"]),
        ("t.jsonl", '{"a": {"b": 1}}\n', ["'a' row 1 holds a dict", "spread"]),
        ("t.jsonl", '{"a": ["b", 1]}\n', ["'a' row 1 is no series", "list of numbers"]),
        ("t.jsonl", '{"a": 1, "a": 2}\n', ["line 1", "a key appears twice"]),
        ("t.jsonl", "[" * 200_000 + "\n", ["line 1 is not a JSON object"]),
        ("t.jsonl", '{"a": "' + "x" * 100_001 + '"}\n', ["'a' row 1", "100,001"]),
        ("t.parquet", b"PAR1 but no more", ["cannot be read as Parquet"]),
        ("t.parquet", b"", ["cannot be read as Parquet"]),
        ("t.xlsx", b"PK", ["ends in .xlsx", ".csv"]),
    ],
)
def test_a_broken_file_is_refused_in_one_line_with_cause_and_fix(tmp_path, name, content, words):
    with pytest.raises(BadTable) as refused:
        read_table(write(tmp_path / name, content))

    message = str(refused.value)
    assert all(word in message for word in words), message
    assert "\n" not in message
    assert message.endswith(".")


def test_a_cell_of_exactly_the_limit_is_read(tmp_path):
    assert read_table(write(tmp_path / "t.csv", "a,b\n" + "x" * 100_000 + ",2\n")).table.num_rows == 1


def test_a_missing_file_and_a_folder_are_told_apart(tmp_path):
    with pytest.raises(BadTable, match="does not exist"):
        read_table(tmp_path / "none.csv")
    with pytest.raises(BadTable, match="is a folder"):
        read_table(tmp_path)


def test_nested_parquet_columns_are_refused_by_name(tmp_path):
    pq.write_table(pa.table({"x": [1], "boxes": [[{"a": 1}]]}), tmp_path / "t.parquet")

    with pytest.raises(BadTable, match=r"'boxes' has type list"):
        read_table(tmp_path / "t.parquet")


def test_columns_of_different_length_are_refused():
    with pytest.raises(BadTable, match="differ in length"):
        from_columns({"a": [1, 2], "b": [1]}, "here")


def test_in_a_folder_the_subfolder_is_the_class_and_other_files_are_passed_over(tmp_path):
    for name in ("cat/1.png", "cat/2.JPG", "dog/1.webp", "dog/notes.txt", ".hidden/1.png", "dog/.3.png"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()

    table = read_folder(tmp_path, modality="image").table

    assert table.to_pydict() == {"path": ["cat/1.png", "cat/2.JPG", "dog/1.webp"], "label": ["cat", "cat", "dog"]}


def test_train_and_test_above_the_classes_become_a_split(tmp_path):
    for name in ("train/a/1.wav", "train/b/1.wav", "test/a/2.wav", "test/b/2.wav"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    table = read_folder(tmp_path, modality="audio").table

    assert table.to_pydict()["split"] == ["test", "test", "train", "train"]
    assert table.to_pydict()["label"] == ["a", "b", "a", "b"]


def test_a_folder_without_classes_and_a_class_without_files_are_refused(tmp_path):
    with pytest.raises(BadTable, match="holds no subfolders"):
        read_folder(tmp_path, modality="image")
    (tmp_path / "cat").mkdir()
    with pytest.raises(BadTable, match="class folder 'cat' holds no image file"):
        read_folder(tmp_path, modality="image")


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_whatever_the_bytes_a_file_is_read_or_refused_as_a_bad_table(tmp_path, suffix, content):
    path = write(tmp_path / f"t{suffix}", content)
    try:
        assert read_table(path).table.num_rows > 0
    except BadTable as refused:
        assert "\n" not in str(refused)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.dictionaries(TEXT, st.none() | st.booleans() | st.integers() | st.floats() | TEXT, max_size=4),
        max_size=5,
    )
)
def test_whatever_the_json_lines_hold_they_are_read_or_refused_as_a_bad_table(rows):
    content = "\n".join(json.dumps(row) for row in rows).encode()  # writes lone surrogates and NaN as JSON escapes
    try:
        assert read_jsonl(content, "t.jsonl").table.num_rows == len(rows)
    except BadTable as refused:
        assert "\n" not in str(refused)
