"""Whenever a process dies in the middle of an upload: what is recorded is there, and what is left over is swept."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from django.db import connections
from django.utils import timezone

from hub.ops.fsck import fsck
from hub.repos.blobs import put_blob, sweep
from hub.repos.models import Blob
from hub.repos.storage import store
from hub.xet import assembled
from hub.xet.models import Xorb
from tests.factories import sha256
from tests.rounds import rounds

ROUNDS = rounds(5, 50)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.soak]


def upload_and_be_killed(contents: Sequence[bytes], after_s: float) -> None:
    connections.close_all()  # a child must not speak through its parent's connection
    child = os.fork()
    if child == 0:
        try:
            for content in contents:
                put_blob([content[at : at + 200_000] for at in range(0, len(content), 200_000)], by=None)
        finally:
            os._exit(0)
    time.sleep(after_s)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def test_an_upload_killed_anywhere_leaves_no_promise_without_its_bytes(home: Path) -> None:
    draw = random.Random(0)
    shared = np.random.default_rng(0).bytes(1_000_000)
    contents = [shared + np.random.default_rng(seed).bytes(500_000) for seed in range(1, 2 * ROUNDS.end + 1)]

    for turn in ROUNDS:
        upload_and_be_killed(contents[2 * turn : 2 * turn + 2], draw.uniform(0.0, 0.3))
        assert fsck(print) == 0

    for content in contents:  # it goes on as if nothing had happened
        put_blob([content], by=None)
    for name in list(assembled.hashes()):
        assembled.drop(name)
    assert all(store().verify(sha256(content)) for content in contents)
    for path in (home / "blobs").rglob("*"):
        os.utime(path, (1_000_000, 1_000_000))
    Blob.objects.update(touched_at=timezone.now())
    sweep(grace_s=3600)
    left = [path for path in (home / "blobs").rglob("*") if path.is_file()]
    assert {path.relative_to(home / "blobs").as_posix() for path in left} == set(
        Xorb.objects.values_list("key", flat=True)
    )
    assert fsck(print) == 0
