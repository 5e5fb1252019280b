"""Job `import`: a repository of another hub, copied file by file into the store and committed as one.

What was stored before is not fetched again, so a job that died goes on; a file that had begun goes on within itself.
Bytes that are only on their way lie in the home's `imports/`, under the owner and the hash they should have.
"""

from __future__ import annotations

import fcntl
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from django.conf import settings
from django.utils import timezone

from composer.errors import Cancelled
from hub.errors import FileRefused, TooLarge
from hub.home import imports
from hub.jobs import sources
from hub.jobs.runners import Work
from hub.jobs.secret import unsaid
from hub.jobs.services import Outcome, Push
from hub.repos import quotas
from hub.repos.blobs import put_file
from hub.repos.commits import Put
from hub.repos.models import Blob, Repository
from hub.repos.names import check_paths
from hub.repos.services import namespace_of
from hub.repos.storage import store
from hub.safety.content import PICKLE_SUFFIXES, begins_as_pickle, check_plain
from priors.errors import RemoteFailed
from priors.sources.huggingface import Found, Source, SourceFile

_STALE_SECONDS = 7 * 24 * 3600.0
_REPORT_SECONDS = 0.5
_HEAD = 4096


def run(work: Work) -> Outcome:
    """Every file that may stand here, as one commit with where it came from.

    What only a token opens there is private here, until its owner decides otherwise.
    """
    address, repo = sources.endpoint(work.spec["source"])
    work.report(0, 0, f"asking {address} for {repo}")
    token = work.source_token()
    with unsaid(token), Source(address, token=token, allow_private=settings.IMPORT_ALLOW_PRIVATE) as source:
        found = source.look(repo, rev=work.spec["rev"], type=work.spec["type"])
        if token is not None and token in repr(found):
            raise RemoteFailed(f"{address} repeats the token it was shown in what it lists. Nothing was copied.")
        check_paths(file.path for file in found.files)
        _check_size(found)
        stored, skipped = _Copy(work, source, found).all()
    private = work.spec["private"] or (token is not None and found.closed)
    said = f"{len(stored)} files copied" + (f", {len(skipped)} left out: {', '.join(skipped)}" if skipped else "")
    if private and not work.spec["private"]:
        said = f"not everybody gets it there, so a new copy is private; {said}"
    work.report(found.size, found.size, said[:500])
    provenance = {
        "source": work.spec["source"], "endpoint": address, "repo": repo, "type": found.type, "commit": found.commit,
        "rev": work.spec["rev"] or "", "license": found.license, "skipped": skipped,
        "imported_at": timezone.now().isoformat(timespec="seconds"),
    }  # fmt: skip
    push = Push(
        folder=None, repository=work.spec["push_to"], kind=Repository.Kind.PLAIN, type=found.type, files=stored,
        message=f"Copy {work.spec['source']} at {found.commit}", private=private, provenance=provenance,
    )  # fmt: skip
    return Outcome({"source_commit": found.commit, "files": len(stored), "skipped": skipped}, push=push)


