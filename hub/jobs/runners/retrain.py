"""Job `retrain`: the learned tier of the ranker, judged and trained from what this hub measured."""

from __future__ import annotations

from dataclasses import asdict

from composer.past import history_of
from composer.rank.learned import retrain
from hub.boards.history import past
from hub.boards.ranker import REPOSITORY
from hub.jobs.runners import Work
from hub.jobs.services import Outcome, Push
from hub.repos.models import Repository


def run(work: Work) -> Outcome:
    """The verdict for each modality; the networks that passed become a commit of the ranker's repository."""
    history = history_of(past().to_dict())
    if history is None:
        return Outcome({"gates": {}, "why": "Too few tasks were measured to learn from."})
    folder = work.folder / "ranker"
    gates = retrain(history, folder, work.report, work.cancelled)
    shown = {modality or "none": asdict(gate) for modality, gate in gates.items()}
    on = ", ".join(modality for modality, gate in shown.items() if gate["enabled"]) or "no modality"
    push = Push(folder, REPOSITORY, Repository.Kind.PLAIN, f"Trained on {len(history.tasks)} tasks: on for {on}")
    return Outcome({"gates": shown}, push)
