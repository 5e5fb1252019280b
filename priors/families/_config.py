"""What every family does with its manifest: read the config against a schema, and refuse taps it does not have."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, TypeVar

from priors._schema import StrictConfig, read_strict
from priors.errors import BadManifest


class ArchitectureConfig(StrictConfig):
    """Base of the config schemas."""


C = TypeVar("C", bound=ArchitectureConfig)


def read_config(schema: type[C], config: Mapping[str, Any], architecture: str) -> C:
    """The manifest's `architecture.config` as `schema`. Raises BadManifest."""
    return read_strict(schema, config, f"architecture {architecture!r}: config")


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
