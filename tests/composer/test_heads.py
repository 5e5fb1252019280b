"""Heads: several labels a row, two classes, class weights, units, and probabilities that mean what they say."""

import csv
import json
import random

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from composer.benchmark import benchmark
from composer.calibrate import Calibration, calibrate, calibration_error, reliability
from composer.composition import Composition
from composer.errors import BadGraph
from composer.fit import fit
from composer.graph import Graph
from composer.predictions import score, write_predictions
from composer.rank.head import ridge_at
from composer.rank.precision import mean_average_precision, precision_left_out
from composer.rank.probe import Probe, Targets, gram, macro_f1, press, probe, score_gap
from composer.recommend import recommend
from priors.errors import BadTask
from priors.tasks import Task, read_table
from tests.composer._made_up import FILLER, WORDS, function_library, table_task


@pytest.fixture
def library(tmp_path):
    return function_library(tmp_path / "priors", "word-ngrams", "standardize")


def several(count: int = 60, seed: int = 0) -> Task:
    """Texts with words of none, one or more of three topics, one of them rare."""
    rng = random.Random(seed)
    texts, sets = [], []
    for _ in range(count):
        topics = [name for name, p in zip(WORDS, (0.6, 0.4, 0.2), strict=True) if rng.random() < p]
        words = rng.choices(FILLER, k=4) + [rng.choice(WORDS[topic]) for topic in topics for _ in range(2)]
        rng.shuffle(words)
        texts.append(" ".join(words))
        sets.append(topics)
    return Task.from_table({"text": texts, "topics": sets}, "topics", name="sets", modalities={"text": "text"})


def test_several_labels_are_learned_saved_predicted_and_scored(library, tmp_path):
    task, unseen = several(), several(200, seed=1)
    model = fit(task, library=library, cache=tmp_path / "c")
    loaded = Composition.load(model.save(tmp_path / "m"), library=library)

    assert loaded.answers.several
    assert loaded.predict(["we cook spicy soup for the boss", "the and very"]) == [["food", "work"], []]
    chances = loaded.predict_proba(unseen.values("text"))
    assert np.array_equal(chances, model.predict_proba(unseen.values("text")))
    found = score(loaded, unseen)
    assert (found["metric"], found["rows"]) == ("macro_f1", 200)
    assert 0.5 < found["map"] <= 1 and 0.5 < loaded.report["map"] <= 1
    assert found["low"] < found["score"] < found["high"]
    assert found["score"] > 0.8
    assert abs(model.report["expected"] - found["score"]) < 0.15
    assert abs(chances.mean(axis=0) - unseen.y.mean(axis=0)).max() < 0.12

    (tmp_path / "new.csv").write_text("text\nspicy dinner with the boss at the office\nand then\n")
    write_predictions(loaded, read_table(tmp_path / "new.csv"), tmp_path / "out.csv")
    rows = list(csv.DictReader((tmp_path / "out.csv").open()))
    assert [row["prediction"] for row in rows] == ["food|work", ""]
    assert float(rows[0]["p_work"]) > 0.5 > float(rows[0]["p_talk"])
    assert "says which of 3 labels a row has" in (tmp_path / "m" / "README.md").read_text()


def test_a_ranking_of_sets_of_labels_expects_macro_f1(library, tmp_path):
    ranking = recommend(several(), library=library, cache=tmp_path / "c")
    assert ranking.metric == "macro_f1"
    assert 0.5 < ranking.best.expected <= 1
    assert ranking.best.low < ranking.best.expected


def test_a_head_of_the_other_kind_and_a_model_scored_on_the_other_kind_are_refused(library, tmp_path):
    task = several()
    model = fit(task, library=library, cache=tmp_path / "c")
    document = json.loads(model.graph.to_json())
    head = next(node for node in document["nodes"].values() if node["op"] == "head")
    head["loss"] = "cross_entropy"
    with pytest.raises(BadGraph, match="a row of sets has several labels"):
        fit(task, Graph.from_dict(document), library=library, cache=tmp_path / "c")
    plain = Task.from_table({"text": ["a b", "c d", "e f", "g h"], "y": ["p", "q", "p", "q"]}, "y")
    with pytest.raises(BadTask, match="the model predicts sets of labels"):
        score(model, plain)


# ---- class weights


