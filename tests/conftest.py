"""Fixtures that every part may use; those of one part live in its own folder."""

from __future__ import annotations

import os

# Before torch is imported anywhere: the suite runs in two processes on two cores, and threads that wait for each other
# across them cost more than they bring. Children inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from pathlib import Path

import pytest
from pytest_django import Settings


@pytest.fixture
def home(tmp_path: Path, settings: Settings) -> Path:
    """A hub's home of this test's own: blobs, broker, caches and scratch lie in it."""
    folder = tmp_path / "home"
    folder.mkdir()
    settings.PRIORHUB_HOME = folder
    settings.STORAGE_URL = f"file://{folder / 'blobs'}"
    return folder
