"""Job `benchmark`: what composing is worth on a task, with intervals."""

from __future__ import annotations

import json

from composer.benchmark import benchmark
from composer.cache import FeatureCache
from hub.catalog.library import HubStorage
from hub.home import feature_cache
from hub.jobs.runners import Work
from hub.jobs.runners.inputs import read_task
from hub.jobs.services import Outcome
from hub.jobs.specs import split_rev
from hub.repos.models import Repository


def run(work: Work) -> Outcome:
    """The report as JSON. Whoever reads the task reads it, so it tries no priors that some of them may not see."""
    spec = work.spec
    task = Repository.objects.open_to(work.owner).named(split_rev(spec["task"])[0]).first()
    report = benchmark(
        read_task(work),
        library=HubStorage(work.owner, published=True, beside=task),
        cache=FeatureCache(feature_cache()),
        labels_per_class=spec["labels_per_class"],
        draws=spec["draws"],
        curve=spec["curve"],
        test_rows=spec["test_rows"],
        seed=spec["seed"],
        report=work.report,
        cancelled=work.cancelled,
    )
    return Outcome(json.loads(report.to_json()))
