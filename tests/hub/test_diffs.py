"""What a difference shows, held against git, and what it leaves out."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from hub.repos import diffs
from hub.repos.models import Repository
from tests.factories import make_commit, make_repository, make_user

OLD = {
    "a.txt": b"one\ntwo\nthree", "gone.txt": b"x\n", "d/same.txt": b"s\n", "feed.txt": b"1\x0c2\n3\n",
    "bin.dat": b"\0\1", "w.bin": b"weights" * 10,
}  # fmt: skip
NEW = {
    "a.txt": b"one\n2\nthree\n", "new/n.txt": b"n", "d/same.txt": b"s\n", "feed.txt": b"1\x0c2\n4\n",
    "bin.dat": b"\0\2", "w.bin": b"weights" * 11,
}  # fmt: skip


@pytest.fixture
def repository(home: object, db: None) -> Repository:
    return make_repository(make_user("ann"), "notes")


def test_texts_are_written_as_git_writes_them(repository: Repository, tmp_path: Path) -> None:
    old, new = make_commit(repository, OLD), make_commit(repository, NEW)
    for side, files in (("a", OLD), ("b", NEW)):
        for path, data in files.items():
            if path not in {"bin.dat", "w.bin"}:
                (tmp_path / side / path).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / side / path).write_bytes(data)
    said = subprocess.run(
        ["git", "diff", "--no-index", "--no-prefix", "--no-color", "--full-index", "--no-renames", "a", "b"],
        cwd=tmp_path, capture_output=True, check=False,
    ).stdout.decode()  # fmt: skip

    shown = diffs.as_text([file for file in diffs.between(old, new) if not file.hidden])

    assert shown == "".join(map(_as_in_a_repository, re.findall(r"[^\n]*\n", said)))


def test_binary_and_large_files_are_named_with_their_sizes(repository: Repository) -> None:
    found = {file.path: file for file in diffs.between(make_commit(repository, OLD), make_commit(repository, NEW))}

    assert found["bin.dat"].hidden == "a binary file" and not found["bin.dat"].hunks
    assert "outside git" in found["w.bin"].hidden
    assert "70 bytes -> 77 bytes" in diffs.as_text([found["w.bin"]])
    assert "d/same.txt" not in found
    assert (found["gone.txt"].status, found["new/n.txt"].status) == ("removed", "added")


def test_a_difference_has_an_end(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diffs, "MAX_SHOWN_BYTES", 3000)
    monkeypatch.setattr(diffs, "MAX_SHOWN_FILES", 4)
    files = {f"f{i}.txt": b"x\n" * 500 for i in range(9)}

    found = diffs.between(None, make_commit(repository, {**files, "a.txt": b"x" * (diffs.MAX_TEXT_BYTES + 1)}))

    assert [bool(file.hunks) for file in found] == [False, True, True, True] + [False] * 6
    assert found[0].hidden == "larger than 256 KiB" and "too large to show whole" in found[-1].hidden


def _as_in_a_repository(line: str) -> str:
    """Without what git adds only between folders (one name twice) and the function's name it guesses after a range."""
    if line.startswith("diff --git"):
        path = line.split()[-1].partition("/")[2]
        return f"diff --git a/{path} b/{path}\n"
    return line.split(" @@")[0] + " @@\n" if line.startswith("@@") else line
