"""Discussions, likes, access requests and overviews with the stock client, and what each route gives to whom."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.db import transaction
from django.test import Client
from huggingface_hub import HfApi
from huggingface_hub.errors import BadRequestError, HfHubHTTPError, RepositoryNotFoundError

from hub.accounts import gating, organisations
from hub.accounts.models import Membership, User
from hub.repos import commits, discussions, likes, pulls
from hub.repos.commits import Put
from hub.repos.models import Discussion, Repository
from tests.factories import make_blob, make_commit, make_repository, make_token, make_user

FILES = {"a.txt": b"one\ntwo\n", "b.txt": b"b\n"}


@pytest.fixture
def owner(home: object, transactional_db: None) -> User:
    return make_user("ann")


@pytest.fixture
def repository(owner: User) -> Repository:
    made = make_repository(owner, "notes")
    make_commit(made, FILES, by=owner)
    return made


@pytest.fixture
def ann(live_server: Any, owner: User) -> HfApi:
    return HfApi(endpoint=live_server.url, token=make_token(owner))


@pytest.fixture
def bob(live_server: Any, owner: User) -> HfApi:
    return HfApi(endpoint=live_server.url, token=make_token(make_user("bob")))


def push(repository: Repository, ref: str, files: dict[str, bytes], by: User) -> str:
    changes = [Put(path, make_blob(data, by=by).sha256) for path, data in files.items()]
    return commits.commit(repository=repository, changes=changes, message="Improve", by=by, branch=ref).oid


# ── with the stock client ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_thread_from_its_opening_to_its_end(repository: Repository, ann: HfApi, bob: HfApi) -> None:
    made = bob.create_discussion("ann/notes", "Odd result", description="Look: **odd**")
    said = ann.comment_discussion("ann/notes", made.num, "Which one?")
    with pytest.raises(HfHubHTTPError, match="its author alone"):
        ann.edit_discussion_comment("ann/notes", made.num, made.events[0].id, "Mine now")
    edited = bob.edit_discussion_comment("ann/notes", made.num, made.events[0].id, "Look: *odd*")
    bob.rename_discussion("ann/notes", made.num, "Odd result in a.txt")
    ann.change_discussion_status("ann/notes", made.num, "closed", comment="Fixed")
    with pytest.warns(UserWarning, match="irreversible"):
        hidden = ann.hide_discussion_comment("ann/notes", made.num, said.id)

    seen = ann.get_discussion_details("ann/notes", made.num)

    assert (edited.content, edited.edited, edited.number_of_edits, edited.last_edited_by) == (
        "Look: *odd*",
        True,
        1,
        "bob",
    )
    assert "<em>odd</em>" in edited.rendered
    assert (hidden.content, hidden.hidden) == ("", True)
    assert (seen.title, seen.status, seen.author, seen.is_pull_request) == (
        "Odd result in a.txt",
        "closed",
        "bob",
        False,
    )
    assert [(event.type, event.author) for event in seen.events] == [
        ("comment", "bob"), ("comment", "ann"), ("title-change", "bob"), ("comment", "ann"), ("status-change", "ann"),
    ]  # fmt: skip


def test_a_pull_request_is_opened_filled_and_merged(repository: Repository, ann: HfApi, bob: HfApi) -> None:
    made = bob.create_pull_request("ann/notes", "Two is better")
    assert (made.status, made.git_reference, made.target_branch) == ("draft", "refs/pr/1", "refs/heads/main")
    oid = push(repository, "refs/pr/1", {"a.txt": b"one\n2\n"}, User.objects.get(username="bob"))
    with pytest.raises(HfHubHTTPError, match="draft"):
        ann.merge_pull_request("ann/notes", 1)
    bob.change_discussion_status("ann/notes", 1, "open")
    with pytest.raises(HfHubHTTPError, match="may not write"):
        bob.merge_pull_request("ann/notes", 1)

    seen = ann.get_discussion_details("ann/notes", 1)
    assert seen.conflicting_files == [] and seen.diff is not None
    assert "-two\n+2\n" in seen.diff
    happened = [(event.type, getattr(event, "oid", "")) for event in seen.events]
    assert happened[0] == ("comment", "")
    assert set(happened[1:]) == {
        ("commit", oid),
        ("status-change", ""),
    }  # in which order, a commit's seconds don't tell

    ann.merge_pull_request("ann/notes", 1, comment="Thanks")

    seen = ann.get_discussion_details("ann/notes", 1)
    assert (seen.status, seen.merge_commit_oid) == ("merged", commits.tip(repository, "main").oid)  # type: ignore[union-attr]
    assert "-two\n+2\n" in (seen.diff or "")


def test_conflicts_are_named(repository: Repository, ann: HfApi, owner: User) -> None:
    pulls.open_pull(repository=repository, by=owner, title="Mine")
    push(repository, "refs/pr/1", {"a.txt": b"pr"}, owner)
    push(repository, "main", {"a.txt": b"main"}, owner)

    assert ann.get_discussion_details("ann/notes", 1).conflicting_files == ["a.txt"]
    with pytest.raises(HfHubHTTPError, match=r"a\.txt"):
        ann.merge_pull_request("ann/notes", 1)


def test_lists_are_filtered_and_paged(repository: Repository, ann: HfApi, owner: User, monkeypatch: Any) -> None:
    monkeypatch.setattr("hub.wire.threads.PAGE", 2)
    bob = make_user("bob")
    for number in range(5):
        discussions.open_discussion(repository=repository, by=owner if number % 2 else bob, title=f"Number {number}")
    pulls.open_pull(repository=repository, by=bob, title="A pull request", draft=True)
    discussions.set_status(discussion=Discussion.objects.get(number=1), by=bob, status="closed")

    def numbers(**options: Any) -> list[int]:
        return [each.num for each in ann.get_repo_discussions("ann/notes", **options)]

    assert numbers() == [6, 5, 4, 3, 2, 1]
    assert numbers(discussion_type="pull_request") == [6]
    assert numbers(discussion_type="discussion", discussion_status="open") == [5, 4, 3, 2]
    assert numbers(discussion_status="closed") == [1]
    assert numbers(author="bob") == [6, 5, 3, 1]
    assert numbers(author="nobody") == []


def test_a_discussion_of_an_account_that_is_gone_is_by_nobody(repository: Repository, ann: HfApi) -> None:
    thread = discussions.open_discussion(repository=repository, by=make_user("bob"), title="Hello", description="x")
    Discussion.objects.filter(pk=thread.pk).update(author=None)
    thread.events.update(author=None)

    seen = ann.get_discussion_details("ann/notes", 1)

    assert (seen.author, seen.events[0].author) == ("deleted", "deleted")


def test_the_difference_of_a_gated_repository_is_for_who_may_read_it(
    repository: Repository, ann: HfApi, bob: HfApi, owner: User
) -> None:
    Repository.objects.update(gated="manual")
    pulls.open_pull(repository=repository, by=owner, title="Secret")
    push(repository, "refs/pr/1", {"a.txt": b"one\nsecret\n"}, owner)

    assert "+secret" in (ann.get_discussion_details("ann/notes", 1).diff or "")
    shown = bob.get_discussion_details("ann/notes", 1).diff or ""
    assert "secret" not in shown and "given out on request" in shown


def test_likes_are_listed_on_both_sides(repository: Repository, ann: HfApi, bob: HfApi, owner: User) -> None:
    hidden = make_repository(owner, "hidden", private=True)
    for each in (repository, hidden):
        likes.like(repository=each, by=owner)
    likes.like(repository=repository, by=User.objects.get(username="bob"))

    assert [user.username for user in ann.list_repo_likers("ann/notes")] == ["bob", "ann"]
    assert ann.list_liked_repos().models == ["ann/hidden", "ann/notes"]
    assert bob.list_liked_repos("ann").models == ["ann/notes"]
    bob.unlike("ann/notes")
    assert [user.username for user in ann.list_repo_likers("ann/notes")] == ["ann"]


def test_access_is_asked_for_and_given(repository: Repository, ann: HfApi, bob: HfApi) -> None:
    Repository.objects.update(gated="manual")
    repository.refresh_from_db()
    asked = gating.ask(repository=repository, by=User.objects.get(username="bob"), fields={"why": "research"})
    make_user("cyd")

    pending = list(ann.list_pending_access_requests("ann/notes"))
    assert [(each.username, each.request_id, each.fields) for each in pending] == [
        ("bob", str(asked.pk), {"why": "research"})
    ]
    ann.reject_access_request("ann/notes", "bob", rejection_reason="Say more")
    assert [each.username for each in ann.list_rejected_access_requests("ann/notes")] == ["bob"]
    ann.accept_access_request("ann/notes", request_id=str(asked.pk))
    ann.grant_access("ann/notes", "cyd")
    assert sorted(each.username or "" for each in ann.list_accepted_access_requests("ann/notes")) == ["bob", "cyd"]
    with pytest.raises(HfHubHTTPError, match="did not ask"):
        ann.cancel_access_request("ann/notes", "ann")
    with pytest.raises(HfHubHTTPError):
        list(bob.list_pending_access_requests("ann/notes"))


def test_overviews_count_what_the_caller_may_see(repository: Repository, ann: HfApi, bob: HfApi, owner: User) -> None:
    make_repository(owner, "hidden", private=True)
    lab = organisations.create_organisation(name="lab", by=owner)
    Membership.objects.create(organisation=lab, user=User.objects.get(username="bob"), role="read")
    User.objects.filter(username="ann").update(email="ann@example.org", first_name="Ann", last_name="Li")

    assert (ann.get_user_overview("ann").num_models, bob.get_user_overview("ann").num_models) == (2, 1)
    seen = bob.get_user_overview("ann")
    assert (seen.fullname, [each.name for each in seen.orgs]) == ("Ann Li", ["lab"])
    assert "ann@example.org" not in json.dumps(vars(seen), default=vars)
    assert bob.get_organization_overview("lab").num_users == 2
    assert sorted(each.username for each in bob.list_organization_members("lab")) == ["ann", "bob"]
    with pytest.raises(HfHubHTTPError):
        bob.get_user_overview("nobody")
    with pytest.raises(HfHubHTTPError):
        bob.get_organization_overview("ann")


def test_what_is_wrong_is_said(repository: Repository, ann: HfApi) -> None:
    with pytest.raises(BadRequestError, match="needs a title"):
        ann.create_discussion("ann/notes", "  ")
    with pytest.raises(HfHubHTTPError, match="no discussion 7"):
        ann.get_discussion_details("ann/notes", 7)
    with pytest.raises(RepositoryNotFoundError):
        ann.create_discussion("ann/none", "Hello")


# ── who gets what ────────────────────────────────────────────────────────────────────────────────────────────────────

WHO = ("anonymous", "stranger", "reader", "owner")
R, U, O = "/api/models/ann/notes", "/api/users/ann", "/api/organizations/lab"  # noqa: E741
# (method, route, body): what each of WHO gets of a public repository, and of a private one. `reader` is the owner with
# a token that only reads.
MATRIX: list[tuple[str, str, dict[str, Any] | None, tuple[int, ...], tuple[int, ...]]] = [
    ("GET", f"{R}/discussions", None, (200, 200, 200, 200), (401, 404, 200, 200)),
    ("POST", f"{R}/discussions", {"title": "t"}, (401, 200, 403, 200), (401, 404, 403, 200)),
    ("POST", f"{R}/discussions", {"title": "t", "pullRequest": True}, (401, 200, 403, 200), (401, 404, 403, 200)),
    ("GET", f"{R}/discussions/1", None, (200, 200, 200, 200), (401, 404, 200, 200)),
    ("POST", f"{R}/discussions/1/comment", {"comment": "c"}, (401, 200, 403, 200), (401, 404, 403, 200)),
    ("POST", f"{R}/discussions/1/title", {"title": "t"}, (401, 403, 403, 200), (401, 404, 403, 200)),
    ("POST", f"{R}/discussions/1/status", {"status": "closed"}, (401, 403, 403, 200), (401, 404, 403, 200)),
    ("POST", f"{R}/discussions/2/merge", None, (401, 403, 403, 200), (401, 404, 403, 200)),
    ("POST", f"{R}/discussions/1/comment/EVENT/edit", {"content": "c"}, (401, 403, 403, 200), (401, 404, 403, 200)),
    ("POST", f"{R}/discussions/1/comment/EVENT/hide", None, (401, 403, 403, 200), (401, 404, 403, 200)),
    ("POST", f"{R}/like", None, (401, 200, 403, 200), (401, 404, 403, 200)),
    ("DELETE", f"{R}/like", None, (401, 200, 403, 200), (401, 404, 403, 200)),
    ("GET", f"{R}/likers", None, (200, 200, 200, 200), (401, 404, 200, 200)),
    ("GET", f"{R}/user-access-request/pending", None, (401, 403, 403, 200), (401, 404, 403, 200)),
    ("POST", f"{R}/user-access-request/handle", {"user": "bob", "status": "accepted"}, (401, 403, 403, 200),
     (401, 404, 403, 200)),
    ("POST", f"{R}/user-access-request/grant", {"user": "bob"}, (401, 403, 403, 200), (401, 404, 403, 200)),
    ("GET", f"{U}/overview", None, (200, 200, 200, 200), (200, 200, 200, 200)),
    ("GET", f"{U}/likes", None, (200, 200, 200, 200), (200, 200, 200, 200)),
    ("GET", f"{O}/overview", None, (200, 200, 200, 200), (200, 200, 200, 200)),
    ("GET", f"{O}/members", None, (200, 200, 200, 200), (200, 200, 200, 200)),
]  # fmt: skip


@pytest.mark.parametrize(("method", "route", "body", "public", "hidden"), MATRIX, ids=lambda value: str(value)[-40:])
@pytest.mark.django_db
def test_each_route_gives_each_person_what_the_table_says(
    client: Client, home: object, method: str, route: str, body: Any, public: Any, hidden: Any
) -> None:
    owner, stranger = make_user("ann"), make_user("bob")
    organisations.create_organisation(name="lab", by=owner)
    repository = make_repository(owner, "notes")
    make_commit(repository, FILES, by=owner)
    thread = discussions.open_discussion(repository=repository, by=owner, title="Hello", description="Hello")
    pull = pulls.open_pull(repository=repository, by=owner, title="Better")
    push(repository, pull.ref, {"n.txt": b"n"}, owner)
    Repository.objects.update(gated="manual", private=False)
    repository.refresh_from_db()
    gating.ask(repository=repository, by=stranger)
    tokens = {
        "stranger": make_token(stranger), "reader": make_token(owner, role="read"), "owner": make_token(owner)
    }  # fmt: skip
    address = route.replace("EVENT", thread.events.get().pk.hex)
    data = json.dumps(body) if body is not None else ""

    for private, expected in ((False, public), (True, hidden)):
        Repository.objects.update(private=private)
        for who, code in zip(WHO, expected, strict=True):
            headers = {"Authorization": f"Bearer {tokens[who]}"} if who in tokens else {}
            before = transaction.savepoint()
            response = client.generic(method, address, data, content_type="application/json", headers=headers)
            transaction.savepoint_rollback(before)

            assert response.status_code == code, (who, private, response.content[:300])
            if private and who in {"anonymous", "stranger"} and route.startswith(R):
                assert response["X-Error-Code"] == "RepoNotFound"


def test_a_session_needs_the_token_of_the_site(repository: Repository, owner: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(owner)

    assert client.post("/api/models/ann/notes/like").status_code == 403
    assert client.get("/api/models/ann/notes/discussions").status_code == 200
