"""From a CSV to a model, predictions, a score and a verdict, on priors that are functions alone."""

import csv
import json
import random
from pathlib import Path

import numpy as np
import pytest

from composer.composition import Composition
from composer.errors import BadLock
from composer.fit import fit
from composer.predictions import input_columns, score, verify_folder, wilson, write_predictions
from priors.errors import BadTable, BadTask, BadWeights, UnknownPrior
from priors.library import LocalLibrary
from priors.tasks import Task, read_table
from priors.tasks.spec import Column
from tests.factories import function_manifest

SPAM = ("win a free prize now", "free entry, text WIN today", "claim your cash reward", "urgent, you have won money")
HAM = ("see you at dinner", "are you coming home", "call me when you land", "running late, sorry")


def rows(count: int, seed: int = 0) -> list[tuple[str, str]]:
    rng = random.Random(seed)
    return [
        (f"{rng.choice(SPAM if i % 2 else HAM)}, {rng.choice(('ok', 'now', 'bye'))} {i}", "spam" if i % 2 else "ham")
        for i in range(count)
    ]


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    for name in ("PRIORHUB_URL", "PRIORHUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("PRIORHUB_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def library(tmp_path):
    root = tmp_path / "priors"
    text = {"char-ngrams": "char_ngrams", "word-ngrams": "word_ngrams"}
    made = [function_manifest(name, function={"id": id, "config": {}}) for name, id in text.items()]
    made.append(
        function_manifest(
            "standardize",
            function={"id": "standardize", "config": {}},
            inputs={"x": "tab.num[B,C]:f32"},
            taps={"out": "tab.num[B,C]:f32"},
            tags=["table"],
        )
    )
    for manifest in made:
        folder = root / "priorhub" / manifest["name"]
        folder.mkdir(parents=True)
        (folder / "prior.json").write_text(json.dumps(manifest))
    return LocalLibrary(root)


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "train.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("id", "text", "label"), *((100 + i, *row) for i, row in enumerate(rows(24)))])
    return path


@pytest.fixture
def model(library, table):
    return fit(Task.from_csv(table, target="label"), library=library)


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_predictions_stand_beside_the_columns_as_they_came(model, tmp_path):
    content = 'text,note\n"=cmd|calc, free prize",+1\n"dinner at home\nsee you",@me\n'
    (tmp_path / "new.csv").write_text(content)

    count = write_predictions(model, read_table(tmp_path / "new.csv"), tmp_path / "out.csv")

    found = read(tmp_path / "out.csv")
    assert count == len(found) == 2
    assert list(found[0]) == ["text", "note", "prediction", "p_ham", "p_spam"]
    assert [(row["text"], row["note"]) for row in found] == [
        ("=cmd|calc, free prize", "+1"),
        ("dinner at home\nsee you", "@me"),
    ]
    for row in found:
        chances = {label: float(row[f"p_{label}"]) for label in ("ham", "spam")}
        assert sum(chances.values()) == pytest.approx(1, abs=2e-6)
        assert row["prediction"] == max(chances, key=chances.get)
    assert input_columns(model.lock) == (Column("text", "text"),)


def test_a_target_that_is_there_is_passed_over_and_gaps_stay_gaps(model, tmp_path):
    (tmp_path / "new.csv").write_text("label,text,x\nham,free prize,\n,see you,3\n")

    write_predictions(model, read_table(tmp_path / "new.csv"), tmp_path / "out.csv")

    assert [(row["label"], row["x"]) for row in read(tmp_path / "out.csv")] == [("ham", ""), ("", "3")]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("txt\na\n", "no column 'text'. Did you mean 'txt'?"),
        ("text,prediction\na,b\n", "already has a column 'prediction'"),
        ("text,p_spam\na,b\n", "already has a column 'p_spam'"),
        ("text\n", "no rows"),
    ],
)
def test_rows_that_cannot_be_predicted_are_refused_and_nothing_is_written(model, tmp_path, content, words):
    (tmp_path / "new.csv").write_text(content)

    with pytest.raises(BadTable) as refused:
        write_predictions(model, read_table(tmp_path / "new.csv"), tmp_path / "out.csv")

    assert words in str(refused.value)
    assert not [path for path in tmp_path.iterdir() if "out.csv" in path.name]


