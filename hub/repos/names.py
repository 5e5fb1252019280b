"""Which names this hub accepts. It never joins them to a path (they are keys in a table), but clients that pull do."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from hub.errors import BadName

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9])?\Z")
_REF = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,199}\Z")
_HEX = re.compile(r"[0-9a-f]{40}\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_PERCENT = re.compile(r"%[0-9A-Fa-f]{2}")
_FORBIDDEN = frozenset('\\:*?"<>|')
_DEVICES = frozenset(["con", "prn", "aux", "nul", *(f"{d}{n}" for d in ("com", "lpt") for n in "123456789")])
_PATH_BYTES, _SEGMENT_BYTES = 512, 255

_PAGES = """
about account accounts admin api assets audit boards buckets compose compositions datasets docs favicon.ico health
help import jobs kernels login logout market media models new oauth organizations password priors results robots.txt
search sell settings setup signup sitemap.xml spaces static tasks try upload user users v1 xet
"""
RESERVED = frozenset(_PAGES.split())
"""First path segments that pages use or will: a namespace of that name would hide them."""


def check_namespace(name: str) -> str:
    """`name`, if a user or organization may be called so; ASCII only, so no look-alikes from other scripts."""
    if not _NAME.match(name) or ".." in name:
        raise BadName(f"{name[:100]!r} is no name. Use 1 to 96 letters, digits and . _ - inside, ASCII only.")
    if name.lower() in RESERVED:
        raise BadName(f"{name!r} is reserved for the hub's own pages. Choose another.")
    return name


def split_name(full_name: str) -> tuple[str, str]:
    """`namespace/name` in two. Raises BadName."""
    namespace, slash, name = full_name.partition("/")
    if not slash:
        raise BadName(f"{full_name[:100]!r} is no repository name. Write it as namespace/name.")
    for part in (namespace, name):
        if not _NAME.match(part) or ".." in part or part.lower().endswith((".git", ".lock")):
            raise BadName(f"{part[:100]!r} is no name. Use 1 to 96 letters, digits and . _ - inside, ASCII only.")
    return namespace, name


def check_ref(name: str) -> str:
    """`name`, if a branch or tag may be called so; one that reads as a commit id may not."""
    parts = name.split("/")
    if not _REF.match(name) or ".." in name or _HEX.match(name) or not all(map(_is_ref_part, parts)):
        raise BadName(f"{name[:100]!r} is no branch or tag name. Use letters, digits and . _ - / inside.")
    if name == "HEAD" or parts[0] == "refs":
        raise BadName(f"{name[:100]!r} means something else to git. Choose another name.")
    return name


def _is_ref_part(part: str) -> bool:
    return part != "" and not part.startswith(".") and not part.endswith((".", ".lock"))


def check_sha256(text: str) -> str:
    """`text`, if it is a SHA-256 in lower-case hex."""
    if not _SHA256.match(text):
        raise BadName(f"{text[:80]!r} is no SHA-256. Give 64 lower-case hex digits.")
    return text


def check_paths(paths: Iterable[str]) -> None:
    """Raises BadName for a path that is unsafe on any system, or for two that one system would take for the same."""
    seen: dict[str, str] = {}
    for path in paths:
        _check_path(path)
        key = _key(path)
        if key in seen:
            raise BadName(f"{seen[key]!r} and {path!r} are one file on some systems. Rename one.")
        seen[key] = path
    for key, path in seen.items():
        folder = key
        while "/" in folder:
            folder = folder.rpartition("/")[0]
            if folder in seen:
                raise BadName(f"{seen[folder]!r} is a file, so {path!r} cannot lie in it. Rename one.")


def _key(path: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", path).casefold())


def _check_path(path: str) -> None:
    def refuse(why: str) -> None:
        raise BadName(f"The file name {path[:100]!r} {why}. Rename it.")

    if not path:
        raise BadName("A file has an empty name. Give it one.")
    try:
        encoded = path.encode()
    except UnicodeEncodeError:
        refuse("is not valid Unicode")
    if len(encoded) > _PATH_BYTES:
        refuse(f"is longer than {_PATH_BYTES} bytes")
    if unicodedata.normalize("NFC", path) != path:
        refuse("is not in Unicode's composed form (NFC)")
    if any(unicodedata.category(char)[0] == "C" for char in path):
        refuse("holds control or invisible characters")
    if _FORBIDDEN & set(path):
        refuse('holds one of \\ : * ? " < > |')
    if _PERCENT.search(path):
        refuse("holds a percent-encoded character")
    for segment in path.split("/"):
        if segment in {"", ".", ".."}:
            refuse("is absolute, or has an empty, . or .. part")
        if segment != segment.strip() or segment.endswith("."):
            refuse("has a part that begins or ends with a space, or ends with a dot")
        if len(segment.encode()) > _SEGMENT_BYTES:
            refuse(f"has a part longer than {_SEGMENT_BYTES} bytes")
        if segment.lower() == ".git":
            refuse("lies in .git")
        if segment.lower().partition(".")[0] in _DEVICES:
            refuse("is a device on Windows")
