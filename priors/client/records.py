"""What a hub answers, as frozen dataclasses. Fields a newer hub adds are passed over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from priors.errors import HubError

JobStatus = Literal["queued", "running", "done", "failed", "cancelled"]
FINISHED: frozenset[str] = frozenset({"done", "failed", "cancelled"})


@dataclass(frozen=True)
class Filter:
    """Which priors a search may find. Values of one field are alternatives, fields all hold; unknown fits none.

    may    what the license permits: "sell", "fine-tune"
    takes  heads of port types, such as text.ids; `gives` likewise
    fits   namespace/name of a prior that the found ones can be strung to: `ways` after, before or beside it
    """

    task: Sequence[str] = ()
    library: Sequence[str] = ()
    language: Sequence[str] = ()
    license: Sequence[str] = ()
    may: Sequence[Literal["sell", "fine-tune"]] = ()
    takes: Sequence[str] = ()
    gives: Sequence[str] = ()
    dtype: Sequence[str] = ()
    tag: Sequence[str] = ()
    min_parameters: float | None = None
    max_parameters: float | None = None
    min_size_bytes: float | None = None
    max_size_bytes: float | None = None
    min_score: float | None = None
    max_price_cents: float | None = None
    fits: str | None = None
    ways: Sequence[Literal["after", "before", "beside"]] = ()


@dataclass(frozen=True)
class Listing:
    """One prior in search results. `open`: its files are given out to who asked."""

    repo: str
    ref: str
    summary: str
    kind: str
    modality: str
    takes: Mapping[str, str] | str
    gives: Mapping[str, str]
    default_tap: str
    parameters: int
    size_bytes: int
    license: str
    tags: tuple[str, ...]
    updated_at: str | None
    created_at: str = ""
    task: str = ""
    library: str = ""
    languages: tuple[str, ...] = ()
    may_sell: bool | None = None
    may_fine_tune: bool | None = None
    score: float | None = None
    price_cents: int | None = None
    downloads: int = 0
    likes: int = 0
    open: bool = True

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> Listing:
        return cls(
            repo=_text(content, "repo"),
            ref=_text(content, "ref"),
            summary=str(content.get("summary") or ""),
            kind=str(content.get("kind") or ""),
            modality=str(content.get("modality") or ""),
            takes=content.get("takes") or {},
            gives=content.get("gives") or {},
            default_tap=str(content.get("default_tap") or ""),
            parameters=int(content.get("parameters") or 0),
            size_bytes=int(content.get("size_bytes") or 0),
            license=str(content.get("license") or ""),
            tags=tuple(content.get("tags") or ()),
            updated_at=content.get("updated_at"),
            created_at=str(content.get("created_at") or ""),
            task=str(content.get("task") or ""),
            library=str(content.get("library") or ""),
            languages=tuple(content.get("languages") or ()),
            may_sell=content.get("may_sell"),
            may_fine_tune=content.get("may_fine_tune"),
            score=content.get("score"),
            price_cents=content.get("price_cents"),
            downloads=int(content.get("downloads") or 0),
            likes=int(content.get("likes") or 0),
            open=bool(content.get("open", True)),
        )


@dataclass(frozen=True)
class Past:
    """What a hub measured and counts: rows with the fields of composer.rank.history's Outcome, TaskCard, PriorCard."""

    outcomes: tuple[Mapping[str, Any], ...]
    tasks: tuple[Mapping[str, Any], ...]
    priors: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class RepoFile:
    """One file of a commit."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Tree:
    """The files of one commit."""

    commit: str
    files: tuple[RepoFile, ...]

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> Tree:
        try:
            files = tuple(RepoFile(str(f["path"]), int(f["size"]), str(f["sha256"])) for f in content["files"])
            commit = str(content["commit"])
        except (KeyError, TypeError, ValueError) as error:
            raise HubError(f"the hub's list of files lacks {error}. Is its version the client's?") from error
        if any(file.size < 0 for file in files):
            raise HubError("the hub's list of files has a negative size. Is its version the client's?")
        return cls(commit=commit, files=files)


@dataclass(frozen=True)
class Ref:
    """A name for a commit: a branch moves, a tag stays, a pull request's branch is called refs/pr/<number>."""

    kind: Literal["branch", "tag", "pull"]
    name: str
    commit: str

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> Ref:
        kind = _text(content, "kind")
        if kind not in {"branch", "tag", "pull"}:
            raise HubError(f"the hub names a '{kind[:40]}', which this client does not know. Update priorhub.")
        return cls(kind, _text(content, "name"), _text(content, "commit"))  # type: ignore[arg-type]  # checked above


@dataclass(frozen=True)
class Job:
    """One job as the hub last reported it. `result` when done, `error` ({code, detail}) when failed."""

    id: str
    kind: str
    status: JobStatus
    step: int = 0
    of: int = 0
    message: str = ""
    result: Any = None
    error: Mapping[str, str] | None = None
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def finished(self) -> bool:
        return self.status in FINISHED

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> Job:
        status = _text(content, "status")
        if status not in {"queued", "running"} | FINISHED:
            raise HubError(f"the hub says a job is '{status[:40]}', which this client does not know. Update priorhub.")
        return cls(
            id=_text(content, "id"),
            kind=str(content.get("kind") or ""),
            status=status,  # type: ignore[arg-type]  # checked against the literal's values above
            step=int(content.get("step") or 0),
            of=int(content.get("of") or 0),
            message=str(content.get("message") or ""),
            result=content.get("result"),
            error=content.get("error"),
            raw=dict(content),
        )


@dataclass(frozen=True)
class JobEvent:
    """One thing a job reported: its number (what to resume after), its kind and its data."""

    id: int
    kind: str
    data: Mapping[str, Any]


def _text(content: Mapping[str, Any], key: str) -> str:
    value = content.get(key)
    if not isinstance(value, str):
        raise HubError(f"the hub's answer has no '{key}'. Is its version the client's?")
    return value
