"""A home of its own for every test, and a small world to look at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from hub.accounts.models import User
from tests.factories import make_user
from tests.web.world import make_world


@pytest.fixture(autouse=True)
def own_home(home: Path) -> Path:
    return home


@pytest.fixture
def ada(db: None) -> User:
    return make_user("ada", password="correct horse battery")


@pytest.fixture
def world(ada: User) -> dict[str, Any]:
    return make_world(ada)


@pytest.fixture
def signed_in(client: Client, ada: User) -> Client:
    client.force_login(ada)
    return client
