"""What the API takes and gives. The edge: pydantic here, dataclasses and models inside."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, cast
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from hub.catalog.listed import Listed
from hub.jobs.models import Job
from hub.repos.models import Commit, Ref, Repository
from hub.repos.trees import FileEntry
from hub.safety.models import Hold

RepositoryKind = Literal["prior", "composition", "task", "plain"]
AskedKind = Literal["recommend", "fit", "benchmark", "predict", "import"]
JobKind = Literal["recommend", "fit", "benchmark", "predict", "import", "verify", "retrain"]
OfType = Literal["model", "dataset", "space"] | None
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Oid = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]


class In(BaseModel):
    """A request body: an unknown field is a mistake worth telling."""

    model_config = ConfigDict(extra="forbid")


class Health(BaseModel):
    status: Literal["ok"]
    version: str
    hub_id: str


class WhoAmI(BaseModel):
    name: str
    scopes: list[str]


class Problem(BaseModel):
    """application/problem+json"""

    type: str
    title: str
    status: int
    code: str
    detail: str


class PriorCard(BaseModel):
    repo: str
    ref: str
    summary: str
    kind: Literal["network", "function"]
    modality: str
    takes: str
    gives: dict[str, str]
    default_tap: str
    parameters: int
    dtypes: dict[str, int] = Field(description="parameters by dtype; empty while unknown")
    size_bytes: int
    license: str = Field(description="SPDX expression; empty when unknown")
    may_sell: bool | None = Field(description="null: unknown")
    may_fine_tune: bool | None = Field(description="null: unknown")
    task: str
    library: str
    languages: list[str]
    tags: list[str]
    score: float | None = Field(description="the best gain over no prior that this hub measured, in points")
    price_cents: int | None
    downloads: int = Field(description="distinct accounts and addresses a day, summed over the last 30 days")
    likes: int
    created_at: datetime
    updated_at: datetime
    open: bool = Field(description="whether you may have its files: neither gated for you nor held back")

    @classmethod
    def from_row(cls, item: Listed, *, open: bool) -> PriorCard:
        same = set(cls.model_fields) - {"repo", "parameters", "open"}
        known = {key: getattr(item, key) for key in same}
        return cls(repo=item.full_name, parameters=item.parameters or 0, open=open, **known)


class PriorPage(BaseModel):
    items: list[PriorCard]
    next: str | None = Field(description="the `cursor` of the next page; null on the last")


class RepositoryIn(In):
    name: str = Field(description="namespace/name", max_length=200)
    kind: RepositoryKind
    type: OfType = Field(None, description="each has names of its own; null: dataset for tasks, model for the rest")
    private: bool = False
    description: str = Field("", max_length=500)


class RepositoryOut(BaseModel):
    name: str
    kind: RepositoryKind
    type: Literal["model", "dataset", "space"]
    private: bool
    gated: Literal["", "auto", "manual"]
    description: str
    head: str | None = Field(description="oid of the tip of main")
    provenance: dict[str, Any] = Field(description="where a copy from another hub came from; empty for others")
    created_at: datetime
    updated_at: datetime

    @classmethod
    def from_row(cls, repository: Repository) -> RepositoryOut:
        return cls(
            name=repository.full_name, kind=repository.kind, type=repository.type,  # type: ignore[arg-type]
            private=repository.private, gated=repository.gated,  # type: ignore[arg-type]
            description=repository.description, head=repository.head.oid if repository.head else None,
            provenance=repository.provenance,
            created_at=repository.created_at, updated_at=repository.updated_at,
        )  # fmt: skip


class FileOut(BaseModel):
    path: str
    size: int
    sha256: str

    @classmethod
    def from_row(cls, entry: FileEntry) -> FileOut:
        return cls(path=entry.path, size=entry.size, sha256=entry.sha256)


class Tree(BaseModel):
    commit: str
    files: list[FileOut]


class CommitOut(BaseModel):
    oid: str
    parent: str | None
    message: str
    author: str
    created_at: datetime

    @classmethod
    def from_row(cls, commit: Commit) -> CommitOut:
        return cls(
            oid=commit.oid, parent=commit.parent.oid if commit.parent else None, message=commit.message,
            author=commit.author_name, created_at=commit.created_at,
        )  # fmt: skip


class RefOut(BaseModel):
    kind: Literal["branch", "tag", "pull"]
    name: str
    commit: str

    @classmethod
    def from_row(cls, ref: Ref) -> RefOut:
        return cls(kind=ref.kind, name=ref.name, commit=ref.commit.oid)  # type: ignore[arg-type]


class RefIn(In):
    name: str = Field(max_length=200)
    rev: str = Field("main", max_length=200, description="a branch, tag or commit")


class RenameIn(In):
    to: str = Field(description="the new name", max_length=96)


class NamespaceOut(BaseModel):
    name: str
    kind: Literal["user", "org"]


class MoveIn(In):
    to: str = Field(description="namespace/name", max_length=200)


class SettingsIn(In):
    private: bool | None = None
    gated: Literal["", "auto", "manual"] | None = Field(None, description="who may have the files has to be granted")
    description: str | None = Field(None, max_length=500)


class HashesIn(In):
    sha256: list[Sha256] = Field(max_length=10_000)


class ChunksIn(In):
    chunks: list[Sha256] = Field(max_length=10_000, description="as Xet writes chunk hashes")


class Missing(BaseModel):
    missing: list[str]


class MissingBlobs(Missing):
    direct: bool = Field(description="whether bytes go to a bucket: ask /repos/…/uploads for addresses there")


class UploadIn(In):
    kind: Literal["blob", "xorb"]
    name: Sha256 = Field(description="the SHA-256 of a blob; the hash of a xorb, as Xet writes it")
    size: int = Field(ge=0, le=1 << 50)


class UploadsIn(In):
    items: list[UploadIn] = Field(max_length=100)


class AddressOut(BaseModel):
    to: Literal["nowhere", "hub", "bucket"] = Field(
        description="nowhere: it was sent; hub: PUT it to /blobs or …/chunks; bucket: PUT it to `url`"
    )
    url: str | None = Field(
        default=None, description="signed for an hour and for exactly this size; show no token there"
    )
    upload: UUID | None = Field(default=None, description="what to name at …/uploads/arrived")


class AddressesOut(BaseModel):
    items: list[AddressOut] = Field(description="in the order asked")


class ArrivedIn(In):
    uploads: list[UUID] = Field(max_length=100)


class Waiting(BaseModel):
    waiting: list[UUID] = Field(description="uploads that no worker has checked yet: ask …/uploads/arrived again")


class BlobOut(BaseModel):
    sha256: str
    size: int


class FileIn(In):
    path: str = Field(max_length=2000)
    sha256: Sha256


class CommitIn(In):
    message: str = Field("", max_length=10_000)
    branch: str = Field("main", max_length=200)
    parent: Oid | None = Field(None, description="the oid the branch must be at; null accepts any")
    files: list[FileIn] = Field(max_length=10_000)
    replace: bool = Field(True, description="true: files are the whole tree; false: they are laid over the parent's")


class CommitMade(BaseModel):
    oid: str


class HoldIn(In):
    kind: Literal["yank", "quarantine"]
    reason: str = Field(min_length=1, max_length=500, description="shown to everybody who may see the repository")
    rev: str | None = Field(None, max_length=200, description="one revision; null holds the whole repository")


class HoldOut(BaseModel):
    id: int
    kind: Literal["yank", "quarantine", "scan"]
    commit: str | None = Field(description="the revision it covers; null: all of them")
    sha256: str | None = Field(description="the file's bytes it covers; null: all files")
    reason: str
    by: str
    created_at: datetime
    lifted_at: datetime | None

    @classmethod
    def from_row(cls, hold: Hold) -> HoldOut:
        return cls(
            id=hold.pk, kind=cast("Any", hold.kind), commit=hold.commit.oid if hold.commit else None,
            sha256=hold.sha256 or None, reason=hold.reason, by=hold.by_name, created_at=hold.created_at,
            lifted_at=hold.lifted_at,
        )  # fmt: skip


class JobIn(In):
    kind: AskedKind
    spec: dict[str, Any]
    again: bool = Field(False, description="start a new job although the same one is done")
    source_token: SecretStr | None = Field(
        None,
        description="for an import: a token of the hub that is copied from, which only that hub gets to see; "
        "kept encrypted, and only until the job ends",
    )


class JobError(BaseModel):
    code: str
    detail: str


class JobOut(BaseModel):
    id: UUID
    kind: JobKind
    status: Literal["queued", "running", "done", "failed", "cancelled"]
    queue: str
    attempt: int
    step: int
    of: int
    message: str
    progress: float | None
    cancel_requested: bool
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    result: dict[str, Any] | None
    error: JobError | None

    @classmethod
    def from_row(cls, job: Job) -> JobOut:
        names = set(cls.model_fields) - {"error"}
        return cls(**{name: getattr(job, name) for name in names}, error=job.error)


class JobPage(BaseModel):
    items: list[JobOut]
    next: str | None
