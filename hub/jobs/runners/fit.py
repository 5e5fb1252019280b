"""Job `fit`: a composition fitted to a task and published as a repository."""

from __future__ import annotations

from composer.cache import FeatureCache
from composer.fit import fit
from composer.graph import Graph
from composer.past import history_of
from hub.boards import ranker
from hub.boards.history import past
from hub.catalog.library import HubStorage
from hub.home import feature_cache
from hub.jobs.runners import Work
from hub.jobs.runners.inputs import is_private, read_task
from hub.jobs.services import Outcome, Push
from hub.repos.models import Repository


def run(work: Work) -> Outcome:
    """Ids and report of the fitted model; its folder becomes a commit of `push_to` together with the result.

    A public model names what it was made of and what was tried: so private priors are not tried for one, and a
    composition that names some becomes a private repository.
    """
    spec = work.spec
    given = spec["composition"]
    composition = fit(
        read_task(work),
        None if given is None else Graph.from_dict(given),
        library=HubStorage(work.owner, published=given is None and not spec["private"]),
        history=history_of(past().to_dict()) if given is None else None,
        ranker=ranker.trained() if given is None else None,
        cache=FeatureCache(feature_cache()),
        seed=spec["seed"],
        fusion=spec["fusion"],
        class_weights=spec["class_weights"],
        adapt=spec["adapt"],
        budget_seconds=spec["budget_seconds"],
        report=work.report,
        cancelled=work.cancelled,
    )
    folder = work.folder / "model"
    composition.save(folder)
    task = spec["task"].partition("@")[0]
    private = spec["private"] or any(is_private(ref.repo) for ref in composition.lock.priors.values())
    push = Push(folder, spec["push_to"], Repository.Kind.COMPOSITION, f"Fit to {task}", private=private)
    result = {"structure": composition.structure, "model": composition.model, "report": composition.report}
    return Outcome(result, push)
