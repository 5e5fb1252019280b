"""What a history is made of: published tables, and runs with draws and labels."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from composer.rank.history import History, Outcome, PriorCard, TaskCard, read_outcomes, write_outcomes
from priors.errors import BadTable

TABLE = "model,news,digits\nbig,0.9,0.8\nsmall,0.7,\n"


def written(folder: Path, text: str, name: str = "table.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def run(task: str, member: str, labels: int, draw: int, score: float) -> Outcome:
    return Outcome(task, (member,), "single", labels, draw, score, score - 0.1, score + 0.1, 1.0)


def test_a_table_has_a_model_a_row_and_gaps_where_nothing_was_measured(tmp_path: Path):
    history = History.of_table(written(tmp_path, TABLE))

    assert [prior.name for prior in history.priors] == ["big", "small"]
    assert [task.name for task in history.tasks] == ["news", "digits"]
    np.testing.assert_array_equal(history.scores, [[0.9, 0.8], [0.7, np.nan]])
    assert len(history) == 3


def test_metadata_becomes_numbers_and_tags(tmp_path: Path):
    meta = (
        "model,params,released,open,family,context\nbig,1e9,2024-07-01,True,ViT,inf\nsmall,,2023-01-01,False,RN,512\n"
    )

    history = History.of_table(written(tmp_path, TABLE), written(tmp_path, meta, "meta.csv"))

    big, small = history.priors
    assert big.numbers == {"params": 1e9, "released": 2024.5, "open": 1.0}
    assert big.tags == {"family=ViT"}
    assert small.numbers == {"released": 2023.0, "open": 0.0, "context": 512.0}


def test_flags_of_training_follow_the_names_not_the_order(tmp_path: Path):
    flags = ",digits,news\nsmall,1,0\n"

    history = History.of_table(written(tmp_path, TABLE), trained_on=written(tmp_path, flags, "flags.csv"))

    assert history.trained_on is not None
    np.testing.assert_array_equal(history.trained_on, [[0, 0], [0, 1]])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("model\nbig\n", "one column"),
        ("model,news\n", "no rows"),
        ("model,news\nbig,0.9\nbig,0.8\n", "row 'big' twice"),
        ("model,news,news\nbig,0.9,0.8\n", "column 'news' twice"),
        ("model,news\nbig,good\n", "'big', column 'news': 'good' is no number"),
        ("model,news,digits\nbig,,\nsmall,,nan\n", "holds no number"),
        ("model,news,digits\nbig,0.9\n", "line 2: 2 cells"),
        ("model,news\n,0.9\n", "row without a name"),
    ],
)
def test_what_is_no_table_of_results_is_refused_by_name(tmp_path: Path, text: str, said: str):
    with pytest.raises(BadTable, match=said):
        History.of_table(written(tmp_path, text))


def test_rows_and_columns_without_results_are_left_out_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    history = History.of_table(written(tmp_path, "model,news,digits\nbig,0.9,\nsmall,,nan\nother,0.1,\n"))

    assert [prior.name for prior in history.priors] == ["big", "other"]
    assert [task.name for task in history.tasks] == ["news"]
    assert "row 'small'" in caplog.text
    assert "column 'digits'" in caplog.text


def test_metadata_of_other_models_is_refused(tmp_path: Path):
    with pytest.raises(BadTable, match="none of the models"):
        History.of_table(written(tmp_path, TABLE), written(tmp_path, "model,params\nother,3\n", "meta.csv"))


def test_a_file_that_is_missing_or_no_text_is_refused(tmp_path: Path):
    with pytest.raises(BadTable, match="cannot be read"):
        History.of_table(tmp_path / "none.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(BadTable, match="no CSV"):
        History.of_table(tmp_path / "binary.csv")


def test_draws_are_averaged_and_placebos_left_out():
    cards = [TaskCard("news", "text")]
    runs = [run("news", "a", 16, draw, score) for draw, score in enumerate((0.6, 0.8))]
    placebo = replace(runs[0], members=(), arm="no_prior", score=0.99)

    history = History.of_outcomes(
        [*runs, placebo, run("unknown", "a", 16, 0, 0.1)], cards, [PriorCard("a", tags={"x"})]
    )

    assert history.scores.tolist() == [[pytest.approx(0.7)]]
    assert history.priors[0].tags == {"x"}
    assert history.tasks == (cards[0],)


def test_a_prior_that_was_run_with_more_labels_is_not_better_for_it():
    runs = [run("news", name, 16, 0, 0.5) for name in "abc"] + [run("news", name, 0, 0, 0.9) for name in "ab"]

    history = History.of_outcomes(runs, [TaskCard("news")])

    np.testing.assert_allclose(history.scores[:, 0], 0.7)
    assert History.of_outcomes(runs, [TaskCard("news")], labels=0).scores.shape == (2, 1)


def test_sets_are_priors_of_their_own_where_they_are_asked_for():
    pair = replace(run("news", "b", 16, 0, 0.8), members=("b", "a"), arm="set")

    assert not History.of_outcomes([pair], [TaskCard("news")]).priors
    assert History.of_outcomes([pair], [TaskCard("news")], arms=("set",)).priors[0].name == "a + b"


def test_parts_leave_tasks_priors_and_other_modalities_out():
    cards = [TaskCard("news", "text"), TaskCard("digits", "image")]
    history = History.of_outcomes([run("news", "a", 0, 0, 0.5), run("digits", "b", 0, 0, 0.7)], cards)

    assert [task.name for task in history.without_tasks({"news"}).tasks] == ["digits"]
    assert [prior.name for prior in history.without_priors({"a"}).priors] == ["b"]
    images = history.of_modality("image")
    assert ([prior.name for prior in images.priors], images.scores.tolist()) == (["b"], [[0.7]])


def test_runs_keep_everything_in_parquet_and_the_same_runs_are_the_same_bytes(tmp_path: Path):
    cards = [TaskCard("news", "text", "multiclass", 7, 1440, "accuracy", "topics", "what a text is about")]
    runs = [run("news", "a", 16, draw, 0.5 + draw / 10) for draw in range(3)]

    for name in ("one", "two"):
        write_outcomes(tmp_path / name, runs, cards)

    assert read_outcomes(tmp_path / "one") == (runs, cards)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    with pytest.raises(BadTable, match="no card"):
        write_outcomes(tmp_path / "three", runs, [])
    with pytest.raises(BadTable, match="no Parquet"):
        read_outcomes(written(tmp_path, "text"))
