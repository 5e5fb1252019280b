"""What every family does with its manifest: read the config against a schema, and refuse taps it does not have."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from priors.errors import BadManifest


class ArchitectureConfig(BaseModel):
    """Base of the config schemas: frozen, typed strictly, unknown keys refused. Bounds keep hostile sizes out."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


C = TypeVar("C", bound=ArchitectureConfig)


def read_config(schema: type[C], config: Mapping[str, Any], architecture: str) -> C:
    """The manifest's `architecture.config` as `schema`; BadManifest names the first wrong key and what it should be."""
    try:
        return schema.model_validate(dict(config))
    except ValidationError as err:
        first = err.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "config"
        raise BadManifest(
            f"architecture {architecture!r}: config {where!r} is wrong ({first['msg'].removeprefix('Value error, ')}). "
            f"Its keys are: {', '.join(schema.model_fields)}."
        ) from err


def check_taps(asked: Iterable[str], known: Iterable[str], architecture: str) -> tuple[str, ...]:
    """`asked` as a tuple; BadManifest when it is empty or names a tap the family does not have."""
    wanted, names = tuple(asked), list(known)
    if not wanted:
        raise BadManifest(f"architecture {architecture!r}: no tap was asked for. Ask for one of {', '.join(names)}.")
    for tap in wanted:
        if tap not in names:
            near = get_close_matches(tap, names, n=3) or names
            raise BadManifest(f"architecture {architecture!r} has no tap {tap!r}. Nearest: {', '.join(near)}.")
    return wanted
