"""Fixtures that every part may use; those of one part live in its own folder."""

from __future__ import annotations

import os
import signal

# Before torch is imported anywhere: the suite runs in two processes on two cores, and threads that wait for each other
# across them cost more than they bring. Children inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Some environments forbid bytecode, and each of some hundred children would compile the hub anew: 0.6 s each time.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# A shell starts what runs in its background with Ctrl-C ignored, and children inherit that: tests that interrupt one
# would wait for nothing.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.test import TransactionTestCase
from django.test.utils import override_settings
from hypothesis import settings
from pytest_django import DjangoDbBlocker, Settings

from tests.emptying import empty_tables
from tests.live import LiveHub

# On a machine that does other work a property may take long without being wrong.
settings.register_profile("suite", settings(), deadline=None)
settings.load_profile("suite")

LONG = (
    "test_journey.py", "test_conformance.py", "test_bucket_end_to_end.py", "test_matrix.py",
    "test_private_is_unknown.py", "test_up.py", "test_seed.py", "test_killed_server.py", "test_racing_writers.py",
    "test_starter.py", "test_transformers.py", "test_hostile_words.py", "test_wire_social.py",
)  # fmt: skip
"""Files that take longest; most of them start programs."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files come first: xdist gives whole files to its processes, and a long one that begins last ends alone."""
    items.sort(key=lambda item: item.path.name not in LONG)


@pytest.fixture(scope="session", autouse=True)
def quick_passwords() -> Iterator[None]:
    """A password is slow to hash, 0.4 s each, and hundreds of tests have a user of their own."""
    with override_settings(PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"]):
        yield


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """The audit log refuses to be emptied, which tests that use several connections do with every table after them.

    At the end sessions of threads and processes that a test has killed are ended on the server, too: PostgreSQL notices
    late that nobody is there, and does not drop a database before.
    """
    from django.db import connection

    from hub.accounts.audit import remove_triggers

    with django_db_blocker.unblock():
        remove_triggers(connection)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", empty_tables)
        yield
    if connection.vendor == "postgresql":
        with django_db_blocker.unblock(), connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )


@pytest.fixture
def home(tmp_path: Path, settings: Settings) -> Path:
    """A hub's home of this test's own: blobs, broker, caches and scratch lie in it. Nothing of a rate is spent."""
    from hub.accounts import rates

    rates.forget()
    folder = tmp_path / "home"
    folder.mkdir()
    settings.PRIORHUB_HOME = folder
    settings.STORAGE_URL = f"file://{folder / 'blobs'}"
    return folder


@pytest.fixture(scope="session")
def live_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveHub]:
    """One real web process for all tests of a session that only add to it."""
    hub = LiveHub(tmp_path_factory.mktemp("live"))
    yield hub
    hub.stop()
