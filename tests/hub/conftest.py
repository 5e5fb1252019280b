"""Fixtures of the hub's own tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import transaction
from django.test.utils import override_settings
from pytest_django import DjangoDbBlocker

from hub.repos.storage import BlobStore
from tests.hub.matrix_world import World


@pytest.fixture(scope="module")
def matrix(
    django_db_setup: None, django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """Made once, in a transaction that ends with the module; each request is rolled back to here."""
    home = tmp_path_factory.mktemp("matrix")
    changed = override_settings(
        PRIORHUB_HOME=home,
        STORAGE_URL=f"file://{home / 'blobs'}",
    )
    with django_db_blocker.unblock(), changed, transaction.atomic(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(BlobStore, "delete", lambda store, sha256: None)  # a rollback brings no bytes back
        yield World()
        transaction.set_rollback(True)
