"""Names a server sends, before they become names on this disk.

A hub is trusted with what it stores, not with where this machine writes: every name is matched against what a hub may
legally say, and everything else is refused before any file is opened.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from priors.errors import HubError

_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)  # device names on Windows
_FORBIDDEN = set('\\:*?"<>|')
MAX_PATH_CHARS = 512
TYPES = {"models": "model", "datasets": "dataset", "spaces": "space"}
"""What may stand before namespace/name, as in the Hugging Face client. No namespace has one of these names."""


def split_repo(repo: str) -> tuple[str, str, str]:
    """'ns/name' as ("", ns, name), 'datasets/ns/name' as ("dataset", ns, name). Raises HubError for anything else."""
    prefix, _, rest = repo.partition("/")
    kind, bare = (TYPES[prefix], rest) if prefix in TYPES else ("", repo)
    namespace, slash, name = bare.partition("/")
    if not slash or not all(_PART.fullmatch(part) and ".." not in part for part in (namespace, name)):
        raise HubError(
            f"'{repo[:120]}' is no repository name. Write namespace/name in letters, digits and . _ -, and datasets/ "
            "or spaces/ before it for one of those."
        )
    return kind, namespace, name


def bare_name(repo: str) -> str:
    """'ns/name', without what says its type."""
    return "/".join(split_repo(repo)[1:])


def address_of(repo: str, rest: str = "") -> str:
    """Where the API has this repository, or `rest` of it."""
    kind, namespace, name = split_repo(repo)
    return f"/repos/{namespace}/{name}{rest}" + (f"?type={kind}" if kind else "")


def folder_of(root: Path, repo: str) -> Path:
    """Where below `root` the files of a repository lie: as it is called, so the types do not mix."""
    split_repo(repo)
    return root.joinpath(*repo.split("/"))


def split_revision(text: str, default: str = "main") -> tuple[str, str]:
    """'ns/name@rev' as (repo, rev); rev is `default` where there is none."""
    repo, _, rev = text.partition("@")
    split_repo(repo)
    return repo, rev or default


def safe_path(path: str) -> str:
    """`path` when it is a relative path that stays in its folder on every system. Raises HubError otherwise."""
    parts = path.split("/")
    if (
        len(path) > MAX_PATH_CHARS
        or not path.isprintable()
        or unicodedata.normalize("NFC", path) != path
        or any(_FORBIDDEN & set(part) or _RESERVED.fullmatch(part) for part in parts)
        or any(part in {"", ".", "..", ".git"} or part[-1] in ". " or part[0] == " " for part in parts)
    ):
        raise HubError(f"the hub names a file {path[:120]!r}, which is not safe here. Nothing was written.")
    return path


def safe_paths(paths: Iterable[str]) -> None:
    """All paths of one tree: each safe, none twice in another case, none both a file and a folder."""
    seen: dict[str, str] = {}
    for path in paths:
        key = safe_path(path).casefold()
        if key in seen:
            raise HubError(f"the hub names both {seen[key]!r} and {path!r}, one file here. Nothing was written.")
        seen[key] = path
    for key, path in seen.items():
        parents = key.split("/")[:-1]
        if any("/".join(parents[: i + 1]) in seen for i in range(len(parents))):
            raise HubError(f"the hub names {path!r} inside another file. Nothing was written.")


def safe_sha256(text: str) -> str:
    if not _SHA256.fullmatch(text):
        raise HubError(f"the hub says {text[:80]!r} where a sha256 belongs. Nothing was written.")
    return text


def safe_commit(text: str) -> str:
    if not _COMMIT.fullmatch(text):
        raise HubError(f"the hub says {text[:80]!r} where a commit belongs. Nothing was written.")
    return text
