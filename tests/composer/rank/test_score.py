"""`python -m composer.rank.score`: what a file of features scores, and which files are refused."""

import json
import sys

import numpy as np
import pytest

from composer.rank import score


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """run(arguments..., **arrays) -> (exit code, stdout, stderr) for a file of these arrays."""

    def call(*arguments, **arrays):
        path = tmp_path / "F.npz"
        if arrays:
            np.savez(path, **arrays)
        monkeypatch.setattr(sys, "argv", ["score", "--features", str(path), *arguments])
        try:
            score.main()
            code = 0
        except SystemExit as left:
            code = left.code
        return code, *capsys.readouterr()

    return call


def rows(n: int = 60, d: int = 10) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = np.arange(n) % 3
    return (2 * rng.normal(size=(3, d))[labels] + rng.normal(size=(n, d))).astype(np.float32), labels


def test_a_file_with_classes_has_every_score(run):
    features, labels = rows()
    code, out, _ = run("--json", features=features, labels=np.array(["a", "b", "c"])[labels])
    found = json.loads(out)

    assert code == 0
    assert (found["rows"], found["features"], found["kind"]) == (60, 10, "classification")
    assert found["logme"] > found["logme_of_nothing"] + 0.2
    assert 0 < found["h_score"] < found["h_score_limit"] == 2
    assert found["h_score_saturated"] is False
    assert -1 < found["leep"] <= 0
    assert found["knn"] > 0.9
    assert found["press"]["score"] > 0.9
    assert 0 < found["press"]["brier"] < 0.3
    assert 1 < found["effective_rank"] < 10


def test_numbers_labels_and_sources_have_those_that_apply(run):
    features, labels = rows()
    number = json.loads(run("--json", features=features, targets=features[:, 0] * 3 + 1)[1])
    several = json.loads(run("--json", features=features, labels=(features[:, :3] > 0).astype(np.int8))[1])
    sources = json.loads(run("--json", features=features, labels=labels, sources=np.eye(3)[labels])[1])

    assert (number["kind"], number["h_score"], number["leep"]) == ("regression", None, None)
    assert number["press"]["squared_error"] < 0.1
    assert several["kind"] == "multilabel"
    assert several["h_score_limit"] == 1
    assert (sources["leep"], sources["leep_from"]) == (pytest.approx(0), "sources")
    assert "logme" in run(features=features, labels=labels)[1]


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x": np.zeros(3)}, "It needs 'features'"),
        ({"features": np.zeros((4, 2)), "labels": np.zeros(4)}, "only one class"),
        ({"features": np.zeros((5, 2)), "labels": np.array([0, 0, 0, 1, 1])[:4]}, "there are 5 rows"),
        ({"features": np.zeros((3, 2)), "labels": np.array([0, 0, 1])}, "only one row of class 1"),
        ({"features": np.array([[1.0], [np.nan]]), "labels": np.zeros(2)}, "not a number in row 2"),
        ({"features": np.zeros(4), "labels": np.zeros(4)}, "Give numbers"),
        ({"features": np.zeros((3_000, 1)), "labels": np.arange(3_000) // 2}, "1,500 classes are more than"),
        ({"features": np.zeros((3_000, 1)), "labels": np.arange(3_000)}, "3,000 classes are more than"),
        ({"features": np.zeros((4, 1)), "labels": np.array([0.5, 1, 1, 0.5])}, "labels such as 0.5 are numbers"),
        ({"features": np.zeros((4, 1)), "targets": np.ones(4)}, "same in every row"),
        ({"features": np.zeros((4, 1)), "targets": np.ones((4, 2))}, "Give a number a row"),
        ({"features": np.zeros((2, 1)), "labels": np.array([{}, {}], dtype=object)}, "plain arrays"),
        ({"features": np.zeros((4, 1)), "labels": np.arange(4) // 2, "sources": np.ones((4, 2))}, "no probabilities"),
        ({}, "cannot be read"),
    ],
)
def test_files_that_say_nothing_are_refused_in_a_line(run, arrays, words):
    code, out, err = run("--json", **arrays)

    assert (code, out) == (1, "")
    assert words in err and err.count("\n") == 1


def test_constant_features_score_as_nothing(run):
    found = json.loads(run("--json", features=np.ones((30, 4)), labels=np.arange(30) % 2)[1])

    assert found["press"]["score"] <= 0.5
    assert (found["h_score"], found["effective_rank"]) == (pytest.approx(0), 0)
    assert found["leep"] == pytest.approx(-np.log(2))


@pytest.mark.parametrize("size", [1e-180, 1e180])
def test_no_score_depends_on_the_unit_of_the_features(run, size):
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(40, 6)), np.arange(40) % 2
    features[:, 0] += labels

    usual, other = (json.loads(run("--json", features=x, labels=labels)[1]) for x in (features, features * size))

    for name in ("logme", "h_score", "leep", "knn", "effective_rank"):
        assert other[name] == pytest.approx(usual[name], rel=1e-6), name
    assert other["press"]["score"] == usual["press"]["score"]
