"""A repository of another hub that speaks the Hugging Face protocol: what it holds, and its bytes.

    with Source("https://huggingface.co") as source:
        found = source.look("org/name")
        source.fetch(found, found.files[0], Path("part"))

Metadata comes through huggingface_hub, bytes by its `resolve` addresses, and both through a guarded client (egress.py).
Nothing the other side says is taken on trust: names are the caller's to check, and every file's hash is computed here.
"""

from __future__ import annotations

import errno
import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import httpx2

from priors.errors import AddressRefused, NotAllowed, NotFound, RemoteFailed, StorageFull
from priors.sources.egress import Limits, guarded_client

RepoType = Literal["model", "dataset"]
MAX_FILES = 10_000
_TRIES = 5  # without a single byte in between
_SLOWEST = 100_000  # bytes a second that a download must make, beside a minute to begin with
_PIECE = 1 << 20


@dataclass(frozen=True)
class SourceFile:
    """One file: its git id, and its sha256 where the other hub keeps it out of git (LFS)."""

    path: str
    size: int
    git_oid: str
    sha256: str | None


@dataclass(frozen=True)
class Found:
    """A repository at one commit."""

    repo: str
    type: RepoType
    commit: str
    license: str
    closed: bool
    """Private or gated there."""
    files: tuple[SourceFile, ...]

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)


