"""Whatever is sent to the API that its own description allows, or forbids, no answer is a 5xx."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from django.core.signals import request_finished
from django.db import close_old_connections
from django.test import Client
from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode

from hub.accounts.models import User
from hub.api.urls import api
from tests.factories import bearer, make_commit, make_prior, make_repository, make_task, make_user, sha256

pytestmark = pytest.mark.django_db

EXAMPLES = 300 if os.environ.get("SOAK") else 12
SCHEMA = schemathesis.openapi.from_dict(dict(api.get_openapi_schema()))
SCHEMA.config.generation.update(modes=[GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
OPERATIONS = [result.ok() for result in SCHEMA.get_all_operations()]
KNOWN = {
    "ns": ["ann"], "name": ["plain", "char-ngrams", "topics"], "rev": ["main", "v1"], "path": ["a.txt", "prior.json"],
    "branch": ["main"], "tag": ["v1"], "sha256": [sha256(b"1")], "hold_id": ["1"],
}  # fmt: skip
"""What exists; most path parameters are of these, or hardly any request would come past its first 404."""


@pytest.fixture
def world(home: Path) -> Iterator[tuple[User, dict[str, str]]]:
    ann = make_user("ann")
    make_commit(make_repository(ann, "plain"), {"a.txt": b"1"}, by=ann)
    make_prior(ann)
    make_task(ann)
    yield ann, bearer(ann)


def test_every_operation_is_fuzzed() -> None:
    assert len(OPERATIONS) > 20


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)
def test_nothing_makes_the_api_fail(world: tuple[User, dict[str, str]], operation: Any) -> None:
    _, headers = world
    client = Client(raise_request_exception=False)
    cases = [operation.as_strategy(generation_mode=mode) for mode in GenerationMode]

    @seed(1)
    @settings(
        max_examples=EXAMPLES, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck), verbosity=Verbosity.quiet,
    )  # fmt: skip
    @given(data=st.data())
    def fuzz(data: st.DataObject) -> None:
        case = data.draw(st.one_of(*cases))
        path, parameters = operation.path, case.path_parameters or {}
        for name in parameters:
            value = data.draw(st.sampled_from(KNOWN[name])) if name in KNOWN and data.draw(st.integers(0, 3)) else None
            path = path.replace(f"{{{name}}}", str(parameters[name] if value is None else value))
        path = path.replace("..", "").replace("\n", "").replace("\r", "") or "/"
        kwargs = case.as_transport_kwargs(base_url="http://testserver")
        body = case.body if isinstance(case.body, bytes) else _json(case.body)
        sent = {} if data.draw(st.integers(0, 19)) == 19 else headers
        response = client.generic(
            operation.method.upper(), path, body, content_type="application/json", headers=sent,
            query_params=kwargs.get("params") or {},
        )  # fmt: skip
        list(response) if not response.streaming else _close(response)
        assert response.status_code < 500, (operation.label, path, kwargs.get("params"), body[:300], response.content)
        assert response.status_code != 429, "the rate limit hides what was to be tested"

    fuzz()


def _json(body: Any) -> bytes:
    import json

    try:
        return json.dumps(body).encode()
    except TypeError:  # schemathesis' mark of a body that is not there
        return b""


def _close(response: Any) -> None:
    """Ends a response that may have no end. Closing says that a request is over, which closes the test's database."""
    request_finished.disconnect(close_old_connections)
    try:
        response.close()
    finally:
        request_finished.connect(close_old_connections)
