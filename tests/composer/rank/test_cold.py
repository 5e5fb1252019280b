"""What the cold tier says of priors on a task of which only the card is known."""

from dataclasses import replace

import numpy as np
import pytest

from composer.rank.cold import Cold, Limits, cold
from composer.rank.history import History, PriorCard, TaskCard
from composer.rank.inherit import folds_of
from composer.rank.kriging import _Basis, _solve
from composer.rank.likeness import Metadata, families
from composer.rank.standing import blended, leading, normal

GENERAL = 24


def world(seed: int = 0) -> History:
    """Priors of two families: large ones are better; those of `pixel` are better on images than on texts. Of the
    tasks half are of each type."""
    rng = np.random.default_rng(seed)
    sizes = rng.uniform(6, 9, GENERAL)
    kinds = np.arange(GENERAL) % 4
    priors = tuple(
        PriorCard(
            f"maker{kind}/model-{i}",
            {"parameters": 10**size, "memory_mb": 10.0 * i, "price": float(i % 2)},
            frozenset({f"org=maker{kind}", f"modality={'image' if kind % 2 else 'text'}", "permits=share"}),
        )
        for i, (size, kind) in enumerate(zip(sizes, kinds, strict=True))
    )
    tasks = tuple(TaskCard(f"{kind} {i}", kind, type=kind) for i in range(6) for kind in ("image", "text"))
    lean = np.where(kinds % 2, 1.0, -1.0)
    sign = np.array([1.0 if task.type == "image" else -1.0 for task in tasks])
    truth = (sizes - 7.5)[:, None] + 0.8 * lean[:, None] * sign[None, :]
    return History(priors, tasks, truth + 0.2 * rng.standard_normal(truth.shape))


@pytest.fixture(scope="module")
def history() -> History:
    return world()


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a, b)[0, 1])


def test_a_task_is_predicted_by_those_of_its_type(history: History):
    rest = history.without_tasks({"image 0"})
    tier = Cold(rest)
    truth = history.scores[:, 0]

    found = tier.ask(history.tasks[0])

    assert correlation(found.mean, truth) > 0.9
    assert correlation(found.mean, truth) > correlation(tier.ask(TaskCard("else")).mean, truth) + 0.05
    assert all(task.type == "image" for task in tier.nearest(history.tasks[0]))


@pytest.mark.parametrize("smooth", [0.0, 1.0])
def test_tasks_of_one_source_are_left_out_together_as_if_they_had_not_been_run(history: History, smooth: float):
    rng = np.random.default_rng(0)
    values, subject = (
        normal(history.scores),
        np.array([[0.5 + 0.5 * (i % 2 == j % 2) for j in range(12)] for i in range(12)]),
    )
    noise, basis = rng.uniform(0.5, 2, 12), _Basis.of(Metadata.of(history.priors).alike(slice(None)), smooth)
    out, rest = np.array([0, 3, 4]), np.array([1, 2, 5, 6, 7, 8, 9, 10, 11])

    _, found = _solve(values, 1 + subject, noise, basis, [out])
    _, alone = _solve(values, 1 + subject, noise, basis, [])
    without, _ = _solve(values[:, rest], 1 + subject[np.ix_(rest, rest)], noise[rest], basis, [])

    np.testing.assert_allclose(found[:, out], without @ (1 + subject[np.ix_(rest, out)]), atol=1e-8)
    np.testing.assert_array_equal(found[:, rest], alone[:, rest])


