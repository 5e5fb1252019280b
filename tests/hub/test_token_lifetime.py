"""A token while it lives and after: races with its end, and where its text may never stand."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import pytest
from django.db import connection
from django.test import Client

from hub.accounts import services
from hub.accounts.models import ApiToken, AuditEntry
from tests.factories import make_repository, make_token, make_user

ROUNDS = 5


@pytest.fixture(autouse=True)
def own_home(home: Path) -> Path:
    return home


@pytest.mark.django_db(transaction=True)
def test_no_use_succeeds_that_begins_after_the_revocation_was_answered() -> None:
    ann = make_user("ann")
    for _ in range(ROUNDS):
        text, token = services.create_token(user=ann, name="t", role="write")
        revoked, late, used = threading.Event(), [], []

        def use(text: str = text, revoked: threading.Event = revoked, late: list = late, used: list = used) -> None:  # type: ignore[type-arg]
            client = Client()
            try:
                for _ in range(10):
                    after = revoked.is_set()
                    status = client.get("/api/v1/whoami", headers={"Authorization": f"Bearer {text}"}).status_code
                    (late if after else used).append(status)
            finally:
                connection.close()

        threads = [threading.Thread(target=use) for _ in range(4)]
        for thread in threads:
            thread.start()
        services.revoke_token(token)
        revoked.set()
        for thread in threads:
            thread.join()

        assert set(late) <= {401}
        assert set(used) <= {200, 401}


@pytest.mark.django_db(transaction=True)
def test_of_many_who_revoke_one_token_one_is_in_the_log() -> None:
    _, token = services.create_token(user=make_user("ann"), name="t", role="write")

    def revoke() -> None:
        try:
            services.revoke_token(ApiToken.objects.get(pk=token.pk))
        finally:
            connection.close()

    threads = [threading.Thread(target=revoke) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert AuditEntry.objects.filter(action="token.revoked").count() == 1


@pytest.mark.django_db
def test_the_text_stands_in_no_log_and_no_answer(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    ann = make_user("ann")
    make_repository(ann, "mail", private=True)
    text = make_token(ann)
    headers = {"Authorization": f"Bearer {text}"}
    with caplog.at_level(logging.DEBUG):
        answers = [
            client.get("/api/v1/whoami", headers=headers),
            client.get("/api/v1/repos/ann/none", headers=headers),
            client.post("/api/v1/repos", "{", content_type="application/json", headers=headers),
            client.get("/api/v1/whoami", headers={"Authorization": f"Bearer {text}x"}),
            client.get("/api/v1/whoami", headers={"Authorization": f"Basic {text}"}),
        ]

    assert text not in caplog.text
    assert all(text not in answer.content.decode() + str(answer.headers) for answer in answers)


@pytest.mark.django_db
def test_a_token_dies_with_its_account(client: Client) -> None:
    ann = make_user("ann")
    text = make_token(ann)

    services.delete_account(ann, by=ann)

    assert client.get("/api/v1/whoami", headers={"Authorization": f"Bearer {text}"}).status_code == 401
