from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from hub.repos.gitobjects import Signature, blob_oid, commit_oid, tree_oid

FILES = {
    "a.txt": b"one",
    "a/b.txt": b"two",
    "a/c/d": b"",
    "a-b": b"three",
    "z/ä.bin": bytes(range(256)),
    "README.md": b"#",
}


def git(folder: Path, *arguments: str, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=folder, env={"PATH": "/usr/bin:/bin", "HOME": str(folder), **(env or {})},
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return done.stdout.strip()


def test_ids_are_those_that_git_gives(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "--object-format=sha1")
    for path, data in FILES.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(data)
    git(tmp_path, "add", ".")
    tree = git(tmp_path, "write-tree")
    at = datetime(2026, 11, 23, 12, 0, 1, tzinfo=UTC)
    who = {f"GIT_{role}_{field}": value for role in ("AUTHOR", "COMMITTER") for field, value in
           (("NAME", "ann"), ("EMAIL", "ann@priorhub.invalid"), ("DATE", "1795435201 +0000"))}  # fmt: skip
    first = git(tmp_path, "commit-tree", tree, "-m", "First\n\nbody", env=who)
    second = git(tmp_path, "commit-tree", tree, "-p", first, "-m", "Zweiter für alle", env=who)

    assert tree_oid({path: blob_oid(data) for path, data in FILES.items()}) == tree
    by = Signature("ann", "ann@priorhub.invalid", at)
    assert commit_oid(tree=tree, parent=None, by=by, message="First\n\nbody\n") == first
    assert commit_oid(tree=tree, parent=first, by=by, message="Zweiter für alle\n") == second


@given(st.dictionaries(st.sampled_from(sorted(FILES)), st.binary(max_size=20), min_size=1))
@settings(max_examples=30)
def test_a_tree_does_not_depend_on_the_order_of_its_files(files: dict[str, bytes]) -> None:
    oids = {path: blob_oid(data) for path, data in files.items()}

    assert tree_oid(oids) == tree_oid(dict(reversed(oids.items())))
