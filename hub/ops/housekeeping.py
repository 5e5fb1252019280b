"""Removing what is left over: unreferenced blobs, folders of dead jobs, stale drafts and messages."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from hub.accounts import rates
from hub.home import broker_folder, prior_cache, scratch
from hub.jobs import disk_transport
from hub.jobs.cleanup import is_job_folder, remove_job_folders
from hub.repos import blobs, quotas
from hub.xet import direct

_STALE_S = 24 * 3600.0


@dataclass(frozen=True)
class Cleaned:
    """How much of each kind was removed."""

    blobs: int
    xorbs: int
    compacted_bytes: int
    strays: int
    temporary: int
    job_folders: int
    drafts: int
    messages: int


def clean_up(*, grace_s: float | None = None) -> Cleaned:
    """One round over everything; safe beside a running hub."""
    rates.clean()
    quotas.clean()
    direct.forget_old(grace_s=_STALE_S)
    swept = blobs.sweep(grace_s=settings.BLOB_GRACE_SECONDS if grace_s is None else grace_s)
    return Cleaned(
        blobs=swept.blobs,
        xorbs=swept.xorbs,
        compacted_bytes=swept.compacted_bytes,
        strays=swept.strays,
        temporary=swept.temporary,
        job_folders=remove_job_folders(),
        drafts=sum(_remove_stale(path) for path in [*prior_cache().glob(".*"), *scratch().iterdir()]),
        messages=disk_transport.clean(broker_folder(), older_than_s=_STALE_S),
    )


def _remove_stale(path: Path) -> bool:
    """Removes a draft that nobody has touched for a day; folders of jobs are `remove_job_folders`' to judge."""
    try:
        if path.stat().st_mtime > time.time() - _STALE_S or is_job_folder(path):
            return False
    except FileNotFoundError:
        return False
    shutil.rmtree(path, ignore_errors=True)
    return True
