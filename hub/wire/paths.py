"""The parts of an address of the protocol, decoded once (hub/addresses.py says why that takes converters)."""

from __future__ import annotations

from django.urls import register_converter

from hub.addresses import unquoted
from hub.repos.models import Repository


class _Quoted:
    def to_python(self, value: str) -> str:
        """Decodes what `UndecodedPath` kept."""
        return unquoted(value)

    def to_url(self, value: str) -> str:
        """As it is: Django quotes the whole address, and cannot be told of a slash that has to be quoted."""
        return value


class _Segment(_Quoted):
    regex = "[^/]+"


class _Revision(_Quoted):
    """A branch, tag or commit followed by more. Unquoted, only names below refs/ may have slashes."""

    regex = r"refs/(?:pr/\d+|(?:heads|tags|convert)/[^/]+)|[^/]+"


class _Rest(_Quoted):
    """Everything to the end: the path of a file, or a revision after which nothing comes."""

    regex = ".+"


class _Type:
    """`models`, `datasets` or `spaces`, as the type of a repository."""

    regex = "|".join(Repository.TYPE_OF_PREFIX)

    def to_python(self, value: str) -> str:
        """The type."""
        return Repository.TYPE_OF_PREFIX[value]

    def to_url(self, value: str) -> str:
        """The plural."""
        return f"{value}s"


register_converter(_Segment, "segment")
register_converter(_Revision, "revision")
register_converter(_Rest, "rest")
register_converter(_Type, "repotype")
