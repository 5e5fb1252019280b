"""What each kind of job needs to know. The edge: dicts that people sent come in, validated specs go out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from composer.choices import Limits
from hub.errors import BadSpec
from hub.jobs.models import Job
from priors.errors import BadTask

Rev = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+/[A-Za-z0-9._-]+(@[A-Za-z0-9._/-]+)?$", max_length=400)]
Rows = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1, max_length=1_000_000)] | None


def _limits(given: dict[str, Any]) -> dict[str, Any]:
    """Said when the job is sent, not when it runs."""
    try:
        Limits.of(given)
    except BadTask as error:
        raise PydanticCustomError("limits", "{said}", {"said": str(error).rstrip(".")}) from error
    return given


class _Spec(BaseModel):
    model_config = ConfigDict(extra="forbid")


class RecommendSpec(_Spec):
    """Rank singles and sets of priors for a task."""

    task: Rev
    rows: Rows = None
    limits: Annotated[dict[str, Any], AfterValidator(_limits)] = Field(default_factory=dict)


class FitSpec(_Spec):
    """Fit a composition (the recommended one when null) and publish it."""

    task: Rev
    push_to: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+/[A-Za-z0-9._-]+$", max_length=200)]
    rows: Rows = None
    composition: dict[str, Any] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    fusion: Literal["concat", "late", "gate", "attend", "auto"] = "concat"
    class_weights: Literal["none", "balanced"] = "none"
    adapt: Literal["auto", "none", "lora", "full"] = "none"
    budget_seconds: Annotated[float, Field(gt=0, le=86_400)] | None = None
    private: bool = False


class BenchmarkSpec(_Spec):
    """Measure no prior, every single, everything and the recommended set over draws of the labels."""

    task: Rev
    labels_per_class: Annotated[int, Field(ge=1, le=10_000)] = 16
    draws: Annotated[int, Field(ge=1, le=100)] = 5
    curve: Annotated[list[Annotated[int, Field(ge=1, le=10_000)]], Field(max_length=20)] = Field(
        default_factory=lambda: [4, 8, 16, 32, 64]
    )
    test_rows: Annotated[int, Field(ge=1, le=1_000_000)] = 1500
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0


class PredictSpec(_Spec):
    """Apply a published model to the rows of a task repository."""

    model: Rev
    data: Rev


class ImportSpec(_Spec):
    """Copy a repository of another hub, whose endpoint the operator listed."""

    source: Annotated[
        str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}:([A-Za-z0-9._-]+/)?[A-Za-z0-9._-]+$", max_length=250)
    ]
    push_to: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+/[A-Za-z0-9._-]+$", max_length=200)]
    rev: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$", max_length=200)] | None = None
    type: Literal["model", "dataset"] = "model"
    private: bool = False


SPECS: dict[str, type[_Spec]] = {
    Job.Kind.RECOMMEND: RecommendSpec,
    Job.Kind.FIT: FitSpec,
    Job.Kind.BENCHMARK: BenchmarkSpec,
    Job.Kind.PREDICT: PredictSpec,
    Job.Kind.IMPORT: ImportSpec,
}


def parse_spec(kind: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    """The spec with every default filled in. Raises BadSpec naming the field."""
    if kind not in SPECS:
        raise BadSpec(f"{kind!r} is no kind of job. Use one of {', '.join(SPECS)}.")
    try:
        return SPECS[kind].model_validate(spec).model_dump(mode="json")
    except ValidationError as err:
        first = err.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "spec"
        raise BadSpec(f"{kind} spec, {where}: {first['msg']}. Correct the field and send it again.") from err


def job_key(kind: str, spec: Mapping[str, Any], owner_id: int) -> str:
    """What makes two requests the same job."""
    content = json.dumps([kind, spec, owner_id], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(content.encode()).hexdigest()


def split_rev(text: str) -> tuple[str, str]:
    """`ns/name@rev` as (`ns/name`, rev); main when no rev is given."""
    name, _, rev = text.partition("@")
    return name, rev or "main"
