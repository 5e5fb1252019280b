"""What a history adds to the labelled rows: terms that sum, more weight the fewer the rows, the nearest past tasks."""

import numpy as np
import pytest

from composer.choices import Ranking
from composer.cli import _history
from composer.past import Past, card_of, history_at, history_of, name_of, ranker_at
from composer.rank.history import History, Outcome, PriorCard, TaskCard, write_outcomes
from composer.rank.learned import Gate, Prediction, Ranker, retrain
from composer.rank.probe import Targets, gram, probe
from composer.recommend import recommend
from priors.errors import HubUnreachable, NotFound
from tests.composer._made_up import function_library, table_task, text_task
from tests.composer.test_explain import unit

NAMES = ("good", "fair", "poor", "bad")


def history(order=NAMES, tasks: int = 8, spread: float = 0.05) -> History:
    """Tasks on which priors of these names did ever worse, in this order."""
    rng = np.random.default_rng(0)
    scores = np.linspace(0.9, 0.6, len(order))[:, None] + spread * rng.normal(size=(len(order), tasks))
    priors = tuple(PriorCard(f"lab/{name}#out", text=name) for name in order)
    return History(priors, tuple(TaskCard(f"old {i}", "text", "multiclass", 3) for i in range(tasks)), scores)


class Manifest:
    parameters, size_bytes, tags, modality, kind, architecture, name, summary = (
        1,
        4,
        (),
        "text",
        "network",
        None,
        "",
        "",
    )


def past(known: History, names=NAMES, ranker: Ranker | None = None) -> Past:
    units = [unit(name) for name in names]
    return Past(known, text_task(), units, {one.candidates[0]: Manifest() for one in units}, ranker)


def probes(rows: int, noise: float = 0.6, names=NAMES) -> dict:
    """Leave-one-out of blocks that know ever more of the classes: the other way round than the history."""
    rng = np.random.default_rng(1)
    labels = np.arange(rows) % 3
    targets = Targets.of_classes(labels, 3)
    return {
        f"{name} (text)": probe(gram(i * np.eye(3)[labels] + noise * rng.normal(size=(rows, 3))), targets)
        for i, name in enumerate(names)
    }


def test_terms_sum_and_rows_count_the_more_the_more_there_are():
    known = past(history())
    few, many = known.join(probes(12)), known.join(probes(300))

    for stands in (*few.values(), *many.values()):
        assert sum(stands.terms.values()) == pytest.approx(stands.standing, abs=1e-3)
        assert stands.terms["rows"] != 0 and stands.sd > 0
    assert many["bad (text)"].standing > few["bad (text)"].standing
    assert many["bad (text)"].standing > many["good (text)"].standing
    assert many["good (text)"].sd < few["good (text)"].sd
    alone = known.join({})
    assert alone["good (text)"].standing > alone["bad (text)"].standing
    assert "rows" not in alone["good (text)"].terms


def test_what_the_history_does_not_know_is_judged_by_its_card_with_a_wide_error():
    stands = past(history(), (*NAMES, "new")).join({})

    assert set(stands["new (text)"].terms) == {"card"}
    assert stands["new (text)"].sd > stands["good (text)"].sd


def test_leaders_are_those_that_may_be_the_best():
    known = past(history(spread=0.01))
    names = [f"{name} (text)" for name in NAMES]

    assert known.leaders(names, {})[0] == "good (text)"
    assert "bad (text)" not in known.leaders(names, {})
    assert known.leaders([], {}) == []


def test_the_learned_tier_corrects_the_past_where_its_gate_is_open_and_says_why_where_not():
    def learned(task, cards, cold):
        return Prediction(np.linspace(-2.0, 2.0, len(cards)), np.full(len(cards), 0.4))

    corrected = Ranker({"text": Gate(True, 0.1, 0.05, 0.2, 9, "on: +0.100")}, {"text": learned})
    closed = Ranker({"text": Gate(False, 0.0, -0.1, 0.1, 9, "off: +0.000")}, {})

    plain, told, shut = (past(history(), ranker=one) for one in (None, corrected, closed))

    assert plain.learned == "learned tier off: none was trained on this history"
    assert (told.learned, shut.learned) == ("learned tier on: +0.100", "learned tier off: +0.000")
    assert plain.join({}) == shut.join({})
    for name, stands in told.join(probes(12)).items():
        assert sum(stands.terms.values()) == pytest.approx(stands.standing, abs=1e-3)
        assert stands.terms["learned"] != 0, name
    assert told.join({})["bad (text)"].standing > plain.join({})["bad (text)"].standing + 1


