"""Job `recommend`: which priors to use for a task."""

from __future__ import annotations

import json

from composer.cache import FeatureCache
from composer.past import history_of
from composer.recommend import recommend
from hub.boards import ranker
from hub.boards.history import past
from hub.catalog.library import HubStorage
from hub.home import feature_cache
from hub.jobs.runners import Work
from hub.jobs.runners.inputs import read_task
from hub.jobs.services import Outcome


def run(work: Work) -> Outcome:
    """The ranking as JSON."""
    ranking = recommend(
        read_task(work),
        library=HubStorage(work.owner),
        limits=work.spec["limits"],
        history=history_of(past().to_dict()),
        ranker=ranker.trained(),
        cache=FeatureCache(feature_cache()),
        report=work.report,
        cancelled=work.cancelled,
    )
    return Outcome(json.loads(ranking.to_json()))
