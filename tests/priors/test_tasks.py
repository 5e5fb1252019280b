"""Tasks: what columns are found to be, what a target is, draws, saving, and every refusal."""

import wave
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from priors.errors import BadTable, BadTask
from priors.tasks import Task, conform, parse_task, read_table
from priors.tasks.draws import draw_rows
from priors.tasks.spec import Column


def csv_task(folder: Path, text: str, target: str = "y", **options) -> Task:
    path = folder / "t.csv"
    path.write_text(text, encoding="utf-8")
    return Task.from_csv(path, target, **options)


def table_task(columns: dict, target: str = "y", **options) -> Task:
    return Task.from_table(columns, target, **options)


def modality_of(values: list, n: int = 12, **options) -> str:
    """What a column of these values, repeated to n rows, beside a text column is found to be."""
    repeated = (values * n)[:n]
    texts = [f"some text {i} here" for i in range(n)]
    task = table_task({"c": repeated, "t": texts, "y": ["a", "b"] * (n // 2)}, **options)
    return next(column.modality for column in task.columns if column.name == "c")


# ---- what a column is


@pytest.mark.parametrize(
    ("values", "modality"),
    [
        (["1", "2.5", "-3e4"], "num"),
        ([1, 2.5, 7], "num"),
        (["red", "light green", "blue"], "category"),
        ([True, False], "category"),
        (["1,000", "2,000"], "category"),
        (["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"], "text"),
        (["a whole sentence that repeats", "another sentence that repeats too"], "text"),
        (list(range(12)), "ignored"),
        ([str(i) for i in range(100, 112)], "ignored"),
        ([None], "ignored"),
    ],
)
def test_a_column_is_what_its_content_says_whatever_its_name(values, modality):
    assert modality_of(values) == modality


def test_a_single_column_of_short_repeated_strings_is_text():
    task = table_task({"message": ["good movie", "bad movie"] * 10, "y": ["a", "b"] * 10})

    assert task.inputs == (Column("message", "text"),)


def test_what_the_content_suggests_can_be_overruled_and_columns_ignored():
    assert modality_of(["red", "green"], modalities={"c": "text"}) == "text"
    assert modality_of(["red", "green"], ignore=["c"]) == "ignored"
    with pytest.raises(BadTask, match="'words' is no modality"):
        modality_of(["red", "green"], modalities={"c": "words"})


def test_values_come_as_encoders_take_them(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    Image.new("RGB", (4, 4)).save(tmp_path / "b.png")
    rows = "".join(f"{'ab'[i % 2]}.png,{i * 0.5},{'red' if i % 3 else ''},text {i},{'xy'[i % 2]}\n" for i in range(12))

    task = csv_task(tmp_path, "picture,n,color,t,y\n" + rows)

    assert task.modalities == ("image", "num", "category", "text")
    assert task.values("picture")[1] == tmp_path / "b.png"
    assert task.values("n").dtype == np.float64
    assert task.values("color")[:2] == ["", "red"]
    assert task.values("t")[11] == "text 11"


def test_rows_to_predict_are_read_as_the_task_found_its_columns(tmp_path):
    task = table_task({"n": [1.5, 2, 3, 4], "t": ["w", "x", "y", "z"], "y": ["a", "b"] * 2}, modalities={"t": "text"})
    (tmp_path / "new.csv").write_text("extra,t,n,y\nq,7,1,a\nq,8,2,b\n")

    table = conform(read_table(tmp_path / "new.csv"), task.columns)

    assert table.to_pydict() == {"n": [1.0, 2.0], "t": ["7", "8"]}


# ---- targets


@pytest.mark.parametrize(
    ("values", "kind", "labels"),
    [
        (["spam", "ham"] * 6, "binary", ("ham", "spam")),
        (["c", "a", "b"] * 4, "multiclass", ("a", "b", "c")),
        ([10, 2, 1] * 4, "multiclass", ("1", "2", "10")),
        (["10", "2", "1"] * 4, "multiclass", ("1", "2", "10")),
        ([1.0, 0.0] * 6, "binary", ("0", "1")),
        ([0.5, 1.25, 2.0] * 4, "regression", ()),
        (list(range(50, 100)), "regression", ()),
        ([" spam", "spam", "ham "] * 4, "binary", ("ham", "spam")),
    ],
)
def test_a_target_is_classes_or_a_number_by_its_values(values, kind, labels):
    task = table_task({"t": [f"text {i} of it" for i in range(len(values))], "y": values})

    assert (task.kind, task.labels) == (kind, labels)
    assert task.metric == ("r2" if kind == "regression" else "accuracy")
    assert task.y.dtype == (np.float64 if kind == "regression" else np.int64)


def test_the_kind_of_a_target_can_be_overruled():
    columns = {"t": [f"text {i} of it" for i in range(60)], "y": [i // 2 for i in range(60)]}

    assert table_task(columns).kind == "regression"
    assert len(table_task(columns, kind="multiclass").labels) == 30
    assert table_task({**columns, "y": [1, 2, 3] * 20}, kind="regression").y[:3].tolist() == [1.0, 2.0, 3.0]


def test_rows_without_a_target_are_kept_apart():
    task = table_task({"t": ["a", "b", "c", "d", "e", "f"], "y": ["x", None, "y", "x", "", "y"]})

    assert len(task) == 4
    assert task.values("t") == ["a", "c", "d", "f"]
    assert task.values("t", unlabelled=True) == ["b", "e"]


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        ("text,Lable\na,x\n", {"target": "label"}, ["no column 'label'", "Did you mean 'Lable'?", "text, Lable"]),
        ("text,y\na,x\nb,x\n", {}, ["every row of the target 'y' is 'x'", "second class"]),
        ("text,y\na,x\nb,x\nc,z\n", {}, ["class 'z'", "one row, row 3"]),
        ("text,y\na,\nb,\n", {}, ["every cell of the target 'y' is empty"]),
        ("text,y\na,x\nb,y\nc,x\nd,y\n", {"kind": "regression"}, ["'y' is not numeric"]),
        ("text,y\na,1.5\nb,nan\nc,2.5\n", {}, ["'y' is NaN or infinite in row 2"]),
        ("text,y\na,1.5\nb,1.5\n", {}, ["is 1.5 in every row"]),
        ("text,y\n" + "".join(f"a,u{i}\n" for i in range(1001)), {}, ["1,001 distinct values", "1,000"]),
        ("text,y\na,x\nb,y\nc,x\nd,y\n", {"metric": "r2"}, ["metric='r2'", "accuracy"]),
        ("text,y\na,1\nb,2\nc,3\na,1\nb,2\nc,3\n", {"kind": "binary"}, ["has 3 classes"]),
        ("text,y\na,x\nb,y\nc,x\nd,y\n", {"group": "person"}, ["no column 'person'"]),
        ("text,y\na,x\nb,y\nc,x\nd,y\n", {"ignore": ["text"]}, ["no column is left to learn from"]),
        ("text,y\na,x\nb,y\nc,x\nd,y\n", {"group": "y"}, ["'y' is the target"]),
        ("text,s,y\na,a,x\nb,b,y\nc,a,x\nd,b,y\n", {"split": "s"}, ["column 's' says a, b", "'train' and 'test'"]),
        ("n,t,y\n1,a,x\ninf,b,y\n3,c,x\n1e400,d,y\n", {}, ["'n' is infinite in rows 2, 4", "ignore=['n']"]),
        ("n,t,y\n1,a,x\n2,b,y\n-1e300,c,x\n4,d,y\n", {}, ["'n' is -1e+300 in row 3", "up to 3.4e+38"]),
        ("n,t,y\n1,a,x\n2,b,y\nx,c,x\n4,d,y\n", {"modalities": {"n": "num"}}, ["row 3 is 'x'"]),
    ],
)
def test_a_table_nothing_can_be_learned_from_is_refused_with_cause_and_fix(tmp_path, text, options, words):
    with pytest.raises((BadTable, BadTask)) as refused:
        csv_task(tmp_path, text, **options)

    message = str(refused.value)
    assert all(word in message for word in words), message
    assert "\n" not in message


def test_an_option_that_no_task_has_is_not_passed_over(tmp_path):
    with pytest.raises(TypeError, match=r"no option 'splits'\. Options are kind, metric"):
        csv_task(tmp_path, "text,y\na,x\nb,y\nc,x\nd,y\n", splits={"train": [0, 1]})


# ---- paths to media


def folder_with_images(folder: Path, names: list[str]) -> str:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), (len(name), 0, 0)).save(folder / name)
    return "picture,y\n" + "".join(f"{name},{'xy'[i % 2]}\n" for i, name in enumerate(names))


def test_paths_are_relative_to_the_table_or_absolute_for_local_runs(tmp_path):
    text = folder_with_images(tmp_path, ["a.png", "sub/b.png", "c.png"])
    text += f"{tmp_path / 'a.png'},y\n"

    task = csv_task(tmp_path, text)

    assert task.values("picture")[1] == tmp_path / "sub/b.png"
    with pytest.raises(BadTable, match=r"row 4 .* is absolute"):
        csv_task(tmp_path, text, local=False)
    with pytest.raises(BadTask, match=r"row 4 .* is absolute"):
        task.save(tmp_path / "saved", portable=True)


@pytest.mark.parametrize("path", ["../secret.png", "sub/../../secret.png", "link.png", "linked/secret.png"])
def test_paths_that_leave_the_tables_folder_are_refused(tmp_path, path):
    inside = tmp_path / "table"
    inside.mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "secret.png")
    (inside / "sub").mkdir()
    (inside / "link.png").symlink_to(tmp_path / "secret.png")
    (inside / "linked").symlink_to(tmp_path)
    text = folder_with_images(inside, ["a.png", "b.png", "c.png"]) + f"{path},y\n"

    with pytest.raises(BadTable, match=r"row 4 .* leads out of table/"):
        csv_task(inside, text)


def test_a_path_that_leads_nowhere_is_refused_with_its_row(tmp_path):
    text = folder_with_images(tmp_path, ["a.png", "b.png", "c.png"]) + "gone.png,y\n"

    with pytest.raises(BadTable, match=r"column 'picture' .* row 4 'gone.png' is not a file"):
        csv_task(tmp_path, text)


def write_wav(path: Path, samples: int) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes((np.sin(np.arange(samples) / 9) * 9000).astype("<i2").tobytes())


def test_checking_media_names_broken_images_and_empty_recordings_as_the_table_does(tmp_path):
    text = folder_with_images(tmp_path, ["a.png", "b.png", "of/c.png", "d.png"])
    (tmp_path / "of/c.png").write_bytes((tmp_path / "a.png").read_bytes()[:40])
    (tmp_path / "d.png").write_bytes(b"not an image")
    task = csv_task(tmp_path, text)

    with pytest.raises(BadTable, match=r"column 'picture': of/c.png is .* d.png is not an image"):
        task.check_media()

    for name, samples in (("1", 1600), ("2", 1600), ("3", 1600), ("4", 0)):
        write_wav(tmp_path / f"{name}.wav", samples)
    sounds = csv_task(tmp_path, "sound,y\n1.wav,a\n2.wav,b\n3.wav,a\n4.wav,b\n")
    steps = []
    with pytest.raises(BadTable, match=r"column 'sound': 4.wav has no samples"):
        sounds.check_media(report=lambda step, of, what: steps.append((step, of, what)))
    assert steps[-1] == (4, 4, "sound")


def test_a_folder_of_images_is_a_task_and_its_splits_bind_the_draws(tmp_path):
    for split, count in (("train", 6), ("test", 3)):
        for label in ("cat", "dog"):
            folder_with_images(tmp_path, [f"{split}/{label}/{i}.png" for i in range(count)])

    task = Task.from_image_folder(tmp_path)
    draw = task.draw(2, seed=0)

    assert task.modalities == ("image",)
    assert {task.rows["split"][i].as_py() for i in draw.train} == {"train"}
    assert len(draw.test) == 6
    assert {task.rows["split"][i].as_py() for i in draw.test} == {"test"}


# ---- saving


def test_a_saved_task_loads_as_the_same_task(tmp_path):
    text = "picture,n,group,y\n"
    for i, name in enumerate(["a.png", "sub/b.png", "c.png", "d.png", "e.png", "f.png"]):
        folder_with_images(tmp_path, [name])
        text += f"{name},{i * 1.5},g{i // 2},{['x', 'z', ''][i % 3]}\n"
    task = csv_task(tmp_path, text, group="group", license="CC0-1.0")

    saved = task.save(tmp_path / "out", portable=True)
    loaded = Task.from_dir(saved)

    assert loaded.fingerprint == task.fingerprint
    assert (loaded.columns, loaded.labels, loaded.group, loaded.license) == (
        task.columns,
        task.labels,
        "group",
        "CC0-1.0",
    )
    assert loaded.unlabelled.num_rows == 2
    assert loaded.y.tolist() == task.y.tolist()
    assert loaded.values("n").tolist() == task.values("n").tolist()
    assert all(path.is_relative_to(saved / "media") for path in loaded.values("picture"))
    assert sorted(p.name for p in saved.iterdir()) == ["data.parquet", "media", "task.json", "unlabelled.parquet"]


def test_saving_again_replaces_the_task_and_leaves_nothing_else_behind(tmp_path):
    first = table_task({"t": ["a", "b", "c", "d"], "y": ["x", "z"] * 2}).save(tmp_path / "out")

    second = table_task({"t": ["e", "f", "g", "h"], "y": ["x", "z"] * 2}).save(tmp_path / "out")

    assert first == second
    assert Task.from_dir(second).values("t") == ["e", "f", "g", "h"]
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]


