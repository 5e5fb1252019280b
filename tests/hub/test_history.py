"""Which commit last changed what, and where two lines parted."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from hub.repos.commits import Put, Remove, commit
from hub.repos.history import ancestors, commits_between, last_commits, merge_base
from hub.repos.models import Commit, Ref, Repository
from tests.factories import make_blob, make_commit, make_repository, make_user


@pytest.fixture
def repository(home: object, db: None) -> Repository:
    return make_repository(make_user("ann"), "notes")


def put(repository: Repository, *, remove: tuple[str, ...] = (), **options: Any) -> Commit:
    files: dict[str, bytes] = options.pop("files", {})
    changes = [Put(path, make_blob(data).sha256) for path, data in files.items()]
    return commit(
        repository=repository, changes=[*changes, *map(Remove, remove)], message=f"Change {sorted(files)}", by=None,
        **options,
    )  # fmt: skip


def branch(repository: Repository, name: str, at: Commit) -> None:
    Ref.objects.create(repository=repository, kind=Ref.Kind.BRANCH, name=name, commit=at)


def test_each_path_has_the_commit_that_changed_it(repository: Repository) -> None:
    first = put(repository, files={"a": b"1", "d/x": b"1", "d/e/y": b"1"})
    second = put(repository, files={"d/e/y": b"2"})
    third = put(repository, files={"a": b"3"})

    found = last_commits(third, ["a", "d", "d/x", "d/e", "d/e/y", "no", "a/b"])

    assert found == {"a": third, "d": second, "d/x": first, "d/e": second, "d/e/y": second}


def test_a_file_that_came_back_is_as_old_as_its_return(repository: Repository) -> None:
    put(repository, files={"a": b"1", "b": b"1"})
    put(repository, remove=("a",))
    back = put(repository, files={"a": b"1"})
    last = put(repository, files={"b": b"2"})

    assert last_commits(last, ["a"]) == {"a": back}


def test_what_a_merge_took_in_keeps_the_commit_of_its_branch(repository: Repository) -> None:
    first = put(repository, files={"a": b"1", "b": b"1"})
    branch(repository, "side", first)
    side = put(repository, files={"b": b"side"}, branch="side")
    main = put(repository, files={"a": b"main"})
    merge = put(repository, files={"b": b"side"}, merges=side)

    assert last_commits(merge, ["a", "b"]) == {"a": main, "b": side}


def test_a_long_history_costs_few_queries_and_has_an_end(repository: Repository) -> None:
    first = put(repository, files={"old": b"1", "new": b"0"})
    tip, number = first, 2100
    rows = [
        Commit(repository=repository, oid=f"{i:040x}", tree=first.tree, message="m", author_name="x",
               created_at=first.created_at) for i in range(number)
    ]  # fmt: skip
    for row in rows:
        row.parent = tip
        row.save()
        tip = row
    changed = put(repository, files={"new": b"1"}, parent=None)
    Commit.objects.filter(pk=changed.pk).update(parent=tip)
    changed.refresh_from_db()

    with CaptureQueriesContext(connection) as queries:
        found = last_commits(changed, ["old", "new"])

    assert found == {"new": changed}
    assert len(queries) < 30


def test_ancestors_come_newest_first_and_leave_other_branches_out(repository: Repository) -> None:
    first = put(repository, files={"a": b"1"})
    branch(repository, "side", first)
    put(repository, files={"a": b"side"}, branch="side")
    second = put(repository, files={"a": b"2"})

    assert list(ancestors(second)) == [second, first]


def test_lines_part_at_their_newest_common_commit(repository: Repository) -> None:
    first = put(repository, files={"a": b"1"})
    second = put(repository, files={"a": b"2"})
    branch(repository, "side", second)
    side = put(repository, files={"b": b"side"}, branch="side")
    main = put(repository, files={"a": b"3"})
    merge = put(repository, files={"b": b"side"}, merges=side)
    later = put(repository, files={"b": b"later"}, branch="side")

    assert merge_base(side, main) == second
    assert merge_base(later, merge) == side
    assert merge_base(main, main) == main
    assert commits_between(second, side) == [side]
    assert commits_between(main, later) == [side, later]
    assert commits_between(merge, later) == [later]
    assert commits_between(later, first) == []


def test_what_shares_nothing_has_no_base(repository: Repository) -> None:
    other = make_repository(make_user("bob"), "others")

    one, two = make_commit(repository, {"a": b"1"}), make_commit(other, {"a": b"1"})

    assert merge_base(one, two) is None
    assert commits_between(None, one) == [one]
