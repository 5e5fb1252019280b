"""Clones by git itself and by dulwich: the same ids, the same files, and nothing for who may not read."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from hub.accounts import gating
from hub.accounts.models import User
from hub.repos import commits, lfs, pulls
from hub.repos.commits import Put, Remove
from hub.repos.git import packing
from hub.repos.git.pktline import FLUSH, Special, line, read
from hub.repos.history import last_commits
from hub.repos.models import Commit, Ref, Repository
from hub.repos.services import create_repository, create_tag
from hub.safety import holds
from tests.factories import make_blob, make_repository, make_token, make_user

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
WEIGHTS = bytes(range(256)) * 40


@pytest.fixture
def owner(home: object, transactional_db: None) -> User:
    return make_user("ann")


@pytest.fixture
def repository(owner: User) -> Repository:
    made = make_repository(owner, "notes")
    grow(made, owner)
    return made


def put(repository: Repository, message: str, files: dict[str, bytes | None], **options: Any) -> Commit:
    changes = [Remove(path) if data is None else Put(path, make_blob(data).sha256) for path, data in files.items()]
    return commits.commit(repository=repository, changes=changes, message=message, by=None, **options)


def grow(repository: Repository, owner: User) -> None:
    """Three commits, a branch, a merge of a pull request, tags, a pointer, names outside ASCII, a folder in folders."""
    put(repository, "First", {"a.txt": b"one\n", "d/e/ä.txt": b"x", "w.safetensors.bin": WEIGHTS, "empty": b""})
    first = put(repository, "Second\n\nWith a body.", {"a.txt": b"two\n", "d.txt": b"d"})
    Ref.objects.create(repository=repository, kind=Ref.Kind.BRANCH, name="dev/x", commit=first)
    put(repository, "On a branch", {"dev.txt": b"dev"}, branch="dev/x")
    create_tag(repository=repository, name="v1", rev="main")
    pull = pulls.open_pull(repository=repository, by=owner, title="Better")
    put(repository, "In a pull request", {"pr.txt": b"pr"}, branch=pull.ref)
    put(repository, "Meanwhile", {"d/e/ä.txt": None, "d/f": b"f"})
    pulls.merge(pull=pull, by=owner)


def git(folder: Path, *arguments: str, check: bool = True, version: int = 2) -> str:
    done = subprocess.run(
        ["git", "-c", f"protocol.version={version}", "-c", "transfer.fsckObjects=true", *arguments], cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "GIT_TERMINAL_PROMPT": "0", "GIT_LFS_SKIP_SMUDGE": "1",
             "GIT_CONFIG_NOSYSTEM": "1"},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    if check:
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()
    return f"{done.returncode}: {done.stderr}"


def refs(repository: Repository) -> dict[str, str]:
    prefix = {"branch": "refs/remotes/origin/", "tag": "refs/tags/"}
    return {f"{prefix[ref.kind]}{ref.name}": ref.commit.oid for ref in repository.refs.all() if ref.kind in prefix}


@needs_git
@pytest.mark.parametrize("version", [0, 1, 2])
def test_git_clones_every_branch_and_tag_with_the_ids_of_the_hub(
    live_server: Any, repository: Repository, tmp_path: Path, version: int
) -> None:
    git(tmp_path, "clone", f"{live_server.url}/ann/notes.git", "got", version=version)
    got = tmp_path / "got"

    shown = git(got, "for-each-ref", "--format=%(refname) %(objectname)", "refs/remotes", "refs/tags").splitlines()
    assert dict(row.split(" ") for row in shown if "HEAD" not in row) == refs(repository)
    git(got, "fsck", "--strict")
    assert int(git(got, "rev-list", "--count", "--all")) == repository.commits.count()
    assert git(got, "branch", "--show-current") == "main"
    assert git(got, "ls-files").split() == ["a.txt", "d.txt", "d/f", "empty", "pr.txt", "w.safetensors.bin"]
    assert git(got, "status", "--short") == ""
    assert (got / "w.safetensors.bin").read_bytes() == lfs.pointer(make_blob(WEIGHTS).sha256, len(WEIGHTS))
    assert (
        git(got, "log", "-1", "--format=%an <%ae> %B", "v1")
        == "Priorhub <Priorhub@priorhub.invalid> Second\n\nWith a body."
    )


@needs_git
def test_last_commits_are_those_that_git_tells(live_server: Any, repository: Repository, tmp_path: Path) -> None:
    git(tmp_path, "clone", "-q", f"{live_server.url}/ann/notes", "got")
    paths = git(tmp_path / "got", "ls-tree", "-r", "-t", "--name-only", "HEAD").splitlines()

    found = last_commits(commits.tip(repository, "main"), paths)  # type: ignore[arg-type]

    told = {path: git(tmp_path / "got", "log", "-1", "--format=%H", "--", path) for path in paths}
    assert {path: commit.oid for path, commit in found.items()} == told


@needs_git
@pytest.mark.parametrize("version", [0, 2])
def test_a_fetch_brings_only_what_is_new(
    live_server: Any, repository: Repository, tmp_path: Path, version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(tmp_path, "clone", "-q", f"{live_server.url}/ann/notes", "got", version=version)
    put(repository, "Newer", {"new.txt": b"new"})
    newest = put(repository, "Newest", {"d/f": b"changed"})
    sent: list[int] = []
    whole = packing.contents
    monkeypatch.setattr(
        "hub.repos.git.upload_pack.contents", lambda selected: sent.append(len(whole(selected))) or whole(selected)
    )

    git(tmp_path / "got", "pull", "-q", version=version)

    assert git(tmp_path / "got", "rev-parse", "HEAD") == newest.oid
    assert sent == [2 + 2 + 1 + 2]  # commits, topmost folders, d, two files
    git(tmp_path / "got", "fsck", "--strict")


@needs_git
@pytest.mark.parametrize("version", [0, 2])
def test_a_shallow_clone_grows(live_server: Any, repository: Repository, tmp_path: Path, version: int) -> None:
    git(tmp_path, "clone", "-q", "--depth", "1", f"{live_server.url}/ann/notes", "got", version=version)
    got = tmp_path / "got"
    main = commits.tip(repository, "main")
    assert main is not None
    assert git(got, "rev-list", "HEAD") == main.oid
    git(got, "fsck", "--strict")

    newest = put(repository, "Newest", {"d/f": b"changed"})
    git(got, "pull", "-q", version=version)
    assert git(got, "rev-list", "HEAD").splitlines() == [newest.oid, main.oid]

    git(got, "fetch", "-q", "--depth", "3", version=version)
    assert int(git(got, "rev-list", "--count", "HEAD")) == 4  # the merge brings two lines
    git(got, "fetch", "-q", "--unshallow", version=version)
    assert int(git(got, "rev-list", "--count", "HEAD")) == repository.commits.count() - 1
    git(got, "fsck", "--strict")


@needs_git
def test_a_shallow_clone_deepens_by_steps(live_server: Any, repository: Repository, tmp_path: Path) -> None:
    for number in range(6):
        put(repository, f"Step {number}", {"s": str(number).encode()})
    git(tmp_path, "clone", "-q", "--depth", "2", f"{live_server.url}/ann/notes", "got")

    git(tmp_path / "got", "fetch", "-q", "--deepen", "2")

    assert int(git(tmp_path / "got", "rev-list", "--count", "HEAD")) == 4


@needs_git
def test_a_pull_request_is_fetched_by_its_ref(live_server: Any, repository: Repository, tmp_path: Path) -> None:
    git(tmp_path, "clone", "-q", f"{live_server.url}/ann/notes", "got")

    git(tmp_path / "got", "fetch", "-q", "origin", "refs/pr/1:pr")

    assert git(tmp_path / "got", "log", "-1", "--format=%s", "pr") == "In a pull request"


@needs_git
def test_datasets_and_empty_repositories_are_cloned(live_server: Any, owner: User, tmp_path: Path) -> None:
    rows = create_repository(name="ann/rows", kind=Repository.Kind.PLAIN, type="dataset")
    made = put(rows, "Rows", {"rows.csv": b"a,b\n"})
    make_repository(owner, "nothing")

    git(tmp_path, "clone", "-q", f"{live_server.url}/datasets/ann/rows", "rows")
    for version in (0, 2):
        git(tmp_path, "clone", "-q", f"{live_server.url}/ann/nothing", f"nothing{version}", version=version)

    assert git(tmp_path / "rows", "rev-parse", "HEAD") == made.oid
    assert "128" in git(tmp_path, "clone", "-q", f"{live_server.url}/ann/rows", "none", check=False)


@needs_git
def test_a_push_is_refused_with_a_reason(live_server: Any, repository: Repository, tmp_path: Path) -> None:
    git(tmp_path, "clone", "-q", f"{live_server.url}/ann/notes", "got")
    git(tmp_path / "got", "checkout", "-q", "-b", "mine")

    said = git(tmp_path / "got", "push", "origin", "mine", check=False)

    assert "403" in said and "takes no pushes from git" in said
    assert not repository.refs.filter(name="mine").exists()


@needs_git
def test_private_ones_open_with_a_token_as_the_password(
    live_server: Any, repository: Repository, owner: User, tmp_path: Path
) -> None:
    Repository.objects.update(private=True)
    host = live_server.url.removeprefix("http://")

    def clone(credentials: str) -> str:
        shutil.rmtree(tmp_path / "got", ignore_errors=True)
        return git(tmp_path, "clone", "-q", f"http://{credentials}{host}/ann/notes", "got", check=False)

    assert clone(f"any:{make_token(owner, role='read')}@").startswith("0:")
    assert not clone("").startswith("0:")
    assert not clone(f"any:{make_token(make_user('bob'))}@").startswith("0:")
    assert not clone("ann:wrong@").startswith("0:")


def test_dulwich_clones(live_server: Any, repository: Repository, tmp_path: Path) -> None:
    from dulwich import porcelain

    with porcelain.clone(f"{live_server.url}/ann/notes", tmp_path / "got", errstream=open(os.devnull, "wb")) as got:  # noqa: PTH123
        tip = commits.tip(repository, "main")
        assert tip is not None and got.head().decode() == tip.oid
        assert sorted(got.open_index()) == [
            b"a.txt", b"d.txt", b"d/f", b"empty", b"pr.txt", b"w.safetensors.bin",
        ]  # fmt: skip


# ── without git: what a request may get ──────────────────────────────────────────────────────────────────────────────

REFS = "/ann/notes.git/info/refs?service=git-upload-pack"


def fetch(client: Client, oid: str, **headers: str) -> bytes:
    body = line("command=fetch\n") + b"0001" + line(f"want {oid}\n") + line("done\n") + FLUSH
    response = client.post(
        "/ann/notes.git/git-upload-pack", body, content_type="application/x-git-upload-pack-request",
        headers={"Git-Protocol": "version=2", **headers},
    )  # fmt: skip
    return b"".join(response.streaming_content) if response.streaming else response.content  # type: ignore[attr-defined]


def test_private_and_unknown_answer_the_same(client: Client, repository: Repository) -> None:
    Repository.objects.update(private=True)
    other = {"Authorization": f"Bearer {make_token(make_user('bob'))}"}

    nobody = [client.get(address) for address in (REFS, REFS.replace("notes", "none"))]
    somebody = [client.get(address, headers=other) for address in (REFS, REFS.replace("notes", "none"))]

    assert [response.status_code for response in nobody + somebody] == [401, 401, 404, 404]
    assert nobody[0].content == nobody[1].content and somebody[0].content == somebody[1].content
    assert nobody[0]["WWW-Authenticate"].startswith("Basic")


def test_a_session_does_not_count(client: Client, repository: Repository, owner: User) -> None:
    Repository.objects.update(private=True)
    client.force_login(owner)

    assert client.get(REFS).status_code == 401


def test_gated_ones_ask_for_a_grant(client: Client, repository: Repository, owner: User) -> None:
    Repository.objects.update(gated="manual")
    repository.refresh_from_db()
    bob = make_user("bob")
    token = {"Authorization": f"Bearer {make_token(bob)}"}

    assert client.get(REFS).status_code == 401
    assert client.get(REFS, headers=token).status_code == 403
    gating.grant(repository=repository, by=owner, to=bob)
    assert client.get(REFS, headers=token).status_code == 200


def test_what_is_held_does_not_leave(client: Client, repository: Repository, owner: User) -> None:
    tip = commits.tip(repository, "main")
    assert tip is not None
    assert b"PACK" in fetch(client, tip.oid)

    holds.hold_bytes(repository, make_blob(b"two\n").sha256, reason="malware")
    said = fetch(client, tip.oid)

    assert b"ERR" in said and b"malware" in said and b"PACK" not in said
    assert client.get(REFS).status_code == 200


def test_a_commit_of_another_repository_is_not_given_out(client: Client, repository: Repository, owner: User) -> None:
    secret = put(make_repository(owner, "secret", private=True), "Secret", {"s": b"secret"})

    said = fetch(client, secret.oid)

    assert b"ERR not our ref" in said and b"PACK" not in said


def test_a_plain_file_that_git_could_not_hold_is_refused(
    client: Client, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    tip = commits.tip(repository, "main")
    assert tip is not None
    monkeypatch.setattr(packing, "MAX_PLAIN_BYTES", 2)

    assert b"stored without Git LFS" in fetch(client, tip.oid)


FETCH = line("command=fetch") + b"0001"


@pytest.mark.parametrize(
    "body",
    [
        *(b"zzzz", b"0003", b"00ff", b"0009x", line("command=gc"), FETCH, FETCH + line("want ../x")),
        *(
            FETCH + line("deepen -1"),
            FETCH + line("deepen 99999999999999"),
            FETCH + line("deepen 1" + "0" * 5000),
            FETCH + line("deepen-since 1"),
        ),
    ],
)
def test_nonsense_gets_an_error_and_no_stack(client: Client, repository: Repository, body: bytes) -> None:
    response = client.post(
        "/ann/notes.git/git-upload-pack", body, content_type="application/x-git-upload-pack-request",
        headers={"Git-Protocol": "version=2"},
    )  # fmt: skip

    assert b"".join(response.streaming_content)[4:].startswith(b"ERR ")  # type: ignore[attr-defined]


def test_a_compressed_request_is_read_and_a_bomb_is_not(client: Client, repository: Repository) -> None:
    def ask(body: bytes) -> Any:
        return client.post(
            "/ann/notes/git-upload-pack", gzip.compress(body), content_type="application/x-git-upload-pack-request",
            headers={"Git-Protocol": "version=2", "Content-Encoding": "gzip"},
        )  # fmt: skip

    listed = b"".join(ask(line("command=ls-refs\n") + b"0001" + line("symrefs") + FLUSH).streaming_content)
    assert b"HEAD symref-target:refs/heads/main" in listed and b"refs/pr/1" in listed
    assert b"larger than" in b"".join(ask(b"0" * (9 * 1024 * 1024)).streaming_content)


def test_old_names_lead_on(client: Client, repository: Repository) -> None:
    from hub.repos import retired

    retired.retire("models/ann/older", by=repository)

    response = client.get("/ann/older.git/info/refs?service=git-upload-pack")

    assert (response.status_code, response["Location"]) == (302, REFS)


def test_lines_are_read_as_they_are_written() -> None:
    assert list(read(line("want x\n") + FLUSH + line(b"y") + b"0001")) == [
        b"want x", Special.FLUSH, b"y", Special.DELIMITER,
    ]  # fmt: skip