def test_a_folder_that_is_no_task_is_never_overwritten(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")

    with pytest.raises(BadTask, match="is no task"):
        table_task({"t": ["a", "b", "c", "d"], "y": ["x", "z"] * 2}).save(tmp_path / "mine")

    assert sorted(tmp_path.rglob("*")) == [tmp_path / "mine", tmp_path / "mine" / "thesis.txt"]


def test_a_regression_loads_as_a_regression(tmp_path):
    task = table_task({"t": [f"text {i} of it" for i in range(30)], "y": [i * 0.5 if i else None for i in range(30)]})

    loaded = Task.from_dir(task.save(tmp_path / "out"))

    assert loaded.kind == "regression"
    assert loaded.y.tolist() == task.y.tolist()
    assert loaded.unlabelled.num_rows == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"task": 2}, "task"),
        ({"target": "t"}, "marked as target"),
        ({"rows": 5}, "has 4 rows"),
        ({"labels": ["x"]}, "1 labels"),
        ({"labels": ["x", "q"]}, "holds 'z'"),
        ({"group": "none"}, "group 'none'"),
        ({"splits": {"train": [9]}}, "outside 0..3"),
        ({"data": "../../etc/passwd"}, "data"),
        ({"extra": 1}, "extra"),
        (
            {"columns": [{"name": "t", "modality": "ignored"}, {"name": "y", "modality": "target"}]},
            "no column is an input",
        ),
    ],
)
def test_an_altered_task_file_is_refused(tmp_path, change, words):
    import json

    saved = table_task({"t": ["a", "b", "c", "d"], "y": ["x", "z"] * 2}).save(tmp_path / "out")
    content = json.loads((saved / "task.json").read_text()) | change
    (saved / "task.json").write_text(json.dumps(content))

    with pytest.raises(BadTask, match=words):
        Task.from_dir(saved)


