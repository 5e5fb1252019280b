"""Fixtures of the hub's own tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from allauth.account.models import EmailAddress
from django.db import transaction
from django.test.utils import override_settings
from pytest_django import DjangoDbBlocker

from hub.accounts.models import User
from hub.repos.storage import BlobStore
from tests.factories import PASSWORD, make_user
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


@pytest.fixture
def ann(db: None) -> User:
    """She signs in with PASSWORD by her name or her mail address. Files where she only owns things have their own."""
    user = make_user("ann", password=PASSWORD)
    EmailAddress.objects.create(user=user, email="ann@example.org", primary=True, verified=True)
    return user
