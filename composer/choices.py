"""What the ranker answers: candidates, choices, a ranking. Plain values that travel as JSON; needs neither numpy nor
torch."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, Protocol, get_args

from priors.errors import BadTask
from priors.licenses import normalise, permissions
from priors.manifest import PriorManifest, PriorRef

Kind = Literal["none", "single", "taps", "set"]
License = Literal["any", "sell"]


class Report(Protocol):
    """Told about progress: step `step` of `of`, in words, with numbers."""

    def __call__(self, step: int, of: int, message: str, **metrics: Any) -> None: ...


def silent(step: int, of: int, message: str, **metrics: Any) -> None:
    """A Report that says nothing."""


def within(report: Report, outer: int, outer_of: int, what: str = "") -> Report:
    """A report whose steps are the parts of step `outer` of another."""

    def inner(step: int, of: int, message: str, **metrics: Any) -> None:
        report(outer, outer_of, f"{what}{message}: {step:,} of {of:,}", **metrics)

    return inner


def never() -> bool:
    """A cancellation check that never asks to stop."""
    return False


Cancelled = Callable[[], bool]


@dataclass(frozen=True)
class Candidate:
    """One block of features: a tap of a prior, read from one column (or from all number columns together)."""

    ref: PriorRef
    tap: str
    column: str | tuple[str, ...]

    @property
    def name(self) -> str:
        """What people read: the prior's name, with the tap where there is a choice."""
        return self.ref.name if self.tap == "out" else f"{self.ref.name} · {self.tap}"

    @property
    def place(self) -> str:
        """The column, to be said after the name where a task has several; nothing for number columns together."""
        return f" ({self.column})" if isinstance(self.column, str) else ""


