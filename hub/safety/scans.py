"""Slow scans, after the commit: what takes longer than a writer should wait. They hold only what fails.

A ScanDue row stands from the commit's own transaction until its scans are done, so none is forgotten; a worker is
woken at once, and beat looks for those that were missed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from pathlib import PurePosixPath
from typing import BinaryIO

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from hub.announce import announce
from hub.errors import SecretFound
from hub.repos import trees
from hub.repos.models import Commit, Repository
from hub.repos.storage import store
from hub.repos.trees import FileEntry
from hub.safety import holds, leaks
from hub.safety.models import Finding, ScanDue, Scanned
from hub.safety.secrets import find_secrets, looks_like_text
from priors.errors import BadWeights
from priors.weights import Header, check_header

RULES = 1
"""Raised when the scans learn something new: what was scanned before is then scanned again with its next commit."""
MAX_TRIES = 3
_IMAGES = {".png", ".jpg", ".jpeg", ".webp"}
_MAX_PIXELS = 100_000_000
_PIECE = 8 << 20
_OVERLAP = 4096
logger = logging.getLogger(__name__)


def note_commit(commit: Commit, changed: Iterable[FileEntry], pickles: Mapping[str, str]) -> None:
    """Records what the rule checks noticed and that scans are due. Call it in the transaction that makes the commit."""
    Finding.objects.bulk_create(
        [Finding(sha256=sha256, rule=Finding.Rule.PICKLE, detail=detail) for sha256, detail in pickles.items()],
        ignore_conflicts=True,
    )
    changed = list(changed)
    if leaks.left_to_scans(changed) or any(_is_slow(entry) for entry in changed):
        ScanDue.objects.get_or_create(commit=commit)
        announce("safety.scan", commit.pk)


def scan(commit_id: int) -> None:
    """Does the scans that are due for a commit; without its row there is nothing to do."""
    due = ScanDue.objects.select_related("commit__repository__namespace", "commit__parent").filter(commit=commit_id)
    row = due.first()
    if row is None:
        return
    due.update(tries=F("tries") + 1)
    commit = row.commit
    known = trees.read(commit.parent.tree_id) if commit.parent is not None else {}
    files = trees.read(commit.tree_id)
    changed = [entry for path, entry in files.items() if path not in known or known[path].blob != entry.blob]
    unread = leaks.left_to_scans(changed)
    for entry in changed:
        if _is_slow(entry):
            _scan_file(commit.repository, entry)
        if entry.path in unread:
            _scan_secrets(commit.repository, entry, files.get(leaks.IGNORE))
    due.delete()


def catch_up(*, older_than_s: float = 120) -> int:
    """Scans what was missed: its message was lost, or its worker died. How many commits are done."""
    before = timezone.now() - timedelta(seconds=older_than_s)
    waiting = ScanDue.objects.filter(created_at__lt=before, tries__lt=MAX_TRIES).values_list("commit", flat=True)
    done = 0
    for commit_id in list(waiting[:100]):
        try:
            scan(commit_id)
            done += 1
        except Exception as err:  # the others are scanned all the same, and this one again up to MAX_TRIES times
            logger.error("scan failed: commit=%s", commit_id, exc_info=err)
    return done


def _is_slow(entry: FileEntry) -> bool:
    suffix = PurePosixPath(entry.path).suffix.lower()
    return suffix == ".safetensors" or suffix in _IMAGES or entry.size > leaks.MAX_AT_ONCE


def _scan_file(repository: Repository, entry: FileEntry) -> None:
    """Looks at the bytes once, wherever they lie; what was found holds them here if this repository promises more."""
    if not Scanned.objects.filter(sha256=entry.sha256, rules=RULES).exists():
        with store().open(entry.sha256) as file:
            found = list(_look(PurePosixPath(entry.path).suffix.lower(), file))
        with transaction.atomic():
            Finding.objects.filter(sha256=entry.sha256).exclude(rule=Finding.Rule.PICKLE).delete()
            Finding.objects.bulk_create(
                [Finding(sha256=entry.sha256, rule=rule, detail=said[:300]) for rule, said in found]
            )
            Scanned.objects.update_or_create(sha256=entry.sha256, defaults={"rules": RULES})
    if repository.kind == Repository.Kind.PLAIN:
        return  # opaque bytes: marked, not judged
    for finding in Finding.objects.filter(sha256=entry.sha256).exclude(rule=Finding.Rule.PICKLE):
        holds.hold_bytes(repository, entry.sha256, reason=f"{entry.path}: {finding.detail}")


def _look(suffix: str, file: BinaryIO) -> Iterator[tuple[str, str]]:
    if suffix == ".safetensors":
        try:
            header = check_header(file)
        except BadWeights as err:
            yield Finding.Rule.HEADER, str(err)
            return
        if (name := _not_finite(header, file)) is not None:
            yield Finding.Rule.NOT_FINITE, f"tensor {name} holds NaN or infinity"
    elif suffix in _IMAGES and (said := _bad_image(file)) is not None:
        yield Finding.Rule.IMAGE, said


def _not_finite(header: Header, file: BinaryIO) -> str | None:
    """The first tensor with a value that is no number, from its bits; a few MB in memory at a time."""
    import numpy as np  # workers only: the web process starts without it

    for name, info in header.tensors.items():
        if info.dtype not in _EXPONENTS:
            continue
        bits, mask = _EXPONENTS[info.dtype]
        file.seek(header.data_start + info.begin)
        left = info.end - info.begin
        while left > 0:
            piece = file.read(min(_PIECE, left))
            left -= len(piece)
            if not piece:
                raise BadWeights(f"tensor {name} is cut off")
            values = np.frombuffer(piece, f"<u{bits // 8}")
            if bool(((values & mask) == mask).any()):
                return name
    return None


_EXPONENTS = {
    "F64": (64, 0x7FF0000000000000),
    "F32": (32, 0x7F800000),
    "F16": (16, 0x7C00),
    "BF16": (16, 0x7F80),
    "F8_E5M2": (8, 0x7C),
    "F8_E4M3": (8, 0x7F),  # has no infinity; its NaN is all ones
}
"""Width, and the bits that are all ones in NaN and infinity and in nothing else."""


def _bad_image(file: BinaryIO) -> str | None:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(file, formats=["PNG", "JPEG", "WEBP"]) as image:
            if image.width * image.height > _MAX_PIXELS:
                return f"{image.width} x {image.height} pixels would fill the memory of whoever opens it"
            image.load()
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as err:
        return f"the picture does not open: {str(err)[:120]}"
    except Image.DecompressionBombWarning as err:
        return str(err)[:200]
    return None


def _scan_secrets(repository: Repository, entry: FileEntry, ignore: FileEntry | None) -> None:
    """The secret scan of a file that the commit did not wait for."""
    before, line = b"", 0  # line: how many end before what is looked at
    with store().open(entry.sha256) as file:
        while piece := file.read(_PIECE):
            if not before and not looks_like_text(piece[:4096]):
                return
            for secret in find_secrets(before + piece):
                try:
                    leaks.refuse(
                        repository, entry.path, leaks.at_line(secret, line + secret.line),
                        ignored=leaks.is_meant(ignore, entry.path),
                    )  # fmt: skip
                except SecretFound as err:
                    holds.hold_bytes(repository, entry.sha256, reason=str(err))
                    return
            read = before + piece
            before = read[-_OVERLAP:]  # a token that two pieces share
            line += read.count(b"\n", 0, len(read) - len(before))
