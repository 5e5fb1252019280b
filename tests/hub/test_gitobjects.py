from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from hub.repos import lfs, trees
from hub.repos.gitobjects import Signature, blob_oid, commit_oid
from hub.repos.models import Blob
from hub.repos.trees import FileEntry

FILES = {
    "a.txt": b"one",
    "a/b.txt": b"two",
    "a/c/d": b"",
    "a-b": b"three",
    "z/ä.bin": bytes(range(256)),
    "README.md": b"#",
}


def entries(files: dict[str, bytes]) -> dict[str, FileEntry]:
    return {
        path: FileEntry(path, Blob(sha256="0" * 64, size=len(data), git_oid=blob_oid(data)))
        for path, data in files.items()
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

    assert trees.oid_of(entries(FILES)) == tree
    by = Signature("ann", "ann@priorhub.invalid", at)
    assert commit_oid(tree=tree, parents=[], by=by, message="First\n\nbody\n") == first
    assert commit_oid(tree=tree, parents=[first], by=by, message="Zweiter für alle\n") == second


@given(st.dictionaries(st.sampled_from(sorted(FILES)), st.binary(max_size=20), min_size=1))
@settings(max_examples=30)
def test_a_tree_does_not_depend_on_the_order_of_its_files(files: dict[str, bytes]) -> None:
    found = entries(files)

    assert trees.oid_of(found) == trees.oid_of(dict(reversed(found.items())))


def test_a_pointer_is_what_git_lfs_writes(tmp_path: Path) -> None:
    text = (
        "version https://git-lfs.github.com/spec/v1\n"
        "oid sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824\nsize 5\n"
    )
    (tmp_path / "pointer").write_text(text)

    sha256 = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    assert lfs.pointer(sha256, 5) == text.encode()
    assert lfs.pointer_oid(sha256, 5) == git(tmp_path, "hash-object", "pointer")


def test_weights_and_large_files_are_pointers_and_text_is_not() -> None:
    assert lfs.wants_lfs("a/model.safetensors", 10)
    assert lfs.wants_lfs("notes.txt", lfs.MAX_INLINE_BYTES + 1)
    assert lfs.wants_lfs("data", lfs.MAX_INLINE_BINARY_BYTES + 1, sample=b"\0\1")
    assert not lfs.wants_lfs("data", lfs.MAX_INLINE_BINARY_BYTES + 1, sample="ü".encode() * 256)
    assert not lfs.wants_lfs("notes.txt", 10)
    assert not lfs.wants_lfs("model.safetensors", 0)


def test_a_repositorys_own_attributes_decide() -> None:
    own = "# ours\n*.txt filter=lfs -text\nkeep.txt -filter\n"

    assert lfs.wants_lfs("a/b.txt", 10, attributes=own)
    assert not lfs.wants_lfs("keep.txt", 10, attributes=own)
    assert not lfs.wants_lfs("model.safetensors", 10, attributes=own)
