"""Changes to a repository: what a commit holds, what it refuses, and several writers at once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.db import connection

from hub.errors import BadName, FileRefused, ParentMoved
from hub.repos import services, trees
from hub.repos.commits import Change, Put, Remove, RemoveFolder, commit, tip
from hub.repos.models import Commit, Repository, Tree
from hub.repos.trees import FolderEntry
from priors.errors import NotFound
from tests.factories import function_manifest, make_blob, make_commit, make_repository, make_user, sha256

FILES = {"a.txt": b"a", "d/x.txt": b"x", "d/e/y.txt": b"y", "k.txt": b"k"}


@pytest.fixture
def repository(home: Path, transactional_db: None) -> Repository:
    made = make_repository(make_user("ann"), "notes")
    make_commit(made, FILES)
    return made


def change(repository: Repository, *changes: Change, **options: object) -> Commit:
    return commit(repository=repository, changes=changes, message="A change", by=None, **options)  # type: ignore[arg-type]


def paths(repository: Repository, rev: str = "main") -> list[str]:
    return [file.path for file in services.files(services.resolve(repository, rev))]


def test_one_commit_adds_and_removes(repository: Repository) -> None:
    make_blob(b"n")

    made = change(repository, Remove("a.txt"), RemoveFolder("d/"), Put("n.txt", sha256(b"n")))

    assert paths(repository) == ["k.txt", "n.txt"]
    assert made.parent is not None and paths(repository, made.parent.oid) == sorted(FILES)


@pytest.mark.parametrize(
    "changes", [[Remove("nope.txt")], [Remove("d")], [RemoveFolder("no")], [RemoveFolder("a.txt")]]
)
def test_what_is_not_there_cannot_be_removed(repository: Repository, changes: Sequence[Change]) -> None:
    before = tip(repository, "main")

    with pytest.raises(NotFound, match="to delete"):
        change(repository, *changes)

    assert tip(repository, "main") == before


def test_a_name_stands_once_in_a_commit(repository: Repository) -> None:
    make_blob(b"n")

    with pytest.raises(BadName, match="twice"):
        change(repository, Put("n", sha256(b"n")), Remove("n"))


def test_nothing_changed_is_no_commit(repository: Repository) -> None:
    assert change(repository, Put("a.txt", sha256(b"a"))) == tip(repository, "main")
    assert Commit.objects.count() == 1


def test_a_parent_may_be_named_by_its_first_digits(repository: Repository) -> None:
    make_blob(b"n")
    before = tip(repository, "main")
    assert before is not None

    after = change(repository, Put("n", sha256(b"n")), parent=before.oid[:7])

    assert after.parent == before
    for stale in (before.oid, before.oid[:7], after.oid[:6], "0" * 40):
        with pytest.raises(ParentMoved):
            change(repository, Put("m", sha256(b"n")), parent=stale)


def test_folders_that_stay_are_stored_once(repository: Repository) -> None:
    make_blob(b"n")
    folders = Tree.objects.count()

    made = change(repository, Put("n.txt", sha256(b"n")))

    assert Tree.objects.count() == folders + 1  # the topmost alone is new
    assert [entry.path for entry in trees.listing(made.tree_id)] == ["a.txt", "d", "k.txt", "n.txt"]
    inside = trees.find(made.tree_id, "d/e")
    assert isinstance(inside, FolderEntry)
    assert [entry.path for entry in trees.listing(inside.oid, below="d/e")] == ["d/e/y.txt"]
    assert trees.find(made.tree_id, "a.txt/x") is None
    assert trees.find(made.tree_id, "d/none") is None


def test_the_same_folder_may_stand_at_two_paths(repository: Repository) -> None:
    change(repository, Put("f/x.txt", sha256(b"x")), Put("f/e/y.txt", sha256(b"y")))

    assert {"d/x.txt", "d/e/y.txt", "f/x.txt", "f/e/y.txt"} < set(paths(repository))


def test_folders_of_a_deleted_repository_go_except_those_another_has(repository: Repository) -> None:
    other = make_repository(make_user("bob"), "notes")
    make_commit(other, {"q/y.txt": b"y"})
    folders = set(Tree.objects.values_list("oid", flat=True))

    services.delete_repository(repository)

    assert set(Tree.objects.values_list("oid", flat=True)) < folders
    assert paths(other) == ["q/y.txt"]
    assert Tree.objects.count() == 2
    assert trees.drop_unused() == 0


def test_a_plain_repository_becomes_what_its_description_says(repository: Repository) -> None:
    manifest = json.dumps(function_manifest("notes")).encode()

    make_commit(repository, {"prior.json": manifest})

    assert Repository.objects.get().kind == Repository.Kind.PRIOR
    with pytest.raises(FileRefused, match=r"prior\.json"):
        change(repository, Remove("prior.json"))


def test_somebody_elses_task_json_makes_no_task(repository: Repository) -> None:
    make_commit(repository, {"task.json": b'{"name": "of another program"}', "prior.json": b"not even JSON, but {",
                             "composition.json": b"[" * 100_000})  # fmt: skip

    assert Repository.objects.get().kind == Repository.Kind.PLAIN


def test_every_commit_of_many_writers_lands(repository: Repository) -> None:
    number = 16
    blobs = [make_blob(b"%d" % n) for n in range(number)]

    def write(n: int) -> None:
        try:
            change(repository, Put(f"file{n}", blobs[n].sha256))
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(number)))

    assert set(paths(repository)) == {*FILES, *(f"file{n}" for n in range(number))}
    line = []
    last = tip(repository, "main")
    while last is not None:
        line.append(last)
        last = last.parent
    assert len(line) == number + 1 == Commit.objects.count()


def test_of_writers_with_the_same_parent_one_lands(repository: Repository) -> None:
    number = 8
    before = tip(repository, "main")
    assert before is not None
    blobs = [make_blob(b"%d" % n) for n in range(number)]

    def write(n: int) -> bool:
        try:
            change(repository, Put(f"file{n}", blobs[n].sha256), parent=before.oid)
        except ParentMoved:
            return False
        finally:
            connection.close()
        return True

    with ThreadPoolExecutor(number) as pool:
        landed = list(pool.map(write, range(number)))

    assert sum(landed) == 1
    assert Commit.objects.count() == 2