class _Copy:
    """One run over the files: which are here, which come, which are left out."""

    def __init__(self, work: Work, source: Source, found: Found) -> None:
        self._work, self._source, self._found = work, source, found
        self._namespace = namespace_of(work.spec["push_to"])
        self._done, self._reported = 0, 0.0

    def all(self) -> tuple[list[Put], dict[str, str]]:
        """What to commit, and why which paths may not stand here. Small files first: a refusal shows soon."""
        use = quotas.use_of(self._namespace)
        wanted = [file for file in self._found.files if not _is_named_pickle(file.path)]
        needed = sum(file.size for file in wanted if _known(file, self._work.owner) is None)
        if use.left is not None and needed > use.left:
            raise quotas.over_quota(self._namespace, needed, use)
        stored, skipped = [], {}
        for file in sorted(self._found.files, key=lambda file: (file.size, file.path)):
            self._say(file, 0)
            try:
                stored.append(Put(file.path, self._blob(file).sha256))
            except FileRefused as refused:
                skipped[file.path] = str(refused)
            self._done += file.size
        return sorted(stored, key=lambda put: put.path), dict(sorted(skipped.items()))

    def _blob(self, file: SourceFile) -> Blob:
        """The file's bytes in the store. Raises FileRefused when they may not stand here, before they are all here."""
        if _is_named_pickle(file.path):
            raise FileRefused(f"{file.path!r} has the name of a pickle, which can run code when it is opened.")
        known = _known(file, self._work.owner)
        if known is not None:
            with store().open(known.sha256) as opened:
                check_plain(file.path, opened, file.size, allow_pickle=settings.ALLOW_PICKLE)
            return known
        with _part(self._work.owner.pk, file) as part, quotas.reserved(self._namespace, file.size) as room:

            def progress(size: int) -> None:
                self._say(file, size)
                if size >= min(_HEAD, file.size) and _begins_badly(part):
                    raise FileRefused(f"{file.path!r} begins as a pickle, which can run code when it is opened.")

            try:
                self._source.fetch(self._found, file, part, progress=progress)
                with part.open("rb") as opened:
                    check_plain(file.path, opened, file.size, allow_pickle=settings.ALLOW_PICKLE)
            except FileRefused:
                part.unlink()
                raise
            blob = put_file(part, by=self._work.owner)
            room.settle(blob.sha256, blob.size)
            return blob

    def _say(self, file: SourceFile, size: int) -> None:
        if self._work.cancelled():
            raise Cancelled("the import was cancelled")
        if (now := time.monotonic()) - self._reported > _REPORT_SECONDS or size == 0:
            self._reported = now
            self._work.report(self._done + size, self._found.size, f"copying {file.path}")


def _begins_badly(part: Path) -> bool:
    with part.open("rb") as opened:
        return not settings.ALLOW_PICKLE and begins_as_pickle(opened.read(_HEAD))


def _known(file: SourceFile, owner: Any) -> Blob | None:
    """The bytes, if they are here and the owner may use them: what the other hub claims must not open other doors."""
    usable = Blob.objects.usable_by(owner).filter(size=file.size)
    if file.sha256 is not None:
        return usable.filter(sha256=file.sha256).first()
    return usable.filter(git_oid=file.git_oid).first()


def _check_size(found: Found) -> None:
    if found.size > settings.IMPORT_MAX_BYTES:
        raise TooLarge(
            f"{found.repo} has {found.size:,} bytes; this hub copies {settings.IMPORT_MAX_BYTES:,} at most. "
            "Its operator may allow more (IMPORT_MAX_BYTES)."
        )
    for file in found.files:
        if file.size > settings.BLOB_MAX_BYTES:
            raise TooLarge(
                f"{file.path!r} has {file.size:,} bytes; this hub takes {settings.BLOB_MAX_BYTES:,} at most."
            )


def _is_named_pickle(path: str) -> bool:
    return not settings.ALLOW_PICKLE and path.lower().endswith(tuple(PICKLE_SUFFIXES))


@contextmanager
def _part(owner_id: int, file: SourceFile) -> Iterator[Path]:
    """Where the file's bytes gather. They stay when the work stops early, and go once they are stored."""
    folder = imports()
    _sweep(folder)
    path = folder / f"{owner_id}-{file.sha256 or file.git_oid}-{file.size}.part"
    with path.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # another job of the owner's, or a worker that was thought dead, writes there
            path = path.with_suffix(f".{secrets.token_hex(4)}.part")
        yield path
        path.unlink(missing_ok=True)


def _sweep(folder: Path) -> None:
    for left in folder.iterdir():
        with suppress(FileNotFoundError):  # another job sweeps too
            if left.stat().st_mtime < time.time() - _STALE_SECONDS:
                left.unlink()