@dataclass(frozen=True)
class Member:
    """A block in a choice, with its part of the whole (parts sum to 1)."""

    candidate: Candidate
    weight: float

    def to_dict(self) -> dict[str, Any]:
        column = self.candidate.column
        return {
            "ref": str(self.candidate.ref),
            "tap": self.candidate.tap,
            "column": column if isinstance(column, str) else list(column),
            "weight": round(self.weight, 6),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Member:
        column = content["column"]
        return cls(
            Candidate(
                PriorRef.parse(content["ref"]),
                content["tap"],
                column if isinstance(column, str) else tuple(column),
            ),
            float(content["weight"]),
        )


@dataclass(frozen=True)
class Choice:
    """Something to fit, and what to expect of it.

    expected, low, high  leave-one-out score on the labelled rows (accuracy, or R²) with a 95 % interval
    gain                 expected minus that of the best single block on the same rows
    supported            the gain in leave-one-out loss and that in score are beyond two standard errors each, paired
                         row by row
    why                  the reason, in a sentence
    """

    name: str
    kind: Kind
    members: tuple[Member, ...]
    expected: float
    low: float
    high: float
    gain: float
    supported: bool
    why: str
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """The choice as JSON values."""
        return {**asdict(self), "members": [member.to_dict() for member in self.members]}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Choice:
        """What `to_dict` gave."""
        return cls(**{**content, "members": tuple(Member.from_dict(one) for one in content["members"])})


@dataclass(frozen=True)
class Passed:
    """A network that was left out after `rows` rows, and what was expected of it there (composer.race)."""

    name: str
    rows: int
    expected: float


@dataclass(frozen=True)
class Part:
    """One term of an expected score; the terms sum to it."""

    what: str
    value: float


@dataclass(frozen=True)
class Credit:
    """What one prior of the recommended set is worth on the labelled rows.

    drop       how much the leave-one-out score falls when it is left out, with a 95 % interval, paired row by row
    overlap    how much of it the others say already: alignment (CKA), 1 for the same
    """

    name: str
    weight: float
    drop: float
    low: float
    high: float
    overlap: float


@dataclass(frozen=True)
class Joining:
    """A prior that a set was grown by, in order, or that was next and did not earn its place.

    gain  fall of the leave-one-out loss; error: its standard error;  overlap: with what was in the set before (CKA)
    """

    name: str
    gain: float
    error: float
    overlap: float
    taken: bool


@dataclass(frozen=True)
class Next:
    """Something worth evaluating next: it could be as good as `upper`, and so better than what is recommended."""

    name: str
    expected: float
    upper: float
    why: str


@dataclass(frozen=True)
class Near:
    """A past task like this one. agreement: rank correlation of the scores that priors have there with those here,
    where enough are known; best: what did best there."""

    task: str
    agreement: float | None
    best: str


@dataclass(frozen=True)
class Stands:
    """Where a prior stands among those of the task, in deviations of their scores: terms of the past (general, subject,
    letters, or card alone) and of the labelled rows, which sum to it; sd: how sure that is."""

    name: str
    terms: Mapping[str, float]
    standing: float
    sd: float


@dataclass(frozen=True)
class Prospect:
    """A way to go on from the recommended choice, and what is predicted of it before anything is trained
    (composer.prospects).

    kind         "frozen", "adapted" (one network), "set" (with an adapted member), "ensemble", "branches"; how: lora,
                 full
    expected     predicted score, with a 95 % interval; gain: over the recommended frozen choice, likewise
    over_adapted predicted gain of a combination, the frozen one too, over the best adapted network alone
    within       whether seconds and memory are within the limits
    """

    name: str
    kind: Literal["frozen", "adapted", "set", "ensemble", "branches"]
    how: str
    expected: float
    low: float
    high: float
    gain: float
    gain_low: float
    gain_high: float
    over_adapted: float | None
    seconds: float
    memory_mb: float
    within: bool
    why: str


@dataclass(frozen=True)
class Explanation:
    """Why the answer is what it is.

    parts        terms that sum to the expected score of the recommended choice
    credits      what each of its priors is worth
    growth       how a set grew, and why it stopped
    would_change what evidence would change the answer, in a sentence
    rows_needed  labelled rows in all that would tell the recommended from the next best, None where none would
    next         what to evaluate next, the most promising first
    nearest      past tasks, nearest first, where a history is known
    stands       where priors stand by the past and the rows together, likewise, best first
    learned      whether the learned tier of the past is on, and by which numbers, likewise
    """

    parts: tuple[Part, ...] = ()
    credits: tuple[Credit, ...] = ()
    growth: tuple[Joining, ...] = ()
    would_change: str = ""
    rows_needed: int | None = None
    next: tuple[Next, ...] = ()
    nearest: tuple[Near, ...] = ()
    stands: tuple[Stands, ...] = ()
    learned: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The explanation as JSON values."""
        return {
            key: [asdict(one) for one in value] if isinstance(value, tuple) else value
            for key, value in vars(self).items()
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Explanation:
        """What `to_dict` gave; what is missing is empty."""
        kinds: dict[str, Any] = {
            "parts": Part, "credits": Credit, "growth": Joining, "next": Next, "nearest": Near, "stands": Stands,
        }  # fmt: skip
        held: dict[str, Any] = {key: tuple(kind(**one) for one in content.get(key, ())) for key, kind in kinds.items()}
        held |= {key: content.get(key, "") for key in ("would_change", "learned")}
        return cls(**held, rows_needed=content.get("rows_needed"))


@dataclass(frozen=True)
class Ranking:
    """The answer to "which priors for this task?"

    answer    "set": combine these; "one": a single prior is enough; "none": no prior beats the plain baseline
    baseline  the same head on the rows without a prior
    singles   every block alone, best expected first
    sets      the recommended set first, then others that were tried
    passed    networks that were left out after a part of the rows, where there were many
    explained why the answer is what it is
    prospects what adapting may bring and cost, the most promising first; staying frozen is among them
    """

    task: str
    rows: int
    classes: int
    metric: str
    answer: Literal["set", "one", "none"]
    why: str
    baseline: Choice
    singles: tuple[Choice, ...]
    sets: tuple[Choice, ...]
    best: Choice
    warnings: tuple[str, ...] = field(default=())
    passed: tuple[Passed, ...] = ()
    explained: Explanation = Explanation()
    prospects: tuple[Prospect, ...] = ()

    def to_json(self) -> str:
        """The ranking as a JSON text."""
        return json.dumps(self.to_dict(), indent=1, ensure_ascii=False)

    def to_dict(self) -> dict[str, Any]:
        """The ranking as JSON values."""
        return {
            "task": self.task,
            "rows": self.rows,
            "classes": self.classes,
            "metric": self.metric,
            "answer": self.answer,
            "why": self.why,
            "baseline": self.baseline.to_dict(),
            "singles": [one.to_dict() for one in self.singles],
            "sets": [one.to_dict() for one in self.sets],
            "best": self.best.to_dict(),
            "warnings": list(self.warnings),
            "passed": [asdict(one) for one in self.passed],
            "explained": self.explained.to_dict(),
            "prospects": [asdict(one) for one in self.prospects],
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Ranking:
        """What `to_dict` gave."""
        many = {key: tuple(Choice.from_dict(one) for one in content[key]) for key in ("singles", "sets")}
        return cls(
            **{
                **content,
                **many,
                "baseline": Choice.from_dict(content["baseline"]),
                "best": Choice.from_dict(content["best"]),
                "warnings": tuple(content.get("warnings", ())),
                "passed": tuple(Passed(**one) for one in content.get("passed", ())),
                "explained": Explanation.from_dict(content.get("explained", {})),
                "prospects": tuple(Prospect(**one) for one in content.get("prospects", ())),
            }
        )


@dataclass(frozen=True)
class Limits:
    """What a candidate may cost. None: no limit.

    budget_mb   megabytes of its files
    license     "sell" keeps only what is known to permit commercial use
    minutes     that adapting may take, and memory_mb that it may need: ways beyond them are marked, not left out
    latency_ms  milliseconds that one row may take, by itself, on the machine that ranks: of a set all priors together
    price       percent of what the model is sold for that its priors may ask as fees, likewise together
    """

    budget_mb: float | None = None
    license: License = "any"
    minutes: float | None = None
    memory_mb: float | None = None
    latency_ms: float | None = None
    price: float | None = None

    def allow(self, manifest: PriorManifest) -> bool:
        """Whether a prior may be a candidate."""
        size = sum(info.size for info in manifest.files.values()) / 1e6
        if self.budget_mb is not None and size > self.budget_mb:
            return False
        if self.price is not None and fee_of(manifest) > self.price:
            return False
        return self.license == "any" or permissions(normalise(manifest.license.spdx)).sell is True

    @classmethod
    def of(cls, given: Limits | Mapping[str, Any] | None) -> Limits:
        """Limits as they are, or from JSON values. Raises BadTask for an unknown limit."""
        if isinstance(given, Limits):
            return given
        known = {field.name for field in fields(cls)}
        for key in given or {}:
            if key not in known:
                raise BadTask(f"there is no limit {key!r}. Limits are {', '.join(sorted(known))}.")
        limits = cls(**(given or {}))
        for key, what in _MEASURED_IN.items():
            value = getattr(limits, key)
            if value is not None and not (_is_number(value) and value >= 0):
                raise BadTask(f"limit {key} is {value!r}. Give {what} as a number, 0 or more.")
        if limits.license not in get_args(License):
            raise BadTask(f"limit license is {limits.license!r}. Give {' or '.join(get_args(License))}.")
        return limits


_MEASURED_IN = {
    "budget_mb": "megabytes", "minutes": "minutes", "memory_mb": "megabytes", "latency_ms": "milliseconds",
    "price": "percent",
}  # fmt: skip


def fee_of(manifest: PriorManifest) -> float:
    """Percent of what a model is sold for that a prior asks as its fee."""
    return manifest.fee_bp / 100


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def join_names(members: Sequence[Member], *, columns: bool = False) -> str:
    """One line for a set: priors in order of weight, taps of one prior said once, with their column when `columns`."""
    blocks: dict[tuple[str, str], list[Candidate]] = {}
    for member in sorted(members, key=lambda m: -m.weight):
        place = member.candidate.place if columns else ""
        blocks.setdefault((member.candidate.ref.name, place), []).append(member.candidate)
    return " + ".join(
        (found[0].name if len(found) == 1 else f"{name} ({len(found)} taps)") + place
        for (name, place), found in blocks.items()
    )
