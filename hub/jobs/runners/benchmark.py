"""Job `benchmark`: what composing is worth on a task, with intervals."""

from __future__ import annotations

import json

from composer.benchmark import benchmark
from composer.cache import FeatureCache
from hub.catalog.library import HubStorage
from hub.home import feature_cache
from hub.jobs.runners import Work
from hub.jobs.runners.inputs import is_private, read_task
from hub.jobs.services import Outcome
from hub.jobs.specs import split_rev


def run(work: Work) -> Outcome:
    """The report as JSON. Of a public task everybody reads it, so it tries no private priors."""
    spec = work.spec
    report = benchmark(
        read_task(work),
        library=HubStorage(work.owner, published=not is_private(split_rev(spec["task"])[0])),
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
