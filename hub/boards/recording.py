"""A worker's result becomes a run's: judged again, all of it or nothing, in the transaction that ends its job."""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Mapping, Sequence
from datetime import timedelta
from statistics import fmean
from typing import Any

from django.utils import timezone
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from composer.arms import Arm
from hub.boards import attest, ladder, versions
from hub.boards.attest import ResultRefused
from hub.boards.intervals import error_of, normal, paired, proportion_error, span
from hub.boards.lines import same_line
from hub.boards.models import Board, Outcome, Run
from priors.errors import NotFound

_SKEW = timedelta(minutes=5)
_EXACT = 2e-3
"""How far a score may be from the mean of its rows' parts."""
_LARGEST = 1e30
_BOUNDED = frozenset({"accuracy", "macro_f1", "map"})
_MEAN_OF_ROWS = frozenset({"accuracy", "r2"})


class _Way(BaseModel):
    model_config = ConfigDict(extra="forbid")

    arm: Arm
    name: str = Field(max_length=300)
    members: list[str] = Field(max_length=1000)
    scores: list[float] = Field(max_length=100)
    errors: list[float] = Field(max_length=100)
    seconds: float = Field(ge=0, le=1e7)
    skipped: str = ""
    submitted: bool = False
    hits: str | None = None


class _Measured(BaseModel):
    """What comes from a worker."""

    model_config = ConfigDict(extra="forbid")

    run: str
    edition: str
    data: str
    metric: str = Field(max_length=32)
    test_rows: int = Field(ge=1)
    ways: list[_Way] = Field(max_length=20)
    curve: dict[int, list[_Way]] = Field(max_length=20)
    lock: dict[str, Any]
    facts: dict[str, Any]


def packed(hits: Sequence[float]) -> str:
    """Numbers as text: single precision, base64."""
    kept = (max(-_LARGEST, min(_LARGEST, each)) if each == each else each for each in hits)
    return base64.b64encode(struct.pack(f"<{len(hits)}f", *kept)).decode()


def numbers(content: bytes | memoryview | None) -> list[float]:
    """The numbers in the bytes of `Run.hits`."""
    data = bytes(content or b"")
    return list(struct.unpack(f"<{len(data) // 4}f", data))


def record(*, job_id: Any, fence: int, sent: Mapping[str, Any] | None) -> dict[str, Any]:
    """Fills in the run of this job and gives what its owner may know. Raises ResultRefused for what cannot be so."""
    run = Run.objects.select_for_update(of=("self",)).select_related("hidden", "job").filter(job=job_id).first()
    if run is None:
        raise NotFound("The run of this job is gone.")
    Board.objects.select_for_update().get(pk=run.board_id)  # answers of a board one after the other
    told = _read(attest.opened(attest.token_of(job_id, fence), sent))
    _belongs(run, told)
    own = next((way for way in told.ways if way.submitted), None)
    if own is None or not own.scores or own.hits is None:
        raise ResultRefused("The result has no score of what was submitted.")
    hits = _hits_of(own, told, exact=run.hidden_id is not None)
    error = error_of(hits)
    if told.metric in _BOUNDED:  # all rows right is not certainty
        error = max(error, proportion_error(fmean(own.scores), sum(each == each for each in hits)))
    wide, narrow = span(own.scores, error, 95), span(own.scores, error, 90)
    run.state, run.finished_at = Run.State.SCORED, timezone.now()
    run.data, run.metric, run.test_rows = told.data, told.metric, told.test_rows
    run.mean, run.low, run.high = wide.mean, *_inside(wide.low, wide.high, told.metric)
    run.low90, run.high90 = _inside(narrow.low, narrow.high, told.metric)
    run.error, run.hits, run.lock = error, base64.b64decode(own.hits), told.lock
    run.shown, run.step, needed = _shown(run, hits)
    run.facts = {**told.facts, "needed": needed, "against": [_against(own, hits, way) for way in told.ways[1:]]}
    run.save()
    versions.changed()
    Outcome.objects.bulk_create(
        Outcome(
            run=run, arm=way.arm, name=way.name, members=sorted(way.members), submitted=way.submitted,
            labels=labels, draw=draw, score=score,
            low=score - normal(95) * error, high=score + normal(95) * error, seconds=way.seconds,
        )
        for labels, ways in {run.labels: told.ways, **told.curve}.items()
        for way in ways
        for draw, (score, error) in enumerate(zip(way.scores, way.errors, strict=True))
    )  # fmt: skip
    return {"run": str(run.pk), "shown": run.shown is not None}


def ended(job_id: Any, why: str) -> None:
    """The run of a job that gave no result."""
    Run.objects.filter(job=job_id, state=Run.State.WAITING).update(
        state=Run.State.FAILED, problem=why[:500], finished_at=timezone.now()
    )


