"""Tokens and keys on their way into a repository: ours are revoked, and none becomes public."""

from __future__ import annotations

import base64
import json
import random
import string
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from hub.accounts.models import ApiToken, AuditEntry, User
from hub.accounts.services import authenticate, revoke_token
from hub.accounts.tokens import new_token
from hub.errors import SecretFound
from hub.jobs import services as jobs
from hub.repos import services
from hub.repos.commits import Put
from hub.repos.models import Commit, Repository
from hub.safety.secrets import FORMS, find_secrets
from priors.errors import TokenRejected
from tests.factories import bearer, make_blob, make_commit, make_repository, make_token, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def own_home(home: Path) -> Path:
    return home


@pytest.fixture
def ann() -> User:
    return make_user("ann")


def letters(count: int, alphabet: str = string.ascii_letters + string.digits) -> str:
    return "".join(random.Random(count).choices(alphabet, k=count))


# Put together here, so that no scanner of this repository takes them for real.
SECRETS = {
    "huggingface": "hf" + "_" + letters(34),
    "github": "ghp" + "_" + letters(36),
    "github_fine": "github" + "_pat_" + letters(22) + "_" + letters(59),
    "gitlab": "glpat" + "-" + letters(20),
    "aws": "AKIA" + letters(16, string.ascii_uppercase + "234567"),
    "google": "AIza" + letters(35),
    "anthropic": "sk-" + "ant-api03-" + letters(93),
    "openai": "sk-" + "proj-" + letters(80),
    "slack": "xoxb" + "-123456789012-" + letters(24),
    "slack_hook": "https://hooks.slack.com/" + "services/T" + "0" * 8 + "/B" + "1" * 8 + "/" + letters(24),
    "stripe": "sk" + "_live_" + letters(24),
    "npm": "npm" + "_" + letters(36),
    "pypi": "pypi-" + "AgEIcHlwaS5vcmc" + letters(80),
    "docker": "dckr" + "_pat_" + letters(27),
    "sendgrid": "SG." + letters(22) + "." + letters(43),
    "replicate": "r8" + "_" + letters(37),
    "azure": "AccountKey" + "=" + letters(86) + "==",
    "pem": "-----BEGIN RSA " + "PRIVATE KEY-----\n" + letters(64) + "\n-----END RSA " + "PRIVATE KEY-----",
}


def commit(client: Client, repository: Any, by: User, files: dict[str, bytes]) -> tuple[int, dict[str, Any]]:
    stored = [{"path": path, "sha256": make_blob(data, by=by).sha256} for path, data in files.items()]
    body = {"files": stored, "replace": False}
    address = f"/api/v1/repos/{repository}/commits"
    response = client.post(address, body, content_type="application/json", headers=bearer(by))
    return response.status_code, response.json()


def test_every_form_has_an_example() -> None:
    assert set(SECRETS) == set(FORMS) - {"ours"}


@pytest.mark.parametrize("form", SECRETS)
@pytest.mark.parametrize("name", ["README.md", "config.json", "train.py"])
def test_a_key_is_refused_where_everybody_could_read_it(client: Client, ann: User, form: str, name: str) -> None:
    repository = make_repository(ann)
    content = f'{{"a": 1,\n "key": "{SECRETS[form]}"\n}}'.encode()

    status, problem = commit(client, repository, ann, {name: content, "fine.txt": b"1"})

    assert (status, problem["code"]) == (422, "secret-found")
    assert f"{name!r}, line 2" in problem["detail"]
    assert SECRETS[form][8:] not in problem["detail"]
    assert Commit.objects.count() == 0


@pytest.mark.parametrize(
    "text",
    [
        "hf_transfer and hf_hub_download", "self.ph_levels", "the risk-averse task-specific ask-ant", "AKIA",
        "AKIA" + "IOSFODNN7EXAMPLE", "sk-learn", "xoxo-xoxo", "glpat", "-----BEGIN PUBLIC KEY-----\nAAAA",
        "see -----BEGIN PRIVATE KEY----- in the docs", "ph_" + "0" * 38, "x" + SECRETS["huggingface"],
        SECRETS["huggingface"] + "abc", "sha_" + letters(40),
    ],
)  # fmt: skip
def test_what_only_looks_alike_is_no_secret(text: str) -> None:
    assert list(find_secrets(f"first\n{text}\n".encode())) == []


