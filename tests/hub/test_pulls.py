"""Pull requests: what they bring, what stops them, and what a merge leaves."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection

from hub.accounts.models import User
from hub.errors import BadRequest
from hub.repos import commits, discussions, pulls, services
from hub.repos.commits import Put, Remove
from hub.repos.models import Commit, Discussion, Repository
from priors.errors import Conflict, NotAllowed, NotFound
from tests.factories import make_blob, make_commit, make_repository, make_user

MAIN = {"a.txt": b"one\ntwo\n", "b.txt": b"b\n", "d/c.txt": b"c\n"}


@pytest.fixture
def owner(home: object, transactional_db: None) -> User:
    return make_user("ann")


@pytest.fixture
def guest(owner: User) -> User:
    return make_user("bob")


@pytest.fixture
def repository(owner: User) -> Repository:
    made = make_repository(owner, "notes")
    make_commit(made, MAIN, by=owner)
    return made


@pytest.fixture
def pull(repository: Repository, guest: User) -> Discussion:
    return pulls.open_pull(repository=repository, by=guest, title="Better notes", description="See inside")


def put(repository: Repository, files: Mapping[str, bytes | None], *, by: User, branch: str = "main") -> Commit:
    changes = [
        Remove(path) if data is None else Put(path, make_blob(data, by=by).sha256) for path, data in files.items()
    ]
    return commits.commit(repository=repository, changes=changes, message="A change", by=by, branch=branch)


def content(repository: Repository, rev: str = "main") -> dict[str, bytes]:
    commit = services.resolve(repository, rev)
    return {file.path: services.read_file(commit, file.path) for file in services.files(commit)}


def test_a_pull_request_starts_at_main_and_leaves_it_alone(
    repository: Repository, pull: Discussion, guest: User
) -> None:
    made = put(repository, {"a.txt": b"one\n2\n"}, by=guest, branch=pull.ref)

    assert pull.ref == "refs/pr/1" and pull.status == "open"
    assert content(repository) == MAIN and content(repository, pull.ref)["a.txt"] == b"one\n2\n"
    changes = pulls.changes_of(pull)
    assert (changes.base, changes.commits, list(changes.files), changes.conflicts) == (
        services.resolve(repository), [made], ["a.txt"], [],
    )  # fmt: skip


def test_merging_takes_over_what_only_the_pull_request_changed(
    repository: Repository, pull: Discussion, guest: User, owner: User
) -> None:
    brought = put(repository, {"a.txt": b"one\n2\n", "new/n.txt": b"n", "d/c.txt": None}, by=guest, branch=pull.ref)
    main = put(repository, {"b.txt": b"b2\n", "other.txt": b"o"}, by=owner)

    made = pulls.merge(pull=pull, by=owner, text="Thanks!")

    assert content(repository) == {"a.txt": b"one\n2\n", "b.txt": b"b2\n", "new/n.txt": b"n", "other.txt": b"o"}
    assert (made.parent, made.merged) == (main, brought)
    assert made.title == "Better notes (#1)"
    pull.refresh_from_db()
    assert (pull.status, pull.merge_commit) == ("merged", made)
    assert [event.text or event.after for event in pull.events.all()] == ["See inside", "Thanks!", "merged"]
    after = pulls.changes_of(pull)
    assert (list(after.files), after.commits, after.conflicts) == (["a.txt", "d/c.txt", "new/n.txt"], [brought], [])


def test_files_that_both_changed_are_named_and_nothing_is_written(
    repository: Repository, pull: Discussion, guest: User, owner: User
) -> None:
    put(repository, {"a.txt": b"guest", "b.txt": None, "x": b"file", "same": b"1"}, by=guest, branch=pull.ref)
    main = put(repository, {"a.txt": b"owner", "b.txt": b"b2", "x/y": b"folder", "same": b"1"}, by=owner)

    with pytest.raises(Conflict, match=r"a\.txt, b\.txt, x\. Commit to refs/pr/1"):
        pulls.merge(pull=pull, by=owner)

    assert pulls.changes_of(pull).conflicts == ["a.txt", "b.txt", "x"]
    assert services.resolve(repository) == main
    pull.refresh_from_db()
    assert pull.status == "open"


def test_a_conflict_is_solved_by_a_commit_to_the_branch(
    repository: Repository, pull: Discussion, guest: User, owner: User
) -> None:
    put(repository, {"a.txt": b"guest"}, by=guest, branch=pull.ref)
    put(repository, {"a.txt": b"owner"}, by=owner)

    put(repository, {"a.txt": b"owner"}, by=guest, branch=pull.ref)

    assert pulls.changes_of(pull).conflicts == []
    pulls.merge(pull=pull, by=owner)
    assert content(repository)["a.txt"] == b"owner"


def test_only_who_may_write_merges(repository: Repository, pull: Discussion, guest: User) -> None:
    put(repository, {"a.txt": b"guest"}, by=guest, branch=pull.ref)

    with pytest.raises(NotAllowed):
        pulls.merge(pull=pull, by=guest)

    assert content(repository) == MAIN


def test_its_author_and_writers_commit_to_the_branch(
    repository: Repository, pull: Discussion, guest: User, owner: User
) -> None:
    assert pulls.require_push(guest, repository, "refs/pr/1") == pull
    assert pulls.require_push(owner, repository, "refs/pr/1") == pull
    with pytest.raises(NotAllowed):
        pulls.require_push(make_user("cyd"), repository, "refs/pr/1")
    for ref in ("refs/pr/2", "refs/pr/", "refs/pr/x", "refs/pr/1/2", "refs/pr/99999999999999999999"):
        with pytest.raises(NotFound):
            pulls.require_push(owner, repository, ref)


def test_what_is_over_takes_no_commits(repository: Repository, pull: Discussion, guest: User) -> None:
    discussions.set_status(discussion=pull, by=guest, status="closed")

    with pytest.raises(Conflict, match="closed"):
        pulls.require_push(guest, repository, pull.ref)


def test_a_draft_is_merged_once_it_is_open(repository: Repository, guest: User, owner: User) -> None:
    draft = pulls.open_pull(repository=repository, by=guest, title="Soon", draft=True)
    put(repository, {"a.txt": b"guest"}, by=guest, branch=draft.ref)

    with pytest.raises(Conflict, match="draft"):
        pulls.merge(pull=draft, by=owner)
    discussions.set_status(discussion=draft, by=guest, status="open")
    pulls.merge(pull=draft, by=owner)

    assert content(repository)["a.txt"] == b"guest"


def test_what_brings_nothing_and_what_is_no_pull_request_is_not_merged(
    repository: Repository, pull: Discussion, owner: User
) -> None:
    thread = discussions.open_discussion(repository=repository, by=owner, title="Hello")

    with pytest.raises(Conflict, match="brings nothing"):
        pulls.merge(pull=pull, by=owner)
    with pytest.raises(BadRequest):
        pulls.merge(pull=thread, by=owner)


def test_merging_twice_is_a_conflict_and_one_commit(
    repository: Repository, pull: Discussion, guest: User, owner: User
) -> None:
    put(repository, {"a.txt": b"guest"}, by=guest, branch=pull.ref)

    def merge(_: int) -> str:
        try:
            return pulls.merge(pull=Discussion.objects.get(pk=pull.pk), by=owner).oid
        except Conflict:
            return "conflict"
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        said = set(pool.map(merge, range(4)))

    assert repository.commits.exclude(merged=None).count() == 1
    assert said - {"conflict"} == {repository.commits.exclude(merged=None).get().oid}
    assert pull.events.filter(kind="status-change").count() == 1


def test_a_merge_that_stopped_before_it_was_recorded_is_recorded_by_the_next(
    repository: Repository, pull: Discussion, guest: User, owner: User
) -> None:
    put(repository, {"a.txt": b"guest"}, by=guest, branch=pull.ref)
    made = pulls.merge(pull=pull, by=owner)
    Discussion.objects.filter(pk=pull.pk).update(status="open", merge_commit=None)

    assert pulls.merge(pull=pull, by=owner) == made
    pull.refresh_from_db()
    assert (pull.status, pull.merge_commit) == ("merged", made)


def test_a_pull_request_needs_a_main_to_start_from(owner: User, guest: User) -> None:
    with pytest.raises(Conflict, match="no commit yet"):
        pulls.open_pull(repository=make_repository(owner, "empty"), by=guest, title="First")
    assert not Discussion.objects.exists()


def test_large_files_keep_their_pointers_through_a_merge(
    repository: Repository, pull: Discussion, guest: User, owner: User
) -> None:
    put(repository, {"w.bin": b"\0" * 2000}, by=guest, branch=pull.ref)

    made = pulls.merge(pull=pull, by=owner)

    assert services.file(made, "w.bin").lfs
