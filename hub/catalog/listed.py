"""A repository as lists, search results and cards show it: values, no model instances, which took twice the time."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple


class Listed(NamedTuple):
    """What is known of an item without opening it. Empty and None mean unknown."""

    id: int
    namespace: str
    name: str
    type: str
    form: str
    """The repository's kind; `kind` is the prior's."""
    private: bool
    gated: str
    identity: str
    manifest: dict[str, Any] | None
    kind: str
    modality: str
    default_tap: str
    task: str
    library: str
    languages: list[str]
    tags: list[str]
    license: str
    may_sell: bool | None
    may_fine_tune: bool | None
    summary: str
    parameters: int | None
    dtypes: dict[str, int]
    size_bytes: int
    score: float | None
    price_cents: int | None
    downloads: int
    likes: int
    created_at: datetime
    updated_at: datetime

    @property
    def full_name(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"

    @property
    def address(self) -> str:
        """The path of its page."""
        return f"/{self.full_name}" if self.type == "model" else f"/{self.type}s/{self.full_name}"

    @property
    def ref(self) -> str:
        return ref_of(self.full_name, self.identity)

    @property
    def takes(self) -> str:
        return takes_of(self.manifest)

    @property
    def gives(self) -> dict[str, str]:
        return gives_of(self.manifest)


_ELSEWHERE = {
    "namespace": "repository__namespace__name", "name": "repository__name", "type": "repository__type",
    "form": "repository__kind", "private": "repository__private", "gated": "repository__gated",
}  # fmt: skip
COLUMNS = tuple(_ELSEWHERE.get(field, field) for field in Listed._fields)
"""Where an item's row has them, for `values_list`."""


def ref_of(full_name: str, identity: str) -> str:
    """`prior://namespace/name@sha256:…`, the name that also pins the content; the plain name of other items."""
    return f"prior://{full_name}@{identity}" if identity else full_name


def takes_of(manifest: dict[str, Any] | None) -> str:
    """The type of a prior's first input port; the others (a mask) are derived from the same value."""
    inputs: dict[str, str] = (manifest or {}).get("inputs", {})
    return next(iter(inputs.values()), "")


def gives_of(manifest: dict[str, Any] | None) -> dict[str, str]:
    """A prior's type by tap."""
    taps: dict[str, str] = (manifest or {}).get("taps", {})
    return taps