@pytest.mark.parametrize("private", [True, False])
def test_a_working_token_of_ours_is_revoked_and_refused_everywhere(client: Client, ann: User, private: bool) -> None:
    repository = make_repository(ann, private=private)
    leaked = make_token(make_user("bob"))

    status, problem = commit(client, repository, ann, {"notes.md": f"hello\n\ntoken: {leaked}\n".encode()})

    assert (status, problem["code"]) == (422, "secret-found")
    assert "'notes.md', line 3" in problem["detail"]
    assert leaked[8:] not in problem["detail"]
    with pytest.raises(TokenRejected, match="revoked"):
        authenticate(leaked)
    assert AuditEntry.objects.filter(action="token.leaked", subject=str(repository)).exists()


@pytest.mark.parametrize("how", ["pull", "job"])
def test_a_token_stays_revoked_when_what_gave_it_away_is_taken_back(ann: User, how: str) -> None:
    repository = make_repository(ann)
    make_commit(repository, {"a.txt": b"1"}, by=ann)
    leaked = make_token(make_user("bob"))
    text = f"token: {leaked}".encode()

    if how == "pull":
        content = {"path": "n.md", "content": base64.b64encode(text).decode(), "encoding": "base64"}
        lines = [{"key": "header", "value": {"summary": "s"}}, {"key": "file", "value": content}]
        answer = Client(headers=bearer(ann)).post(
            f"/api/models/{repository}/commit/main?create_pr=1",
            "\n".join(map(json.dumps, lines)),
            content_type="application/x-ndjson",
        )
        assert answer.status_code == 400
        assert not repository.discussions.exists()
    else:
        spec = {"source": "hf:a/b", "push_to": "ann/copy", "rev": None, "type": "model", "private": True}
        held = jobs.claim(str(jobs.submit(kind="import", spec=spec, owner=ann).pk))
        assert held is not None
        files = [Put("n.md", make_blob(text, by=ann).sha256)]
        push = jobs.Push(None, "ann/copy", "plain", "Copy", private=True, files=files, type="model", provenance={})
        with pytest.raises(SecretFound):
            jobs.finish(held, jobs.Outcome({}, push=push))
        assert not Repository.objects.filter(name="copy").exists()

    with pytest.raises(TokenRejected, match="revoked"):
        authenticate(leaked)
    assert AuditEntry.objects.filter(action="token.leaked").count() == 1


def test_a_token_of_ours_that_no_longer_works_may_stay_in_private(client: Client, ann: User) -> None:
    dead = make_token(ann)
    revoke_token(ApiToken.objects.get(user=ann))

    assert commit(client, make_repository(ann, private=True), ann, {"a": dead.encode()})[0] == 201
    assert commit(client, make_repository(ann), ann, {"a": new_token().encode()})[0] == 422


def test_a_private_repository_may_hold_keys_and_then_not_become_public(ann: User) -> None:
    repository = make_repository(ann, private=True)
    made = make_commit(repository, {"deploy.yaml": f"a: 1\nkey: {SECRETS['github']}".encode()}, by=ann)

    with pytest.raises(SecretFound, match=r"'deploy.yaml', line 2"):
        services.change_settings(made.repository, private=False)

    repository.refresh_from_db()
    assert repository.private
    cleaned = make_commit(repository, {"deploy.yaml": b"a: 1"}, by=ann)
    services.change_settings(cleaned.repository, private=False)


def test_examples_are_named_in_secretsignore_which_covers_no_working_token(client: Client, ann: User) -> None:
    repository = make_repository(ann)
    examples = {"docs/how.md": SECRETS["gitlab"].encode(), ".secretsignore": b"docs/\n"}

    assert commit(client, repository, ann, examples)[0] == 201
    assert commit(client, repository, ann, {"docs/more.md": SECRETS["aws"].encode()})[0] == 201
    assert commit(client, repository, ann, {"src/x.py": SECRETS["aws"].encode()})[1]["code"] == "secret-found"
    live = make_token(ann)
    assert commit(client, repository, ann, {"docs/live.md": live.encode()})[1]["code"] == "secret-found"


def test_a_file_that_did_not_change_is_not_judged_again(client: Client, ann: User) -> None:
    repository = make_repository(ann)
    commit(client, repository, ann, {"docs/how.md": SECRETS["gitlab"].encode(), ".secretsignore": b"docs/\n"})

    assert commit(client, repository, ann, {"other.txt": b"1", ".secretsignore": b"\n"})[0] == 201


def test_bytes_that_are_no_text_are_not_searched(client: Client, ann: User) -> None:
    assert commit(client, make_repository(ann), ann, {"w.bin": b"\x00" + SECRETS["aws"].encode()})[0] == 201
