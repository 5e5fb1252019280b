"""Dangerous names at every door that a name comes in by: refused with that door's code, and nothing lands on disk.

LFS and Xet uploads carry no names: those bytes get theirs by a line of a commit, which is a door of its own here.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from hub.accounts import organisations, services
from hub.accounts.models import User
from hub.errors import BadName
from hub.repos import discussions, pulls
from hub.repos.models import Commit, Namespace, Ref, Repository
from hub.texts import is_storable
from priors.errors import BadManifest
from priors.manifest import parse_manifest
from tests.factories import (
    bearer,
    function_manifest,
    make_blob,
    make_commit,
    make_organisation,
    make_repository,
    make_user,
    sha256,
)
from tests.hub.test_hostile_files import NAMES

pytestmark = pytest.mark.django_db

TWINS = [
    ("A.txt", "a.txt"), ("d/A", "D/a"), ("\u00e9.txt", "e\u0301.txt"), ("\ufb01", "fi"), ("\u00c5.txt", "\u212b.txt"),
    ("a", "a/b"),
]  # fmt: skip
"""Case, composed and decomposed, compatibility, and a file that would be a folder."""
STORED = re.compile(r"home/(blobs(/tmp|/sha256(/[0-9a-f]{2}(/[0-9a-f]{2}(/[0-9a-f]{64})?)?)?)?|cache(/blobs)?)")


@pytest.fixture(autouse=True)
def own_home(home: Path) -> Path:
    return home


@pytest.fixture
def ann() -> User:
    return make_user("ann")


@pytest.fixture
def client(ann: User) -> Client:
    return Client(headers=bearer(ann))


@pytest.fixture(autouse=True)
def nothing_lands_elsewhere(tmp_path: Path, own_home: Path) -> Iterator[None]:
    """Compares the disk: what is new is named by its hash, and lies in the blob root."""
    before = set(tmp_path.rglob("*"))
    yield
    after = {path.relative_to(tmp_path).as_posix() for path in set(tmp_path.rglob("*")) - before}
    assert sorted(path for path in after if not STORED.fullmatch(path)) == []


def native(client: Client, ann: User, names: list[str]) -> Any:
    files = [{"path": name, "sha256": make_blob(b"1", by=ann).sha256} for name in names]
    return client.post("/api/v1/repos/ann/mail/commits", {"files": files}, content_type="application/json")


def ndjson(client: Client, lines: list[dict[str, Any]], *, rev: str = "main", query: str = "") -> Any:
    body = "\n".join(json.dumps(line) for line in [{"key": "header", "value": {"summary": "s"}}, *lines])
    address = f"/api/models/ann/mail/commit/{rev}{query}"
    return client.post(address, body, content_type="application/x-ndjson")


def inline(name: str) -> dict[str, Any]:
    value = {"path": name, "content": base64.b64encode(b"1").decode(), "encoding": "base64"}
    return {"key": "file", "value": value}


def wire(client: Client, ann: User, names: list[str]) -> Any:
    return ndjson(client, [inline(name) for name in names])


def wire_lfs(client: Client, ann: User, names: list[str]) -> Any:
    blob = make_blob(b"large", by=ann)
    values = [{"path": name, "algo": "sha256", "oid": blob.sha256, "size": blob.size} for name in names]
    return ndjson(client, [{"key": "lfsFile", "value": value} for value in values])


def proposal(client: Client, ann: User, names: list[str]) -> Any:
    return ndjson(client, [inline(name) for name in names], query="?create_pr=1")


def pull_branch(client: Client, ann: User, names: list[str]) -> Any:
    if not discussions.Discussion.objects.exists():
        pulls.open_pull(repository=Repository.objects.get(), by=ann, title="t", description="")
    return ndjson(client, [inline(name) for name in names], rev="refs%2Fpr%2F1")


FILE_DOORS: dict[str, tuple[Callable[..., Any], int]] = {
    "native commit": (native, 422), "line of a commit": (wire, 400), "LFS or Xet file": (wire_lfs, 400),
    "proposal": (proposal, 400), "branch of a pull request": (pull_branch, 400),
}  # fmt: skip


@pytest.mark.parametrize("door", FILE_DOORS)
def test_no_door_for_files_takes_a_dangerous_name(client: Client, ann: User, door: str) -> None:
    enter, _ = FILE_DOORS[door]
    make_commit(make_repository(ann, "mail"), {"fine.txt": b"0"}, by=ann)
    wrong = []
    for name in NAMES:
        answer = enter(client, ann, ["other.txt", name])
        if door == "native commit":
            unread = not is_storable(name)  # such JSON is refused before anybody looks for names in it
            refused = (400, "bad-request") if unread else (422, "bad-request" if len(name) > 2000 else "bad-name")
            found = answer.status_code, answer.json().get("code")
        else:
            refused, found = (400, True), (answer.status_code, answer.headers["X-Error-Message"].isprintable())
        if found != refused:
            wrong.append((ascii(name)[:40], found, answer.content[:200]))
    assert wrong == []
    assert Commit.objects.count() == 1
    assert Ref.objects.filter(kind=Ref.Kind.BRANCH).count() == 1


@pytest.mark.parametrize("door", FILE_DOORS)
def test_no_door_for_files_takes_twins(client: Client, ann: User, door: str) -> None:
    enter, code = FILE_DOORS[door]
    make_commit(make_repository(ann, "mail"), {"fine.txt": b"0"}, by=ann)

    answers = {pair: enter(client, ann, list(pair)).status_code for pair in TWINS}

    assert answers == dict.fromkeys(TWINS, code)
    assert Commit.objects.count() == 1


@pytest.mark.parametrize(("there", "added"), TWINS)
def test_a_twin_of_what_is_there_is_refused_too(client: Client, ann: User, there: str, added: str) -> None:
    make_commit(make_repository(ann, "mail"), {there: b"0"}, by=ann)

    assert wire(client, ann, [added]).status_code == 400
    assert wire_lfs(client, ann, [added]).status_code == 400


def test_files_uploaded_on_the_site_are_named_no_further_than_their_folder(client: Client, ann: User) -> None:
    repository = make_repository(ann, "mail")
    make_commit(repository, {"fine.txt": b"0"}, by=ann)
    pull = pulls.open_pull(repository=repository, by=ann, title="t", description="")
    browser = Client()
    browser.force_login(ann)

    def add(folder: str, name: str = "a.txt") -> int:
        upload = SimpleUploadedFile("a.txt", b"1")
        upload._name = name  # type: ignore[attr-defined]  # a browser may say what it likes; the class would mend it
        sent = {"uploads": upload, "folder": folder}
        return browser.post(f"/ann/mail/discussions/{pull.number}/files", sent).status_code

    for folder in NAMES:
        if folder.strip("/ ") and folder == folder.strip() and "\ud800" not in folder and folder not in ("/abs", "a/"):
            assert add(folder) in {400, 422}, ascii(folder)
    for name in ("con.txt", ".git"):
        assert add("", name) in {400, 422}, ascii(name)
    assert Commit.objects.count() == 1
    assert add("/abs/") == 302  # a slash at either end is a slip, and leads nowhere


REPOSITORIES = [
    "../x", "..\\x", "%2e%2e%2f", "/abs", "C:\\x", "a\nb", "a ", "a.", ".git", "x.git", "x.lock", "\u0430nn",
    "a\u202eb", "x" * 97, "", ".", "..", "a..b", "-a", "a/b", "a?b", "\u00e9", "e\u0301", "a\0b",
]  # fmt: skip


@pytest.mark.parametrize("door", ["create", "create here", "move", "move here", "duplicate", "settings", "import"])
def test_no_door_for_repositories_takes_a_dangerous_name(client: Client, ann: User, door: str) -> None:
    make_commit(make_repository(ann, "mail"), {"fine.txt": b"0"}, by=ann)
    browser = Client()
    browser.force_login(ann)

    def post(address: str, said: dict[str, Any]) -> int:
        return client.post(address, said, content_type="application/json").status_code

    def enter(name: str) -> int:
        match door:
            case "create":
                return post("/api/repos/create", {"name": f"ann/{name}", "type": "model"})
            case "create here":
                return post("/api/v1/repos", {"name": f"ann/{name}", "kind": "plain"})
            case "move":
                return post("/api/repos/move", {"fromRepo": "ann/mail", "toRepo": f"ann/{name}", "type": "model"})
            case "move here":
                return post("/api/v1/repos/ann/mail/move", {"to": f"ann/{name}"})
            case "duplicate":
                return post("/api/models/ann/mail/duplicate", {"repository": f"ann/{name}"})
            case "settings":
                return browser.post("/ann/mail/settings", {"do": "move", "to": f"ann/{name}"}).status_code
            case "import":
                spec = {"source": "hf:org/model", "push_to": f"ann/{name}"}
                return post("/api/v1/jobs", {"kind": "import", "spec": spec})
        raise AssertionError(door)

    names = [name for name in REPOSITORIES if door != "settings" or name == name.strip()]  # a page's form is stripped
    answers = {ascii(name)[:30]: enter(name) for name in names}

    assert {name: code for name, code in answers.items() if code not in {400, 422}} == {}
    assert [repository.name for repository in Repository.objects.all()] == ["mail"]


REFS = [
    "../x", "a..b", "/a", "a/", "a//b", "a.", "a.lock", "a b", "a\nb", "a~1", "a^", "a:b", "a?", "a*", "a[", "a\\b",
    "-a", ".a", "a/.b", "a.lock/b", "@", "a@{0}", "\u0430", "a\u202eb", "x" * 201, "0" * 40, "refs/pr/1",
    "refs/heads/a", "HEAD",
]  # fmt: skip


@pytest.mark.parametrize("door", ["branch", "tag", "branch here", "tag here", "commit here", "site"])
def test_no_door_for_refs_takes_what_git_could_not_hold_or_would_take_for_another(
    client: Client, ann: User, door: str
) -> None:
    make_commit(make_repository(ann, "mail"), {"fine.txt": b"0"}, by=ann)
    blob = make_blob(b"1", by=ann)
    browser = Client()
    browser.force_login(ann)

    def post(address: str, said: dict[str, Any]) -> int:
        return client.post(address, said, content_type="application/json").status_code

    def enter(name: str) -> int:
        match door:
            case "branch":
                return post(f"/api/models/ann/mail/branch/{quote(name, safe='')}", {})
            case "tag":
                return post("/api/models/ann/mail/tag/main", {"tag": name})
            case "branch here":
                return post("/api/v1/repos/ann/mail/branches", {"name": name})
            case "tag here":
                return post("/api/v1/repos/ann/mail/tags", {"name": name})
            case "commit here":
                files = [{"path": "b.txt", "sha256": blob.sha256}]
                return post("/api/v1/repos/ann/mail/commits", {"files": files, "branch": name})
            case "site":
                said = {"do": "make", "kind": "branch", "name": name}
                return browser.post("/ann/mail/refs/change", said).status_code
        raise AssertionError(door)

    answers = {ascii(name)[:30]: enter(name) for name in REFS}

    refused = {400, 404, 422} if door in ("branch", "commit here") else {400, 422}
    assert {name: code for name, code in answers.items() if code not in refused} == {}
    assert list(Ref.objects.values_list("name", flat=True)) == ["main"]


PEOPLE = ["../x", "a/b", "a b", "a.", "-a", "a..b", "", ".", "CON/x", "\u0430nn", "o\u0440enai", "a\u202eb", "x" * 97,
          "api", "Settings", "models", "\u00e9", "a\nb"]  # fmt: skip


@pytest.mark.parametrize("name", PEOPLE, ids=ascii)
def test_neither_people_nor_organisations_take_a_dangerous_name(ann: User, name: str) -> None:
    with pytest.raises(BadName):
        services.create_user(name=name)
    with pytest.raises(BadName):
        services.create_user(name=name, vouched=True)
    with pytest.raises(BadName):
        organisations.create_organisation(name=name, by=ann)

    assert Namespace.objects.count() == User.objects.count() == 1


def test_the_name_of_a_team_disguises_nothing(ann: User) -> None:
    lab = make_organisation("lab", admin=ann)
    for name in ("a\nb", "a\u202eb", "a\u200bb", "a\0b", "", " ", "x" * 97):
        with pytest.raises(BadName):
            organisations.create_team(organisation=lab, name=name, by=ann)


LISTED = [name for name in NAMES if name.lower() not in ("con", "con.txt", "lpt1")]  # the commit refuses these files


@pytest.mark.parametrize("name", LISTED, ids=[ascii(name)[:30] for name in LISTED])
def test_a_manifest_lists_no_dangerous_name(name: str) -> None:
    promise = {name: {"sha256": sha256(b""), "size": 0}}

    with pytest.raises(BadManifest):
        parse_manifest(json.dumps(function_manifest(files=promise)).encode())


def test_a_branch_of_no_pull_request_is_not_made_and_a_closed_one_takes_nothing_by_any_door(
    client: Client, ann: User
) -> None:
    repository = make_repository(ann, "mail")
    make_commit(repository, {"fine.txt": b"0"}, by=ann)
    blob = make_blob(b"1", by=ann)

    def commit_to(branch: str) -> int:
        said = {"files": [{"path": "b.txt", "sha256": blob.sha256}], "branch": branch}
        return client.post("/api/v1/repos/ann/mail/commits", said, content_type="application/json").status_code

    assert commit_to("refs/pr/1") == 404
    pull = pulls.open_pull(repository=repository, by=ann, title="t", description="")
    assert commit_to(pull.ref) == 201
    discussions.set_status(discussion=pull, by=ann, status="closed")

    assert commit_to(pull.ref) == 409
    assert ndjson(client, [inline("c.txt")], rev="refs%2Fpr%2F1").status_code == 409
    assert Ref.objects.filter(kind=Ref.Kind.PULL).count() == 1
