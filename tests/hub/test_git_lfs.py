"""git with the git-lfs program against a hub: the bytes arrive, whole, and only for who may read them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from hub.accounts import gating
from hub.accounts.models import User
from hub.repos import lfs
from hub.repos.models import Blob, Repository
from hub.safety import holds
from tests.factories import make_blob, make_commit, make_repository, make_token, make_user, sha256

pytestmark = pytest.mark.skipif(
    shutil.which("git") is None or shutil.which("git-lfs") is None, reason="git or git-lfs is not installed"
)
WEIGHTS, OLDER = (bytes(range(256)) * 4000, b"\x00older weights" * 5000)
POINTER = lfs.pointer(sha256(WEIGHTS), len(WEIGHTS))
FILES = {
    ".gitattributes": b"*.bin filter=lfs diff=lfs merge=lfs -text\n", "a.txt": b"one\n", "w.bin": OLDER,
    "d/ä b.bin": b"\x01second",
}  # fmt: skip


@pytest.fixture
def owner(home: object, transactional_db: None) -> User:
    return make_user("ann")


@pytest.fixture
def repository(owner: User) -> Repository:
    made = make_repository(owner, "notes")
    make_commit(made, FILES)
    make_commit(made, {**FILES, "w.bin": WEIGHTS})
    return made


class Machine:
    """A home folder in which git-lfs was installed for its user."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.run("lfs", "install", "--skip-repo")

    def run(self, *arguments: str, inside: str = "", check: bool = True, **environment: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=self.folder / inside, capture_output=True, text=True, check=False, timeout=60,
            env={"PATH": os.environ["PATH"], "HOME": str(self.folder), "GIT_TERMINAL_PROMPT": "0",
                 "GIT_CONFIG_NOSYSTEM": "1", "GIT_ASKPASS": "/bin/false", "LC_ALL": "C", **environment},
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return f"{done.returncode}: {done.stdout}{done.stderr}"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    (tmp_path / "machine").mkdir()
    return Machine(tmp_path / "machine")


def test_a_clone_brings_the_bytes_and_not_the_pointers(
    live_server: Any, repository: Repository, machine: Machine
) -> None:
    machine.run("clone", "-q", f"{live_server.url}/ann/notes", "got")

    got = machine.folder / "got"
    assert (got / "w.bin").read_bytes() == WEIGHTS
    assert (got / "d/ä b.bin").read_bytes() == b"\x01second"
    assert "Git LFS fsck OK" in machine.run("lfs", "fsck", inside="got")
    assert machine.run("status", "--short", inside="got") == "0: "


def test_a_pull_fetches_what_a_clone_left_out_and_an_older_revision_too(
    live_server: Any, repository: Repository, machine: Machine
) -> None:
    machine.run("clone", "-q", f"{live_server.url}/ann/notes.git", "got", GIT_LFS_SKIP_SMUDGE="1")
    got = machine.folder / "got"
    assert (got / "w.bin").read_bytes() == POINTER

    machine.run("lfs", "pull", inside="got")
    assert (got / "w.bin").read_bytes() == WEIGHTS

    machine.run("checkout", "-q", "HEAD~1", inside="got")
    assert (got / "w.bin").read_bytes() == OLDER
    machine.run("lfs", "fetch", "--all", inside="got")
    assert "Git LFS fsck OK" in machine.run("lfs", "fsck", inside="got")


def test_a_dataset_is_cloned_from_its_own_address(live_server: Any, owner: User, machine: Machine) -> None:
    from hub.repos.services import create_repository

    rows = create_repository(name="ann/rows", kind=Repository.Kind.PLAIN, type="dataset")
    make_commit(rows, {".gitattributes": FILES[".gitattributes"], "rows.bin": WEIGHTS})

    machine.run("clone", "-q", f"{live_server.url}/datasets/ann/rows", "got")

    assert (machine.folder / "got/rows.bin").read_bytes() == WEIGHTS


def test_pointers_that_no_attributes_name_are_fetched_by_a_pull(
    live_server: Any, owner: User, machine: Machine
) -> None:
    """As `priorhub push` leaves a folder that came without .gitattributes: git does not call git-lfs by itself."""
    make_commit(make_repository(owner, "bare"), {"w.bin": WEIGHTS})
    machine.run("clone", "-q", f"{live_server.url}/ann/bare", "got")
    assert (machine.folder / "got/w.bin").read_bytes() == POINTER

    machine.run("lfs", "pull", inside="got")

    assert (machine.folder / "got/w.bin").read_bytes() == WEIGHTS


@pytest.mark.parametrize("where", ["the address", "a credential helper"])
def test_a_private_one_opens_with_a_token(
    live_server: Any, repository: Repository, owner: User, machine: Machine, where: str
) -> None:
    Repository.objects.update(private=True)
    token, host = make_token(owner, role="read"), live_server.url.removeprefix("http://")
    signed = f"http://any:{token}@{host}"
    if where == "a credential helper":
        (machine.folder / ".git-credentials").write_text(f"{signed}\n")
        machine.run("config", "--global", "credential.helper", "store")

    address = signed if where == "the address" else live_server.url
    machine.run("clone", "-q", f"{address}/ann/notes", "got")

    assert (machine.folder / "got/w.bin").read_bytes() == WEIGHTS
    assert "Git LFS fsck OK" in machine.run("lfs", "fsck", inside="got")


def test_who_may_not_read_gets_no_bytes(
    live_server: Any, repository: Repository, owner: User, machine: Machine
) -> None:
    host = live_server.url.removeprefix("http://")
    bob = make_user("bob")
    signed = f"http://bob:{make_token(bob)}@{host}/ann/notes"
    machine.run("clone", "-q", signed, "got", GIT_LFS_SKIP_SMUDGE="1")
    machine.run("clone", "-q", f"{live_server.url}/ann/notes", "nobody", GIT_LFS_SKIP_SMUDGE="1")
    Repository.objects.update(gated="manual")

    for folder in ("got", "nobody"):
        said = machine.run("lfs", "pull", inside=folder, check=False)
        assert not said.startswith("0:"), said
        assert (machine.folder / folder / "w.bin").read_bytes() == POINTER

    gating.grant(repository=Repository.objects.get(), by=owner, to=bob)
    machine.run("lfs", "pull", inside="got")
    assert (machine.folder / "got/w.bin").read_bytes() == WEIGHTS


def test_of_a_held_file_git_lfs_says_why_it_does_not_come(
    live_server: Any, repository: Repository, machine: Machine
) -> None:
    machine.run("clone", "-q", f"{live_server.url}/ann/notes", "got", GIT_LFS_SKIP_SMUDGE="1")
    holds.hold_bytes(repository, make_blob(WEIGHTS).sha256, reason="malware")

    said = machine.run("lfs", "pull", inside="got", check=False)

    assert not said.startswith("0:") and "malware" in said
    assert (machine.folder / "got/w.bin").read_bytes() == POINTER


def test_a_push_is_refused_before_any_bytes_are_sent(
    live_server: Any, repository: Repository, owner: User, machine: Machine
) -> None:
    host = live_server.url.removeprefix("http://")
    machine.run("clone", "-q", f"http://ann:{make_token(owner)}@{host}/ann/notes", "got")
    (machine.folder / "got/new.bin").write_bytes(b"\x02new")
    for name, value in (("user.name", "Ann"), ("user.email", "ann@example.org")):
        machine.run("config", "--global", name, value)
    machine.run("add", "new.bin", inside="got")
    machine.run("commit", "-qm", "Another", inside="got")

    said = machine.run("push", "origin", "main", inside="got", check=False)

    assert "This hub takes no pushes from git: it checks every file as it arrives." in said
    assert "Use `hf upload`, `priorhub push`, or a pull request on the site." in said
    assert not Blob.objects.filter(sha256=sha256(b"\x02new")).exists()