def test_the_learned_tier_is_fetched_from_the_hub_where_it_has_one(tmp_path):
    retrain(history(tasks=4), tmp_path, lambda *_: None, lambda: False)

    class Trained:
        def pull(self, repo):
            assert repo == "priorhub/ranker"
            return tmp_path

    class Empty:
        def pull(self, repo):
            raise NotFound(f"there is no {repo}")

    assert not ranker_at(Trained()).gates["text"].enabled
    assert ranker_at(Empty()) is None
    (tmp_path / "ranker.json").write_text("{}")
    assert ranker_at(Trained()) is None


def test_the_nearest_tasks_say_how_far_they_agree():
    found = past(history()).nearest(probes(300))

    assert len(found) == 3
    assert all(near.task.startswith("old") and near.agreement < 0 for near in found)
    assert found[0].best.startswith("lab/")
    assert past(history(), ("new", "newer")).nearest({})[0].agreement is None


def test_priors_that_score_the_same_agree_with_nothing():
    known = past(history())
    same = dict.fromkeys(probes(12), next(iter(probes(12).values())))

    assert all(near.agreement is None for near in known.nearest(same))


def test_a_perfect_score_on_few_rows_is_as_unsure_as_it_is():
    """The interval of 12 of 12 is cut off at 1: half of it would be half the noise."""
    known = past(history())
    found = probes(12, noise=0.0)
    perfect = found["bad (text)"]
    stands = known.join({"bad (text)": perfect, "good (text)": found["good (text)"]})["bad (text)"]

    assert perfect.score == 1
    noise = perfect.error / max(float(np.std([perfect.score, found["good (text)"].score])), perfect.error)
    past_weight = known.join({})["bad (text)"].sd ** -2
    assert stands.sd == pytest.approx((past_weight + 1 / (noise**2 + 0.3**2)) ** -0.5, abs=1e-3)


def test_a_ranking_with_a_history_says_so_and_keeps_its_scores(tmp_path):
    task, library = text_task(), function_library(tmp_path / "priors")
    names = ("char-ngrams", "word-ngrams", "text-statistics")
    known = History(
        tuple(PriorCard(f"priorhub/{name}#out") for name in names),
        tuple(TaskCard(f"t{i}", "text") for i in range(4)),
        np.array([[0.8, 0.7, 0.9, 0.8], [0.7, 0.8, 0.8, 0.7], [0.3, 0.4, 0.2, 0.3]]),
    )

    plain = recommend(task, library=library, cache=tmp_path / "cache")
    told = recommend(task, library=library, cache=tmp_path / "cache", history=known)

    assert [choice.expected for choice in told.singles] == [choice.expected for choice in plain.singles]
    assert plain.explained.stands == plain.explained.nearest == ()
    assert [one.name for one in told.explained.stands][-1] == "text-statistics"
    assert len(told.explained.nearest) == 3
    assert (plain.explained.learned, told.explained.learned[:16]) == ("", "learned tier off")
    assert Ranking.from_dict(told.to_dict()).to_dict() == told.to_dict()


def test_what_a_hub_measured_is_a_history():
    row = {"arm": "single", "labels": 16, "draw": 0, "low": 0.1, "high": 0.9, "seconds": 1.0, "later": "unknown"}
    outcomes = [
        {**row, "task": f"ann/t{t}", "members": [f"lab/{name}#out"], "score": 0.5 + 0.1 * i}
        for t in range(3)
        for i, name in enumerate(NAMES)
    ]
    tasks = [{"name": f"ann/t{t}", "modality": "text", "classes": 3} for t in range(3)]
    content = {"outcomes": outcomes, "tasks": tasks, "priors": [{"name": "lab/good#out", "tags": ["text"]}]}

    found = history_of(content)

    assert found.scores.shape == (4, 3)
    assert {prior.name: prior.tags for prior in found.priors}["lab/good#out"] == {"text"}
    assert found.tasks[0].modality == "text"
    assert history_of({**content, "tasks": tasks[:2]}) is None

    class Away:
        def history(self):
            raise HubUnreachable("no hub is there")

    assert history_at(Away()) is None


def test_tasks_and_units_are_named_as_histories_name_them():
    card = card_of(table_task())

    assert (card.modality, card.kind, card.classes, card.rows, card.metric) == ("tab", "regression", 0, 60, "r2")
    assert card_of(text_task()).modality == "text"
    assert name_of(unit("good")) == "lab/good#out"


def test_the_command_line_reads_a_table_or_runs(tmp_path):
    table = tmp_path / "past.csv"
    table.write_text("model,t1,t2\nlab/good#out,0.9,0.8\nlab/bad#out,0.5,\n")
    runs = [Outcome("t1", ("lab/good#out",), "single", 16, draw, 0.9, 0.8, 1.0, 1.0) for draw in range(2)]
    write_outcomes(tmp_path / "past.parquet", runs, [TaskCard("t1", "text")])

    assert _history(table).scores.shape == (2, 2)
    assert _history(tmp_path / "past.parquet").priors[0].name == "lab/good#out"
    assert _history(None) is None