def test_a_task_directory_cannot_point_outside_itself(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "secret.png")
    text = folder_with_images(tmp_path, ["a.png", "b.png", "c.png", "d.png"])
    saved = csv_task(tmp_path, text).save(tmp_path / "out")
    for path in ("../secret.png", str(tmp_path / "secret.png")):
        columns = pq.read_table(saved / "data.parquet").to_pydict()
        pq.write_table(pa.table({**columns, "picture": [path] * 4}), saved / "data.parquet")

        with pytest.raises(BadTable, match=r"leads out of|is absolute"):
            Task.from_dir(saved)


def test_the_task_file_prints_and_parses_to_the_same_thing():
    spec = table_task({"t": ["a", "b", "c", "d"], "y": ["x", "z"] * 2}, summary="one").spec

    assert parse_task(spec.to_json()) == spec


def test_the_fingerprint_follows_content_and_nothing_else(tmp_path):
    columns = {"t": ["a", "b", "c", "d"], "y": ["x", "z"] * 2}
    task = table_task(columns)

    assert table_task(columns, name="other").fingerprint == task.fingerprint
    assert table_task({**columns, "t": ["a", "b", "c", "e"]}).fingerprint != task.fingerprint
    assert table_task({**columns, "y": ["x", "x", "z", "z"]}).fingerprint != task.fingerprint
    assert task.subset([0, 1]).fingerprint != task.fingerprint