def test_of_many_priors_the_best_known_teach_what_cards_say(history: History, monkeypatch: pytest.MonkeyPatch):
    scores = history.scores.copy()
    scores[::4, 2:] = np.nan  # a family with few results
    few = replace(history, scores=scores)
    known = families(history.priors)
    card = replace(history.priors[1], name="maker9/new", tags=frozenset({"org=maker9", "modality=image"}))
    whole = Cold(few, [card])
    monkeypatch.setattr("composer.rank.inherit.MOST_LEARNED", 18)

    tier = Cold(few, [card])

    assert tier.inherited is not None and whole.inherited is not None
    assert tier.inherited.rows.tolist() == [i for i in range(GENERAL) if i % 4]
    assert tier.inherited.left_out.shape == (GENERAL, 18)
    folds = folds_of(known)
    for i, row in enumerate(tier.inherited.left_out):
        own = folds[tier.inherited.rows] == folds[i]
        assert not row[own].any() and row[~own].any(), history.priors[i].name
    asked = TaskCard("image 9", "image", type="image")
    assert correlation(tier.ask(asked).mean, whole.ask(asked).mean) > 0.95


def test_tasks_cut_from_the_same_rows_make_nobody_sure(history: History):
    """Priors that say nothing of other tasks: of three cuts of a data set each knows the other two by their names."""
    named = ("apples", "trucks", "violins", "stones", "letters", "clouds")
    scores = np.random.default_rng(0).standard_normal((GENERAL, 6)).repeat(3, axis=1)
    tasks = [TaskCard(f"{named[i // 3]} {i % 3}", "image", source=named[i // 3]) for i in range(18)]
    honest = History(history.priors, tuple(tasks), scores)
    silent = replace(honest, tasks=tuple(replace(task, source="") for task in tasks))

    sure, unsure = (Cold(one).ask(TaskCard("flowers", "image")) for one in (silent, honest))

    assert np.median(unsure.sd) > 0.9
    assert np.median(sure.sd) < 0.8
    assert np.median(unsure.high - unsure.low) > 1.2 * np.median(sure.high - sure.low)
    assert honest.sources().tolist() == [i // 3 for i in range(18)]
    assert silent.sources().tolist() == list(range(18))


def test_the_terms_sum_to_the_mean(history: History):
    found = Cold(history).ask(TaskCard("image 9", "image", type="image"))

    np.testing.assert_allclose(sum(found.terms.values()), found.mean, atol=1e-12)
    assert set(found.terms) == {"general", "subject", "letters"}


def test_a_prior_without_history_is_predicted_from_its_card_with_a_wider_error_bar(history: History):
    cards = [
        PriorCard("maker1/new-large", {"parameters": 9e8}, frozenset({"org=maker1", "modality=image"})),
        PriorCard("maker1/new-small", {"parameters": 2e6}, frozenset({"org=maker1", "modality=image"})),
    ]
    tier = Cold(history, cards)

    found = tier.ask(TaskCard("image 9", "image", type="image"))

    large, small = found.mean[-2:]
    assert large > small + 0.5
    assert found.known[-2:].tolist() == [0, 0]
    assert found.sd[-1] > 1.05 * np.median(found.sd[:-2])
    assert found.high[-1] - found.low[-1] > np.median((found.high - found.low)[:-2])


def test_a_prior_with_one_lucky_result_does_not_lead(history: History):
    scores = history.scores.copy()
    lucky = int(np.argmin(history.scores.mean(axis=1)))
    scores[lucky, 1:] = np.nan
    scores[lucky, 0] = 99.0

    found = Cold(replace(history, scores=scores)).ask(TaskCard("text 9", "text", type="text"))

    assert lucky not in found.best(3)
    assert found.sd[lucky] > np.median(found.sd)


def test_intervals_hold_for_nine_in_ten_tasks_that_were_left_out():
    inside = []
    history = world(1)
    truth = (normal(history.scores) + leading(history.scores)) / 2
    metadata = Metadata.of(history.priors)
    for t, task in enumerate(history.tasks):
        found = Cold(history.without_tasks({task.name}), metadata=metadata).ask(task)
        inside.append(np.mean((found.low <= truth[:, t]) & (truth[:, t] <= found.high)))
    assert 0.8 <= np.mean(inside) <= 0.98


def test_intervals_hold_where_most_of_the_history_is_missing():
    """What a prior did on one task must not fill in what it would have done on the others, when that one is left out:
    the intervals held three quarters then."""
    held = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        scores = rng.standard_normal(40)[:, None] + 3.0 * rng.standard_normal((40, 17))
        known = np.where(rng.random((40, 16)) < 0.12, scores[:, :16], np.nan)
        known[np.arange(40), np.arange(40) % 16] = scores[np.arange(40), np.arange(40) % 16]
        priors = tuple(PriorCard(f"maker{i % 5}/model-{i}") for i in range(40))
        found = Cold(History(priors, tuple(TaskCard(f"t{j}", "text") for j in range(16)), known)).ask(TaskCard("new"))
        truth = blended(scores[:, 16:])[:, 0]
        held.append(np.mean((found.low <= truth) & (truth <= found.high)))

    assert 0.85 <= np.mean(held) <= 0.97


def test_one_result_of_each_prior_is_no_obstacle():
    priors = tuple(PriorCard(f"maker{i % 3}/model-{i}") for i in range(9))
    scores = np.full((9, 3), np.nan)
    scores[np.arange(9), np.arange(9) // 3] = np.arange(9.0)
    scores[8] = np.nan

    for known in (scores, np.where(np.arange(3) == 1, scores, np.nan)):
        found = Cold(History(priors, tuple(TaskCard(f"t{j}") for j in range(3)), known)).ask(TaskCard("new"))
        assert np.isfinite(found.mean).all() and (found.low < found.mean).all()


def test_limits_come_first_and_say_whom_they_left_out(history: History):
    unstated = PriorCard("maker9/unstated", {}, frozenset({"modality=image", "permits=share"}))

    found = Cold(history, [unstated]).ask(
        TaskCard("image 9"), Limits(modality="image", permission="share", memory_mb=100, price=0)
    )

    assert set(found.refused) == {"modality", "permits", "memory_mb", "price"}
    assert found.refused["memory_mb"][-1]
    for row in found.best(5):
        card = (*history.priors, unstated)[int(row)]
        assert "modality=image" in card.tags
        assert card.numbers["memory_mb"] <= 100
        assert card.numbers["price"] == 0
    assert not Cold(history).ask(TaskCard("x"), Limits(permission="sell")).allowed.any()


def test_having_seen_the_data_is_a_term_of_its_own(history: History):
    flags = np.zeros(history.scores.shape)
    flags[::3] = 1.0
    seen = replace(history, scores=history.scores + 0.8 * flags, trained_on=flags)

    found = Cold(seen.without_tasks({"image 0"})).ask(history.tasks[0], trained_on=flags[:, 0])

    assert "trained_on" not in Cold(history).ask(history.tasks[0]).terms
    assert set(np.round(found.terms["trained_on"], 9)) == {0.0, round(float(found.terms["trained_on"].max()), 9)}


def test_the_same_question_has_the_same_answer(history: History):
    one, two = (
        Cold(history, metadata=Metadata.of(history.priors)).ask(TaskCard("image 9", "image", type="image"))
        for _ in range(2)
    )

    np.testing.assert_array_equal(one.mean, two.mean)


def test_next_to_nothing_is_known_without_history():
    cards = [PriorCard("a"), PriorCard("b")]

    priors, found = cold(History((), (), np.zeros((0, 0))), TaskCard("x"), cards)
    assert [card.name for card in priors] == ["a", "b"]
    assert (found.mean == 0).all()
    assert (found.sd >= 1).all()

    _, one = cold(History(tuple(cards), (TaskCard("y"),), np.array([[0.9], [0.1]])), TaskCard("x"))
    assert one.mean[0] > one.mean[1]


def test_a_history_with_gaps_and_a_constant_task_is_no_obstacle(history: History):
    scores = history.scores.copy()
    scores[np.random.default_rng(0).random(scores.shape) < 0.4] = np.nan
    scores[:, 3] = 0.5

    found = Cold(replace(history, scores=scores)).ask(TaskCard("image 9", "image", type="image"))

    assert np.isfinite(found.mean).all()
    assert correlation(found.mean, history.scores[:, ::2].mean(axis=1)) > 0.75