class Source:
    """One endpoint. Replaces huggingface_hub's client in this process while open: use one at a time, and `with`."""

    def __init__(self, endpoint: str, *, token: str | None = None, allow_private: bool = False) -> None:
        from huggingface_hub import HfApi, set_client_factory

        self.endpoint = endpoint.rstrip("/")
        self._http = guarded_client(self.endpoint, allow_private=allow_private)
        # huggingface_hub closes its client when it is given another factory: it gets one of its own
        set_client_factory(lambda: guarded_client(self.endpoint, allow_private=allow_private))
        self._api = HfApi(endpoint=self.endpoint, token=token or False)
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._gate = "this token does not open it" if token else "it needs a token of an account that was let in"
        self._seen = "repository that this token may read" if token else "public repository"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        from huggingface_hub import set_client_factory
        from huggingface_hub.utils._http import default_client_factory

        set_client_factory(default_client_factory)
        self._http.close()

    def look(self, repo: str, *, rev: str | None = None, type: RepoType = "model") -> Found:
        """The commit that `rev` means now, and its files. Raises NotFound, NotAllowed, AddressRefused, RemoteFailed."""
        from huggingface_hub.hf_api import RepoFile

        with self._told(repo):
            info = self._api.repo_info(repo, repo_type=type, revision=rev)
            if not info.sha:
                raise RemoteFailed(f"{self.endpoint} does not say which commit of {repo} it has. Try again later.")
            files = []
            for item in self._api.list_repo_tree(repo, recursive=True, revision=info.sha, repo_type=type):
                if isinstance(item, RepoFile):
                    files.append(_file(item))
                if len(files) > MAX_FILES:
                    raise RemoteFailed(f"{repo} has more than {MAX_FILES} files, the most a repository here may have.")
            closed = bool(info.private or info.gated)
            return Found(repo, type, info.sha, _license(info), closed, tuple(files))

    def fetch(
        self, found: Found, file: SourceFile, part: Path, *, progress: Callable[[int], None] = lambda size: None
    ) -> None:
        """Writes the file to `part`, going on where an earlier call ended. `progress` gets the bytes there are so far.

        It may raise to stop; what was written stays. Raises RemoteFailed when the bytes are not those that were listed:
        then nothing stays.
        """
        with self._told(found.repo):
            failed = 0
            while (have := part.stat().st_size if part.is_file() else 0) < file.size or not part.is_file():
                try:
                    self._some(found, file, part, have, progress)
                except (httpx2.TransportError, _Early) as error:
                    failed = 0 if part.is_file() and part.stat().st_size > have else failed + 1
                    if failed == _TRIES:
                        raise RemoteFailed(
                            f"{self.endpoint} stopped sending {file.path!r} of {found.repo} ({_cause(error)}). "
                            "Try again later; what arrived is kept."
                        ) from error
                    time.sleep(min(8, 0.5 * 2**failed))
            progress(file.size)
            if not _is(part, file):
                part.unlink(missing_ok=True)
                raise RemoteFailed(
                    f"{self.endpoint} sends other bytes for {file.path!r} than it lists. Nothing was kept."
                )

    def _some(self, found: Found, file: SourceFile, part: Path, have: int, progress: Callable[[int], None]) -> None:
        from huggingface_hub import hf_hub_url

        url = hf_hub_url(found.repo, file.path, repo_type=found.type, revision=found.commit, endpoint=self.endpoint)
        headers = {**self._headers, **({"Range": f"bytes={have}-"} if have else {})}
        limits = Limits(seconds=60 + file.size / _SLOWEST, max_bytes=max(file.size, 1))
        with self._http.stream("GET", url, headers=headers, extensions={"limits": limits}) as answer:
            if answer.status_code >= 500:
                raise _Early(f"it answers {answer.status_code}")
            if answer.status_code in {401, 403}:
                raise NotAllowed(self._gated(found.repo))
            if answer.status_code >= 400:
                raise RemoteFailed(f"{self.endpoint} answers {answer.status_code} for {file.path!r} of {found.repo}.")
            goes_on = answer.status_code == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
            with part.open("ab" if goes_on else "wb") as out:
                at = have if goes_on else 0
                for piece in answer.iter_raw():
                    at += len(piece)
                    if at > file.size:
                        raise RemoteFailed(
                            f"{self.endpoint} sends more of {file.path!r} than the {file.size:,} it lists."
                        )
                    out.write(piece)
                    out.flush()  # so that the caller can look at what there is
                    progress(at)
        if at < file.size:
            raise _Early(f"{file.size - at:,} bytes early")

    def _gated(self, repo: str) -> str:
        return f"{repo} at {self.endpoint} is gated: it has to be asked for there, and {self._gate}."

    @contextmanager
    def _told(self, repo: str) -> Iterator[None]:
        """Whatever the other side does wrong, as one line that names it."""
        from huggingface_hub import errors

        try:
            yield
        except errors.GatedRepoError as error:
            raise NotAllowed(self._gated(repo)) from error
        except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
            what = "revision" if isinstance(error, errors.RevisionNotFoundError) else self._seen
            raise NotFound(
                f"{self.endpoint} has no such {what}: {repo}. Check the name, the type and --rev."
            ) from error
        except (AddressRefused, NotAllowed, RemoteFailed):
            raise
        except errors.HfHubHTTPError as error:
            if error.response.status_code in {401, 403}:
                raise NotAllowed(f"{self.endpoint} refuses {repo}: {self._gate}.") from error
            raise RemoteFailed(f"{self.endpoint} cannot be read ({_cause(error)}). Try again later.") from error
        except (httpx2.HTTPError, httpx2.InvalidURL, errors.OfflineModeIsEnabled) as error:
            raise RemoteFailed(f"{self.endpoint} cannot be read ({_cause(error)}). Try again later.") from error
        except OSError as error:
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise StorageFull("the disk is full; what arrived is kept. Free some space, then try again.") from error
            raise
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RemoteFailed(f"{self.endpoint} does not answer as a hub does ({_cause(error)}).") from error


class _Early(Exception):
    """The bytes ended before the file did."""


def _file(item: Any) -> SourceFile:
    lfs = item.lfs
    size = int(lfs.size if lfs else item.size)
    if size < 0:
        raise ValueError(f"a size of {size}")
    return SourceFile(str(item.path), size, str(item.blob_id), str(lfs.sha256) if lfs else None)


def _license(info: Any) -> str:
    """As the card says it, else as the tags do; empty when neither does."""
    card = info.card_data
    said = card.get("license") if card is not None else None
    if isinstance(said, str) and said:
        return said
    return next((tag.removeprefix("license:") for tag in info.tags or () if tag.startswith("license:")), "")


def _is(part: Path, file: SourceFile) -> bool:
    """Whether the bytes have the hash that was listed: the sha256, or git's id of the file."""
    with part.open("rb") as opened:
        if file.sha256 is not None:
            return hashlib.file_digest(opened, "sha256").hexdigest() == file.sha256
        hasher = hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)
        while piece := opened.read(_PIECE):
            hasher.update(piece)
        return hasher.hexdigest() == file.git_oid


def _cause(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return (text[0] if text else type(error).__name__)[:200]