# ---- draws


def test_a_draw_takes_exactly_n_rows_of_every_class_and_judges_on_the_rest():
    task = table_task({"t": [f"text {i} of it" for i in range(60)], "y": ["a"] * 10 + ["b"] * 20 + ["c"] * 30})

    draw = task.draw(5, seed=3)

    assert np.bincount(task.y[draw.train]).tolist() == [5, 5, 5]
    assert sorted([*draw.train, *draw.test]) == list(range(60))
    assert task.draw(5, seed=3).train.tolist() == draw.train.tolist()
    assert task.draw(5, seed=4).train.tolist() != draw.train.tolist()
    assert set(task.draw(2, seed=3).train) <= set(draw.train)
    assert len(task.draw(5, seed=3, test_rows=7).test) == 7


def test_too_few_rows_of_a_class_or_none_left_to_judge_are_refused():
    task = table_task({"t": [f"text {i} of it" for i in range(10)], "y": ["a"] * 4 + ["b"] * 6})

    with pytest.raises(BadTask, match="class 'a' has 4 rows to draw from, fewer than the 5"):
        task.draw(5, seed=0)
    with pytest.raises(BadTask, match="leaves no row for the test"):
        task.subset([0, 1, 8, 9]).draw(2, seed=0)
    with pytest.raises(BadTask, match="at least 1"):
        task.draw(0, seed=0)