def test_a_place_that_cannot_be_written_is_said_and_an_old_file_survives_a_failure(model, tmp_path):
    (tmp_path / "new.csv").write_text("text\na\n")
    with pytest.raises(BadTable, match="cannot be written"):
        write_predictions(model, read_table(tmp_path / "new.csv"), tmp_path / "none" / "out.csv")

    (tmp_path / "old.csv").write_text("what was there")
    (tmp_path / "bad.csv").write_text("other\na\n")
    with pytest.raises(BadTable):
        write_predictions(model, read_table(tmp_path / "bad.csv"), tmp_path / "old.csv")
    assert (tmp_path / "old.csv").read_text() == "what was there"


def test_numbers_are_predicted_from_numbers(library, tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 2))
    columns = {"a": x[:, 0], "b": x[:, 1], "y": 3 * x[:, 0] - x[:, 1] + 0.01 * rng.normal(size=60)}
    task = Task.from_table(columns, "y")

    model = fit(task, library=library)
    (tmp_path / "new.csv").write_text("b,a\n1,0\n0,1\n")
    write_predictions(model, read_table(tmp_path / "new.csv"), tmp_path / "out.csv")

    found = [float(row["prediction"]) for row in read(tmp_path / "out.csv")]
    assert found == pytest.approx([-1, 3], abs=0.2)
    assert list(read(tmp_path / "out.csv")[0]) == ["b", "a", "prediction"]
    scored = score(model, task)
    assert scored["metric"] == "r2"
    assert 0.9 < scored["low"] <= scored["score"] <= scored["high"] <= 1
    with pytest.raises(BadTask, match="the model predicts a number"):
        score(model, Task.from_table({"a": [1.5, 2, 3, 4], "b": [1, 2, 3.5, 4], "y": ["u", "v"] * 2}, "y"))


def test_a_score_has_wilsons_interval_and_an_unknown_class_is_wrong(model):
    texts, labels = zip(*rows(20, seed=1), strict=True)
    known = score(model, Task.from_table({"text": texts, "label": labels}, "label", modalities={"text": "text"}))
    strange = ["news" if i < 4 else label for i, label in enumerate(labels)]
    partly = score(model, Task.from_table({"text": texts, "label": strange}, "label", modalities={"text": "text"}))

    assert known["low"] < known["score"] <= known["high"]
    assert partly["score"] == pytest.approx(known["score"] - 4 / 20, abs=0.051)
    assert partly["rows"] == 20
    assert wilson(50, 100) == pytest.approx((0.4038, 0.5962), abs=1e-4)
    assert wilson(0, 10)[0] == 0.0
    assert wilson(10, 10)[1] == pytest.approx(1.0)


def test_what_was_saved_is_verified_and_any_change_is_found(model, library, tmp_path):
    folder = model.save(tmp_path / "model")
    verified = verify_folder(folder, lambda: library)
    assert (verified["kind"], verified["identity"]) == ("composition", model.model)

    weights = folder / "model.safetensors"
    original = weights.read_bytes()
    weights.write_bytes(original[:-1] + bytes([original[-1] ^ 1]))
    with pytest.raises(BadWeights):
        verify_folder(folder, lambda: library)
    weights.write_bytes(original)

    graph = json.loads((folder / "composition.json").read_text())
    graph["name"] = "another"
    (folder / "composition.json").write_text(json.dumps(graph))
    with pytest.raises(BadLock):
        verify_folder(folder, lambda: library)


