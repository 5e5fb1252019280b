"""Other hubs that repositories may be copied from: those the operator lists, and no others."""

from __future__ import annotations

from django.conf import settings

from hub.errors import BadSpec


def endpoint(source: str) -> tuple[str, str]:
    """`hf:org/name` as the endpoint's address and `org/name`. Raises BadSpec for an endpoint that is not listed."""
    name, _, repo = source.partition(":")
    address = settings.IMPORT_ENDPOINTS.get(name)
    if address is None:
        known = ", ".join(settings.IMPORT_ENDPOINTS) or "none"
        raise BadSpec(f"{name!r} is no source this hub copies from; it has: {known}. Its operator may list more.")
    return address, repo
