"""One module a kind of job: thin glue between the hub's storage and the composer. Imported inside workers only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

from hub.accounts.models import User
from hub.jobs.models import Job
from hub.jobs.services import Outcome


class Report(Protocol):
    """report(step, of, message, **metrics)"""

    def __call__(self, step: int, of: int, message: str = "", **metrics: Any) -> None: ...


@dataclass(frozen=True)
class Work:
    """All a runner gets: what to do, for whom, where to write, two callbacks, and a token where it needs one."""

    kind: str
    spec: dict[str, Any]
    owner: User
    folder: Path
    report: Report
    cancelled: Callable[[], bool]
    source_token: Callable[[], str | None] = lambda: None
    """Opens what an import may show to the other hub; a call and not a value, so that no `repr` shows it."""
    seal: Callable[[Mapping[str, Any]], dict[str, Any]] = dict
    """Marks what was measured as this claim's (hub/boards/attest.py)."""


Runner = Callable[[Work], Outcome]

# Names, not functions: each imports torch, which must happen in the worker process that uses it and nowhere before.
RUNNERS: dict[str, str] = {
    Job.Kind.RECOMMEND: "hub.jobs.runners.recommend:run",
    Job.Kind.FIT: "hub.jobs.runners.fit:run",
    Job.Kind.BENCHMARK: "hub.jobs.runners.benchmark:run",
    Job.Kind.PREDICT: "hub.jobs.runners.predict:run",
    Job.Kind.IMPORT: "hub.jobs.runners.importing:run",
    Job.Kind.VERIFY: "hub.jobs.runners.verify:run",
    Job.Kind.RETRAIN: "hub.jobs.runners.retrain:run",
}


def load_runner(kind: str) -> Runner:
    """The function that does jobs of this kind."""
    module, _, name = RUNNERS[kind].partition(":")
    return cast(Runner, getattr(import_module(module), name))
