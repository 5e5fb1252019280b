"""Evaluation on published tables: what is printed, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest

from composer.rank.evaluate import main
from composer.rank.measures import normalised, regret, weighted_tau
from composer.rank.reveal import Belief, chosen, next_best

KEYS = {
    "protocol", "revealed", "choice", "method", "weighted_tau", "weighted_tau_low", "weighted_tau_high", "pearson",
    "top1_regret", "top5_regret", "normalised_top1_regret", "coverage90",
}  # fmt: skip


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 models on 6 data sets of two sorts, one result missing; large models are better."""
    rng = np.random.default_rng(0)
    sizes = rng.uniform(0, 2, 20)
    lean = np.where(np.arange(20) % 2, 0.5, -0.5)
    folder = tmp_path_factory.mktemp("table")
    names = [f"{sort}{i}" for i in range(3) for sort in ("newsRetrieval", "petsClustering")]
    scores = 0.5 + 0.1 * (sizes[:, None] + lean[:, None] * np.array([1, -1] * 3) + 0.1 * rng.standard_normal((20, 6)))
    lines = [",".join(["model", *names])]
    for i, row in enumerate(scores):
        cells = [f"{value:.4f}" for value in row]
        if i == 3:
            cells[2] = ""
        lines.append(",".join([f"maker{i % 3}/m{i}", *cells]))
    (folder / "m.csv").write_text("\n".join(lines))
    meta = ["model,parameters,org"] + [
        f"maker{i % 3}/m{i},{10 ** (6 + s):.0f},maker{i % 3}" for i, s in enumerate(sizes)
    ]
    (folder / "meta.csv").write_text("\n".join(meta))
    return folder


@pytest.fixture(scope="module")
def answer(table: Path) -> list[dict[str, object]]:
    import contextlib
    import io

    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = main(["--matrix", str(table / "m.csv"), "--meta", str(table / "meta.csv"), "--json"])
    assert code == 0
    found = json.loads(out.getvalue())
    assert set(found) == {"matrix", "results"}
    return found["results"]


def of(answer: list[dict[str, object]], *key: object) -> dict[str, object]:
    return next(r for r in answer if (r["protocol"], r["revealed"], r["choice"], r["method"]) == key)


def test_every_record_has_the_same_keys_and_every_method_is_there(answer: list[dict[str, object]]):
    assert all(set(row) == KEYS for row in answer)
    cold = {row["method"] for row in answer if (row["protocol"], row["revealed"]) == ("known", 0)}
    assert cold == {
        "ours", "static_mean_rank", "type_weighted", "kriging", "low_rank", "nearest", "metadata", "size", "random",
        "oracle_nearest",
    }  # fmt: skip
    assert {(row["revealed"], row["choice"]) for row in answer} == {
        (0, "random"), (3, "random"), (3, "active"), (5, "random"), (5, "active"),
    }  # fmt: skip
    assert {row["protocol"] for row in answer} == {"known", "new_models"}


def test_a_zoo_with_types_is_ranked_better_than_by_one_list(answer: list[dict[str, object]]):
    ours, static = (of(answer, "known", 0, "random", name) for name in ("ours", "static_mean_rank"))

    assert ours["weighted_tau"] > static["weighted_tau"] + 0.03
    assert ours["weighted_tau_low"] < ours["weighted_tau"] < ours["weighted_tau_high"]
    assert 0.75 <= ours["coverage90"] <= 1
    assert static["coverage90"] is None
    assert abs(of(answer, "known", 0, "random", "random")["weighted_tau"]) < 0.5


def test_new_models_are_ranked_by_their_cards_and_chosen_evaluations_find_the_best(answer: list[dict[str, object]]):
    assert of(answer, "new_models", 0, "random", "ours")["weighted_tau"] > 0.4
    assert of(answer, "new_models", 5, "active", "ours")["normalised_top1_regret"] < 0.2
    assert of(answer, "known", 5, "active", "ours")["normalised_top1_regret"] < 0.05


def test_a_table_that_cannot_be_used_is_one_line_and_exit_code_1(
    tmp_path: Path, table: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "bad.csv").write_text("model,news\na,good\n")
    (tmp_path / "small.csv").write_text("model,news\na,0.5\nb,0.6\n")

    assert main(["--matrix", str(tmp_path / "bad.csv")]) == 1
    assert "'good' is no number" in capsys.readouterr().err
    assert main(["--matrix", str(tmp_path / "small.csv")]) == 1
    assert "too few to leave any out" in capsys.readouterr().err
    assert main(["--matrix", str(table / "m.csv"), "--meta", str(tmp_path / "none.csv")]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def written(path: Path, scores: list[list[object]]) -> str:
    lines = [",".join(["model", *(f"d{j}" for j in range(len(scores[0])))])]
    lines += [",".join([f"m{i}", *map(str, row)]) for i, row in enumerate(scores)]
    path.write_text("\n".join(lines))
    return str(path)


def test_data_sets_that_tell_no_models_apart_and_rows_without_results_are_no_hindrance(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
):
    scores: list[list[object]] = [[i + j * (i % 2) for j in range(5)] for i in range(9)]
    flat = [[*row[:2], 0.5, *row[3:]] for row in scores]
    flat[4] = [""] * 5
    asked = ["--json", "--protocol", "known", "--revealed", "0", "--matrix"]

    assert main([*asked, written(tmp_path / "flat.csv", flat)]) == 0

    found = json.loads(capsys.readouterr().out)["results"]
    assert all(set(one) == KEYS for one in found)
    assert all(one["weighted_tau"] is not None for one in found if one["method"] in ("ours", "oracle_nearest"))
    assert "flat.csv: left out for want of any number: row 'm4'" in caplog.text
    assert main([*asked, written(tmp_path / "same.csv", [[0.5] * 5 for _ in scores])]) == 1
    assert "tells two models apart" in capsys.readouterr().err


def test_without_json_it_is_a_table_with_the_staticness_of_the_zoo(table: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["--matrix", str(table / "m.csv"), "--protocol", "known", "--revealed", "0"]) == 0

    shown = capsys.readouterr().out
    assert "staticness of this zoo" in shown
    assert "type_weighted" in shown


def test_weighted_tau_is_scipys_and_regret_is_in_points():
    scores = np.array([0.9, 0.5, 0.7, 0.1])

    assert weighted_tau(scores, scores) == pytest.approx(1)
    assert weighted_tau(-scores, scores) == pytest.approx(-1)
    assert np.isnan(weighted_tau(np.zeros(4), scores))
    assert regret(np.array([0, 1, 0.5, 0]), scores) == pytest.approx(0.4)
    assert regret(np.array([0, 1, 0.5, 0]), scores, 2) == pytest.approx(0.2)
    assert normalised(0.15, scores) == pytest.approx(0.15 / 0.3)


def test_what_is_revealed_is_known_and_moves_its_like():
    alike = np.eye(4)
    alike[0, 1] = alike[1, 0] = 0.9
    belief = Belief(np.zeros(4), np.ones(4), np.zeros((4, 0)), alike, (np.log(0.1), 0.3))

    mean, sd = belief.given([0, 3], np.array([0.9, 0.5]))

    assert mean[0] > mean[1] > mean[2] > mean[3]
    assert sd[0] < 0.01
    assert sd[1] < sd[2]
    assert next_best(mean, sd, [0, 3]) in (1, 2)
    assert len(set(chosen(belief, np.array([0.9, 0.8, 0.3, 0.5]), 3))) == 3
