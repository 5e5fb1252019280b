"""The history that comes with the program: what it must hold, by what is in the file."""

from collections import Counter

from composer.arms import PLACEBOS
from composer.rank.history import History
from composer.rank.starter import STARTER_HISTORY, starter_history, starter_priors, starter_scores


def test_it_is_small_and_holds_what_a_history_must():
    outcomes, cards = starter_history()
    modality = {card.name: card.modality for card in cards}
    paired = {one.task for one in outcomes if one.arm == "set" and len(one.members) == 2}
    placebos: dict[str, set[str]] = {}
    for one in outcomes:
        placebos.setdefault(one.task, set()).add(one.arm)

    assert STARTER_HISTORY.stat().st_size < 1_000_000
    assert len(cards) >= 30
    assert {"text", "image", "audio", "tab", "series"} == set(modality.values())
    assert len(paired) >= 12
    assert {one.labels for one in outcomes} >= {16, 64, 0}
    assert {one.draw for one in outcomes} == {0, 1, 2}
    for task, arms in placebos.items():
        wanted = set(PLACEBOS) if modality[task] in ("text", "image", "audio") else PLACEBOS - {"random_weights"}
        assert arms >= wanted, task
    assert all(one.low <= one.score <= one.high for one in outcomes)
    assert all(not one.members for one in outcomes if one.arm in PLACEBOS)
    assert max(Counter((o.task, o.members, o.arm, o.labels, o.draw) for o in outcomes).values()) == 1


def test_priors_that_were_run_on_several_tasks_are_known_and_become_a_matrix():
    outcomes, cards = starter_history()
    known = starter_priors()

    assert {"priorhub/all-minilm-l6-v2", "priorhub/char-ngrams", "priorhub/efficientnet-lite0"} <= known
    assert not any("placebo" in name or "random-0" in name for name in known)
    texts = History.of_outcomes(outcomes, cards, labels=16).of_modality("text")
    assert "priorhub/all-minilm-l6-v2#*" in {prior.name for prior in texts.priors}
    assert len(texts.tasks) >= 12


def test_scores_are_there_without_the_tasks_of_a_source():
    every, part = starter_scores(), starter_scores(without="snippets")

    left = {task.name for task in every.tasks} - {task.name for task in part.tasks}
    assert left == {task.name for task in every.tasks if task.name.startswith("snippets/")} and len(left) > 3
    assert "priorhub/all-minilm-l6-v2#*" in {prior.name for prior in part.priors}
