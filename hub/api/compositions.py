"""/compositions: whether a graph fits, without running it."""

from __future__ import annotations

from typing import Annotated, Any

from ninja import Router
from pydantic import BaseModel, Field, model_validator

from composer.check import Checked
from composer.license import Verdict
from hub.accounts import rates
from hub.api.auth import AnyReader
from hub.api.schemas import In
from hub.compose.checking import MAX_TEXT, Finding, check_names, check_text
from hub.compose.starting import MAX_PRIORS

router = Router(tags=["compositions"])

Name = Annotated[str, Field(max_length=400)]


class CheckIn(In):
    """Either a composition, or the priors of one."""

    spec: str | None = Field(None, max_length=MAX_TEXT, description="a composition as YAML or JSON text")
    priors: list[Name] | None = Field(
        None,
        max_length=MAX_PRIORS,
        description="namespace/name of priors or fitted compositions, wired side by side under a head",
    )

    @model_validator(mode="after")
    def _one(self) -> CheckIn:
        if (self.spec is None) == (self.priors is None):
            raise ValueError("give either spec or priors")
        return self


class NodeOut(BaseModel):
    name: str
    op: str
    reads: dict[str, str] = Field(description="port: node; ports of a list are 0, 1, …")
    type: str
    inserted: bool = Field(description="an adapter that the check put in")
    trained: bool
    prior: str | None


class ConflictOut(BaseModel):
    code: str
    edge: tuple[str, str]
    licenses: list[str]
    why: str
    fix: str


class ObligationOut(BaseModel):
    kind: str
    text: str
    priors: list[str]


class VerdictOut(BaseModel):
    allowed: bool | None = Field(description="null: some license is not known")
    conflicts: list[ConflictOut]
    obligations: list[ObligationOut]
    unknown: list[str]

    @classmethod
    def of(cls, verdict: Verdict) -> VerdictOut:
        return cls.model_validate(
            {
                "allowed": verdict.allowed,
                "conflicts": [vars(each) for each in verdict.conflicts],
                "obligations": [vars(each) for each in verdict.obligations],
                "unknown": list(verdict.unknown),
            }
        )


class TermsOut(BaseModel):
    license: str = Field(description="SPDX expression of the whole")
    share: VerdictOut
    sell: VerdictOut


class TroubleOut(BaseModel):
    code: str
    detail: str
    edge: tuple[str, str] | None = Field(description="source and target, where the trouble lies between two nodes")
    node: str | None
    fix: str


class CheckOut(BaseModel):
    """`error` is null when the composition fits; the other fields are empty or null when it does not."""

    fits: bool
    spec: str = Field(description="the text that was checked")
    nodes: list[NodeOut]
    outputs: dict[str, str]
    structure: str | None = Field(description="sha256:… of what is computed; the same whatever nodes are called")
    needs_fit: bool | None
    terms: TermsOut | None = Field(description="null also for a composition too large to be judged at once")
    error: TroubleOut | None

    @classmethod
    def of(cls, text: str, finding: Finding) -> CheckOut:
        checked, terms, trouble = finding.checked, finding.terms, finding.trouble
        return cls(
            fits=checked is not None,
            spec=text,
            nodes=_nodes(checked) if checked else [],
            outputs=dict(checked.outputs) if checked else {},
            structure=checked.structure if checked else None,
            needs_fit=checked.needs_fit if checked else None,
            terms=None
            if terms is None
            else TermsOut(license=terms.license, share=VerdictOut.of(terms.share), sell=VerdictOut.of(terms.sell)),
            error=None if trouble is None else TroubleOut.model_validate(vars(trouble)),
        )


def _nodes(checked: Checked) -> list[NodeOut]:
    return [
        NodeOut(
            name=node.name,
            op=node.op,
            reads=dict(node.inputs),
            type=node.shown_type,
            inserted=node.auto,
            trained=node.learns,
            prior=node.attrs.get("prior"),
        )
        for node in checked.nodes
    ]


@router.post(
    "/check",
    auth=AnyReader(),
    response=CheckOut,
    summary="Whether a composition fits: types, adapters, licenses, or what is wrong and where",
)
def check(request: Any, payload: CheckIn) -> CheckOut:
    rates.charge(request, "check", request.auth)
    if payload.priors is not None:
        return CheckOut.of(*check_names(payload.priors, request.auth))
    text = payload.spec or ""
    return CheckOut.of(text, check_text(text, request.auth))