def skewed(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = (rng.random(count) < 0.08).astype(np.int64)
    return rng.normal(size=(count, 4)) + labels[:, None] * [1.2, 0.6, 0, 0], labels


def test_weighted_leave_one_out_is_refitting_without_the_row_or_its_group():
    x, labels = skewed(40, 3)
    labels[:4] = 1
    targets = Targets.of_classes(labels, 2).balanced()
    x = x - x.mean(axis=0)
    for groups in (None, np.repeat(np.arange(20), 2)):
        grouped = targets.grouped(groups)
        found = press(x @ x.T, targets.matrix, np.array([0.7]), grouped.together, targets.weights)[0]
        for row in (0, 5, 17, 39):
            kept = np.flatnonzero(np.arange(40) != row if groups is None else groups != groups[row])
            w = targets.weights[kept]
            mean, base = (np.average(part[kept], axis=0, weights=w) for part in (x, targets.matrix))
            a = (x[kept] - mean) * np.sqrt(w)[:, None]
            b = (targets.matrix[kept] - base) * np.sqrt(w)[:, None]
            beta = np.linalg.solve(a.T @ a + 0.7 * np.eye(4), a.T @ b)
            np.testing.assert_allclose(found[row], (x[row] - mean) @ beta + base, atol=1e-8)


def test_rows_without_one_label_have_no_class_weights(tmp_path, library):
    for task in (several(), table_task()):
        with pytest.raises(BadTask, match="class_weights='balanced' weighs rows by their one label"):
            fit(task, library=library, cache=tmp_path / "c", class_weights="balanced")


def test_balanced_weights_find_more_of_the_rare_class(library, tmp_path):
    (x, labels), (new, truth) = skewed(300, 0), skewed(2_000, 1)
    rows = {f"x{i}": x[:, i] for i in range(4)}
    task = Task.from_table({**rows, "y": ["rare" if one else "common" for one in labels]}, "y")
    asked = {f"x{i}": new[:, i] for i in range(4)}
    recall = {}
    for weights in ("none", "balanced"):
        model = fit(task, library=library, cache=tmp_path / "c", class_weights=weights)
        said = np.array(model.predict(asked)) == "rare"
        recall[weights] = (said[truth == 1].mean() + (~said)[truth == 0].mean()) / 2
    assert recall["balanced"] > recall["none"] + 0.1
    assert model.report["class_weights"] == "balanced"
    assert abs(model.report["balanced_accuracy"] - recall["balanced"]) < 0.12


def test_equal_classes_have_the_same_head_with_and_without_weights():
    x = np.random.default_rng(0).normal(size=(30, 5))
    targets = Targets.of_classes(np.arange(30) % 3, 3)
    for a, b in zip(ridge_at(x, targets, 1.0), ridge_at(x, targets.balanced(), 1.0), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)


# ---- units


def test_a_unit_goes_from_the_task_through_head_and_card_to_the_predictions(library, tmp_path):
    task = table_task()
    metres = Task.from_table(task.rows.select(["a", "b", "noise", "y"]), "y", name="numbers", unit="m")
    model = fit(metres, library=library, cache=tmp_path / "c")
    loaded = Composition.load(model.save(tmp_path / "m"), library=library)

    assert loaded.answers.unit == "m"
    assert "{unit=m}" in str(loaded.lock.node(loaded.lock.outputs["y"]).type)
    assert "predicts a number in m" in (tmp_path / "m" / "README.md").read_text()
    (tmp_path / "new.csv").write_text("a,b,noise\n1,5,0\n")
    write_predictions(loaded, read_table(tmp_path / "new.csv"), tmp_path / "out.csv")
    [row] = csv.DictReader((tmp_path / "out.csv").open())
    assert (row["unit"], float(row["prediction"])) == ("m", pytest.approx(2, abs=0.4))
    feet = Task.from_table(task.rows.select(["a", "b", "noise", "y"]), "y", name="numbers", unit="ft")
    with pytest.raises(BadGraph, match="predicts m, y is in ft"):
        fit(feet, model.graph, library=library, cache=tmp_path / "c")


# ---- calibration


def noisy(count: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count)
    x = rng.normal(size=(count, 6)) + 1.1 * np.eye(6)[labels]
    return probe(gram(x), Targets.of_classes(labels, 3))


def test_calibrated_probabilities_are_closer_to_how_often_they_are_right():
    found = reliability(noisy(400))
    assert found["log_loss"]["after"] < found["log_loss"]["before"] - 0.05
    assert found["ece"]["after"] < found["ece"]["before"] / 3
    assert found["rows"] == 400


def test_the_temperature_is_the_one_of_least_loss():
    judged = noisy(200)
    best = calibrate(judged).temperature

    def loss(temperature: float) -> float:
        p = Calibration(temperature, np.zeros(3)).probabilities(judged.scores, judged.targets)
        return float(-np.log(p[np.arange(200), judged.targets.labels]).mean())

    assert loss(best) < min(loss(best * 1.05), loss(best / 1.05))


def test_the_error_of_perfect_and_of_boastful_probabilities():
    labels = np.arange(100) % 2
    targets = Targets.of_classes(labels, 2)
    assert calibration_error(np.eye(2)[labels], targets) == 0
    assert calibration_error(np.eye(2)[np.zeros(100, dtype=int)], targets) == pytest.approx(0.5)


def test_mean_average_precision_is_scikit_learns_also_where_scores_are_equal():
    rng = np.random.default_rng(0)
    truth = rng.random((60, 4)) < 0.3
    scores = rng.normal(size=(60, 4)).round(1)
    right = average_precision_score(truth, scores, average="macro")
    assert mean_average_precision(truth, scores) == pytest.approx(right)
    none = np.pad(truth, ((0, 0), (0, 1)))
    assert mean_average_precision(none, np.pad(scores, ((0, 0), (0, 1)))) == pytest.approx(right)
    assert np.isnan(mean_average_precision(np.zeros((3, 2)), np.zeros((3, 2))))


def test_average_precision_without_a_row_is_that_of_the_other_rows():
    rng = np.random.default_rng(1)
    truth, scores = rng.random((25, 3)) < [0.5, 0.2, 0.04], rng.normal(size=(25, 3)).round(1)
    truth[:, 2] = np.arange(25) == 7  # without the only row that has it a label does not count
    others = [np.arange(25) != row for row in range(25)]

    found = precision_left_out(truth, scores)

    assert found == pytest.approx([mean_average_precision(truth[rest], scores[rest]) for rest in others])
    assert precision_left_out(truth, scores, np.arange(25)) == pytest.approx(found)
    assert len(precision_left_out(truth, scores, np.arange(25) // 5)) == 5
    assert len({*found.round(6)}) > 10


def test_a_task_may_be_judged_by_mean_average_precision(library, tmp_path):
    task, unseen = (Task.from_table(one.rows, "topics", name="sets", modalities={"text": "text"}, metric="map",
                                    separator="|") for one in (several(), several(200, seed=1)))  # fmt: skip
    ranking = recommend(task, library=library, cache=tmp_path / "c")
    model = fit(task, ranking.best, library=library, cache=tmp_path / "c")
    found = score(model, Task.from_dir(unseen.save(tmp_path / "unseen")))
    table = benchmark(task, library=library, cache=tmp_path / "c", labels_per_class=6, draws=2, curve=(6,))

    assert ranking.metric == model.report["metric"] == found["metric"] == table.metric == "map"
    assert model.report["expected"] == model.report["map"] != model.report["macro_f1"]
    assert found["low"] < found["score"] == found["map"] < found["high"]
    assert abs(model.report["expected"] - found["score"]) < 0.15
    assert table.row("none").accuracy < table.row("recommended").accuracy <= 1
    gap, error = score_gap(*(probe(gram(np.eye(60) + part * task.y @ task.y.T),
                                   Targets.of_sets(task.y, ranked=True)) for part in (1.0, 0.0)))  # fmt: skip
    assert gap > 2 * error > 0


def test_macro_f1_and_its_interval_by_hand():
    truth = np.array([[1, 0], [1, 1], [0, 1], [0, 0]])
    said = np.array([[1, 0], [1, 0], [1, 1], [0, 0]])
    assert macro_f1(truth, said) == pytest.approx((0.8 + 2 / 3) / 2)
    many, scores = Targets.of_sets(np.tile(truth, (50, 1))), np.tile(said, (50, 1)).astype(float)
    low, high = Probe(many, 1.0, 1.0, scores, np.zeros(200), np.zeros(200)).interval
    assert low < (0.8 + 2 / 3) / 2 < high
    assert high - low < 0.15


def test_a_model_fitted_says_how_calibrated_it_is(library, tmp_path):
    task = several()
    facts = fit(task, library=library, cache=tmp_path / "c").report["calibration"]
    assert facts["log_loss"]["after"] < facts["log_loss"]["before"]
    assert set(facts["ece"]) == {"before", "after"}