def test_a_regression_draws_one_row_from_each_quantile():
    task = table_task({"t": [f"text {i} of it" for i in range(100)], "y": [i * 0.37 for i in range(100)]})

    draw = task.draw(10, seed=1)

    assert [int(row) // 10 for row in draw.train] == list(range(10))
    assert len(draw.test) == 90


def test_rows_without_a_group_are_groups_of_their_own():
    who = ["p", "p", None, None, "q", "q", None, ""]
    task = table_task({"t": [f"text {i} of it" for i in range(8)], "who": who, "y": ["a", "b"] * 4}, group="who")

    assert len(set(task.groups.tolist())) == 6


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 6), min_size=8, max_size=40),
    classes=st.integers(2, 4),
    seed=st.integers(0, 2**31),
    labels_per_class=st.integers(1, 3),
)
def test_no_group_is_ever_on_both_sides_of_a_draw(sizes, classes, seed, labels_per_class):
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(len(sizes)), sizes)
    y = rng.integers(0, classes, len(groups))

    try:
        draw = draw_rows(y, ["x"] * classes, labels_per_class=labels_per_class, seed=seed, groups=groups)
    except BadTask:
        return

    assert not set(groups[draw.train]) & set(groups[draw.test])
    assert np.bincount(y[draw.train], minlength=classes).tolist() == [labels_per_class] * classes
    untouched = ~np.isin(groups, groups[draw.train])
    assert draw.test.tolist() == np.flatnonzero(untouched).tolist()


# ---- one door for all of it


def test_a_path_is_read_as_what_lies_there(tmp_path):
    text = folder_with_images(tmp_path / "table", ["a.png", "b.png", "c.png", "d.png"])
    (tmp_path / "table" / "t.csv").write_text(text)
    folder_with_images(tmp_path / "folder", ["x/1.png", "x/2.png", "y/1.png", "y/2.png"])
    for label, number in (("a", 1), ("a", 2), ("b", 1), ("b", 2)):
        (tmp_path / "sounds" / label).mkdir(parents=True, exist_ok=True)
        write_wav(tmp_path / "sounds" / label / f"{number}.wav", 160)

    table = Task.from_path(tmp_path / "table" / "t.csv", "y")
    saved = table.save(tmp_path / "saved")

    assert Task.from_path(saved).fingerprint == Task.from_path(saved, "y").fingerprint == table.fingerprint
    assert Task.from_path(tmp_path / "folder").modalities == ("image",)
    assert Task.from_path(tmp_path / "sounds").modalities == ("audio",)
    with pytest.raises(BadTask, match=r"say which column to predict. It has: picture, y"):
        Task.from_path(tmp_path / "table" / "t.csv")
    with pytest.raises(BadTask, match="whose target is 'y'"):
        Task.from_path(saved, "z")
    with pytest.raises(BadTable, match="does not exist"):
        Task.from_path(tmp_path / "nothing.csv", "y")