def abandoned() -> int:
    """Fails runs that wait for a job that went with its account: they would keep their content off the board."""
    waiting = Run.objects.filter(job=None, state=Run.State.WAITING)
    return waiting.update(
        state=Run.State.FAILED, problem="The account that asked for it was deleted.", finished_at=timezone.now()
    )


def _read(measured: Mapping[str, Any]) -> _Measured:
    try:
        told = _Measured.model_validate(measured)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ResultRefused(f"The result is not whole: {where}: {first['msg']}.") from error
    for way in [*told.ways, *(way for ways in told.curve.values() for way in ways)]:
        if any(not math.isfinite(each) for each in (*way.scores, *way.errors)):
            raise ResultRefused(f"{way.name}: a score is no finite number.")
        if any(each > 1 or (told.metric in _BOUNDED and each < 0) for each in way.scores):
            raise ResultRefused(f"{way.name}: a score lies outside of what {told.metric} can be.")
        if any(each < 0 for each in way.errors):
            raise ResultRefused(f"{way.name}: a standard error is below 0.")
    return told


def _belongs(run: Run, told: _Measured) -> None:
    """Raises ResultRefused for what was measured of another run, of other rows, at another time, or before."""
    now = timezone.now()
    if run.state != Run.State.WAITING:
        raise ResultRefused(f"The run is {run.state} already: a result is recorded once.")
    if told.run != str(run.pk) or told.edition != run.edition:
        raise ResultRefused("The result is of another run, or of another edition of the board.")
    others = Run.objects.filter(board=run.board_id, edition=run.edition, state=Run.State.SCORED).exclude(pk=run.pk)
    known = others.values_list("data", flat=True).first()
    if known is not None and told.data != known:
        raise ResultRefused("The result was measured on other rows than those of this edition.")
    started = run.job.started_at if run.job is not None else None
    if run.created_at > now + _SKEW or started is None or not run.created_at - _SKEW <= started <= now + _SKEW:
        raise ResultRefused("The hub's clock went back while the run was measured. Set it right, and submit again.")
    for way in [*told.ways, *(way for ways in told.curve.values() for way in ways)]:
        if not way.skipped and not len(way.scores) == len(way.errors) == run.draws:
            raise ResultRefused(f"{way.name} has {len(way.scores)} draws; the board has {run.draws}.")


def _hits_of(way: _Way, told: _Measured, *, exact: bool) -> list[float]:
    """Each row's part in the score. Raises ResultRefused where they are not what the scores are the mean of.

    exact  whether every draw was judged on the same rows, so that the mean of one is that of the other
    """
    try:
        found = numbers(base64.b64decode(way.hits or "", validate=True))
    except (ValueError, struct.error) as error:
        raise ResultRefused(f"{way.name}: the parts of the rows cannot be read.") from error
    known = [each for each in found if not math.isnan(each)]
    if len(known) < 2:
        raise ResultRefused(f"{way.name} was judged on {len(known)} rows.")
    same_rows = exact and told.metric in _MEAN_OF_ROWS and len(known) == told.test_rows
    if same_rows and abs(fmean(known) - fmean(way.scores)) > _EXACT:
        raise ResultRefused(f"{way.name}: its score is not the mean of what its rows say.")
    return found


def _inside(low: float, high: float, metric: str) -> tuple[float, float]:
    return (max(low, 0.0) if metric in _BOUNDED else low), min(high, 1.0)


def _shown(run: Run, hits: Sequence[float]) -> tuple[float | None, float, float]:
    """What the ladder lets be seen, the step and what was needed. Of open rows anybody can measure: all of it."""
    if run.hidden_id is None or run.mean is None:
        return run.mean, 0.0, 0.0
    line = same_line(run).filter(edition=run.edition, state=Run.State.SCORED).exclude(pk=run.pk)
    best = line.filter(shown__isnull=False).order_by("-shown").first()
    known = None
    if best is not None and best.mean is not None and best.shown is not None:
        known = ladder.Known(best.mean, best.shown, numbers(best.hits))
    told = ladder.answer(run.mean, hits, known, answers=line.count() + 1, error=run.error or 0.0)
    return told.shown, told.step, told.needed


def _against(own: _Way, hits: Sequence[float], other: _Way) -> dict[str, Any]:
    """What one of the compulsory ways scored, and by how much the submission is above it."""
    said: dict[str, Any] = {"arm": other.arm, "name": other.name, "members": other.members}
    if other.skipped or not other.scores:
        return said | {"skipped": other.skipped or "not measured"}
    theirs = numbers(base64.b64decode(other.hits or ""))
    gain = paired(own.scores, other.scores, hits, theirs, 95)
    mean = span(other.scores, fmean(other.errors), 95)
    return said | {
        "mean": mean.mean, "low": mean.low, "high": mean.high,
        "gain": gain.mean, "gain_low": gain.low, "gain_high": gain.high, "seconds": other.seconds,
    }  # fmt: skip