def test_tasks_and_priors_are_verified_and_other_folders_are_not(library, table, tmp_path):
    task = Task.from_csv(table, target="label")
    assert verify_folder(task.save(tmp_path / "task"), lambda: library)["identity"] == f"sha256:{task.fingerprint}"
    assert verify_folder(library.root / "priorhub" / "char-ngrams", lambda: library)["kind"] == "prior"
    with pytest.raises(BadTask, match=r"holds no composition\.json"):
        verify_folder(tmp_path, lambda: library)


# ---- the same through the command line


def test_the_whole_path_on_the_command_line(run, library, table, tmp_path):
    data = ["--data", table, "--target", "label", "--library", library.root]

    code, out, err = run("recommend", *data, "--json")
    assert (code, err) == (0, "")
    ranking = json.loads(out)
    assert ranking["answer"] in {"set", "one", "none"}
    assert {"ref", "tap", "weight"} <= set(ranking["singles"][0]["members"][0])
    assert ranking["why"] in run("recommend", *data)[1]

    code, out, err = run("fit", *data, "--out", tmp_path / "model", "--json")
    assert (code, err) == (0, "")
    fitted = json.loads(out)
    again = json.loads(run("fit", *data, "--out", tmp_path / "again", "--json")[1])
    assert fitted["model"] == again["model"] == Composition.load(tmp_path / "model", library=library).model
    assert (tmp_path / "model/model.safetensors").read_bytes() == (tmp_path / "again/model.safetensors").read_bytes()

    offline = ["--library", library.root]
    code, out, err = run("predict", tmp_path / "model", "--data", table, "--out", tmp_path / "p.csv", *offline)
    assert (code, err) == (0, "")
    found = read(tmp_path / "p.csv")
    assert sum(row["prediction"] == row["label"] for row in found) >= 22
    assert "24 rows" in out

    code, out, err = run("bench", tmp_path / "model", *data, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["score"] >= 0.9

    code, out, err = run("verify", tmp_path / "model", *offline)
    assert (code, err) == (0, "")
    assert "composition verified" in out

    code, out, err = run("export", tmp_path / "model", "--out", tmp_path / "m.pt2", *offline, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["max_abs_diff"] <= 1e-4
    assert (tmp_path / "m.pt2").is_file()


def test_a_spec_of_ones_own_is_fitted(run, library, table, tmp_path):
    (tmp_path / "c.yaml").write_text(
        """
composition: 1
name: words
nodes:
  text: {op: input, type: "text.raw[B]:str", column: text}
  words: {op: fn, in: [text], fn: word_ngrams}
  y: {op: head, in: [words], labels: [ham, spam], loss: cross_entropy, train: full}
outputs: {y: y}
"""
    )
    data = ["--data", table, "--target", "label", "--library", library.root]

    code, _, err = run("fit", *data, "--spec", tmp_path / "c.yaml", "--out", tmp_path / "model", "--json")

    assert (code, err) == (0, "")
    assert Composition.load(tmp_path / "model", library=library).lock.name == "words"


def test_priors_compared_on_the_command_line(run, library, table):
    data = ["--data", table, "--target", "label", "--library", library.root]

    code, out, err = run("bench", *data, "--labels", 4, "--draws", 2, "--json")

    assert (code, err) == (0, "")
    kinds = {row["kind"] for row in json.loads(out)["rows"]}
    assert {"none", "single", "recommended"} <= kinds


def test_a_model_whose_prior_is_nowhere_says_so(model, run, tmp_path):
    model.save(tmp_path / "model")
    (tmp_path / "new.csv").write_text("text\na\n")

    code, out, err = run(
        "predict", tmp_path / "model", "--data", tmp_path / "new.csv", "--out", tmp_path / "o.csv", "--offline"
    )

    assert (code, out) == (1, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    with pytest.raises(UnknownPrior):
        Composition.load(tmp_path / "model", library=LocalLibrary(tmp_path / "nothing"))
    assert not (tmp_path / "o.csv").exists()
