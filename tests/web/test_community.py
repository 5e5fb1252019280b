"""What people do with a repository's pages: talk, propose, merge, like, look at files, change settings."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from hub.accounts.models import User
from hub.repos import commits, discussions, pulls, services
from hub.repos.commits import Put
from hub.repos.models import Discussion, Ref, Repository
from hub.repos.services import create_repository
from tests.factories import make_blob, make_commit, make_repository, make_user

FILES = {"a.txt": b"one\ntwo\n", "d/e/deep.txt": b"deep\n", "w.safetensors.bin": b"\0" * 3000}


@pytest.fixture
def repository(ada: User) -> Repository:
    made = make_repository(ada, "notes")
    make_commit(made, FILES, by=ada)
    return made


@pytest.fixture
def bob(client: Client, ada: User) -> Client:
    """Another person's browser."""
    browser = Client()
    browser.force_login(make_user("bob"))
    return browser


def act(browser: Client, thread: int, do: str, **more: Any) -> Any:
    return browser.post(f"/ada/notes/discussions/{thread}/act", {"do": do, **more}, follow=True)


def text(response: Any) -> str:
    return response.content.decode()


def test_a_question_is_asked_answered_and_closed(signed_in: Client, bob: Client, repository: Repository) -> None:
    asked = bob.post("/ada/notes/discussions/new", {"title": "Odd <result>", "text": "It is **odd**"}, follow=True)
    assert asked.redirect_chain == [("/ada/notes/discussions/1", 302)]
    assert "Odd &lt;result&gt;" in text(asked) and "<strong>odd</strong>" in text(asked)

    assert "See a.txt" in text(act(signed_in, 1, "comment", text="See a.txt"))
    assert "renamed" in text(act(bob, 1, "rename", title="Odd result"))
    assert "closed this" in text(act(signed_in, 1, "close", text="Fixed"))

    listed = text(bob.get("/ada/notes/discussions"))
    assert "Nobody has said anything that is still open" in listed and "1 closed" in listed
    assert "Odd result" in text(bob.get("/ada/notes/discussions?status=closed"))


def test_a_title_that_turns_its_text_around_turns_nothing_else(
    signed_in: Client, repository: Repository, ada: User
) -> None:
    turned = "see \u202egpj.exe"
    thread = discussions.open_discussion(repository=repository, by=ada, title=turned, description="x")
    act(signed_in, thread.number, "rename", title=f"{turned} 2")
    change = Put("b.txt", make_blob(b"b", by=ada).sha256)
    made = commits.commit(repository=repository, changes=[change], message=turned, by=ada)

    for address in (
        f"discussions/{thread.number}", "discussions", f"commit/{made.oid}", "commits/main", "tree/main", "refs",
    ):  # fmt: skip
        shown = text(signed_in.get(f"/ada/notes/{address}"))
        assert "\u202e" in shown
        assert "\u202e" not in re.sub("<bdi>[^<]*</bdi>|<input[^>]*>", "", shown), address


def test_a_comment_is_changed_by_its_author_and_hidden_by_a_writer(
    signed_in: Client, bob: Client, repository: Repository
) -> None:
    discussions.open_discussion(
        repository=repository, by=User.objects.get(username="bob"), title="T", description="Bad"
    )
    event = Discussion.objects.get().events.get().pk.hex

    assert act(signed_in, 1, "edit", event=event, text="x").status_code == 403
    assert "edited" in text(act(bob, 1, "edit", event=event, text="Worse"))
    hidden = text(act(signed_in, 1, "hide", event=event))

    assert "This comment is hidden" in hidden and "Worse" not in hidden


def test_a_pull_request_from_its_files_to_its_merge(signed_in: Client, bob: Client, repository: Repository) -> None:
    bob.post("/ada/notes/discussions/new", {"title": "Better", "text": "", "changes": "on"})
    pull = Discussion.objects.get()
    assert pull.is_pull and pull.status == "open"

    upload = [SimpleUploadedFile("a.txt", b"one\n2 < 3\n"), SimpleUploadedFile("n.txt", b"n\n")]
    shown = bob.post("/ada/notes/discussions/1/files", {"uploads": upload, "message": "Better numbers"}, follow=True)
    assert "Better numbers" in text(shown) and "<code>+2 &lt; 3\n</code>" in text(shown) and "2 files" in text(shown)
    assert "Merge into main" not in text(shown)
    assert act(bob, 1, "merge").status_code == 403

    assert "Merge into main" in text(signed_in.get("/ada/notes/discussions/1"))
    merged = text(act(signed_in, 1, "merge", text="Thanks"))

    assert "merged this" in merged and "Thanks" in merged
    assert services.read_file(services.resolve(repository), "a.txt") == b"one\n2 < 3\n"


def test_conflicts_are_shown_by_name(signed_in: Client, ada: User, repository: Repository) -> None:
    pull = pulls.open_pull(repository=repository, by=ada, title="Mine")
    for branch, data in ((pull.ref, b"pr"), ("main", b"main")):
        put = Put("a.txt", make_blob(data).sha256)
        commits.commit(repository=repository, changes=[put], message="m", by=None, branch=branch)

    shown = text(signed_in.get("/ada/notes/discussions/1"))
    assert "main changed the same files meanwhile" in shown and 'value="merge" disabled' in shown
    refused = act(signed_in, 1, "merge")
    assert refused.status_code == 409 and "a.txt" in text(refused)


def test_nobody_signs_in_before_speaking(client: Client, repository: Repository, ada: User) -> None:
    discussions.open_discussion(repository=repository, by=ada, title="Hello")

    assert "Sign in" in text(client.get("/ada/notes/discussions/1"))
    for path in ("new", "1/act", "1/files"):
        response = client.post(f"/ada/notes/discussions/{path}", {"do": "comment", "text": "x"})
        assert response.status_code == 302 and response["Location"].startswith("/login")
    assert client.post("/ada/notes/like").status_code == 302


@pytest.mark.parametrize(
    "path",
    ["discussions", "discussions/1", "discussions/new", "tree/main", "blob/main/a.txt", "commits/main", "commit/main",
     "refs", "settings"],
)  # fmt: skip
def test_private_pages_do_not_exist_for_others(bob: Client, repository: Repository, ada: User, path: str) -> None:
    discussions.open_discussion(repository=repository, by=ada, title="Hello")
    Repository.objects.update(private=True)

    assert bob.get(f"/ada/notes/{path}").status_code == 404


def test_a_title_is_asked_for_and_what_was_typed_stays(bob: Client, repository: Repository) -> None:
    response = bob.post("/ada/notes/discussions/new", {"title": " ", "text": "a long story"})

    assert response.status_code == 422
    assert "Say in a few words" in text(response) and "a long story" in text(response)


def test_liking_toggles(bob: Client, repository: Repository) -> None:
    assert "Liked 1" in text(bob.post("/ada/notes/like", {"do": "like"}, follow=True))
    assert "Like 0" in text(bob.post("/ada/notes/like", {"do": "unlike"}, follow=True))


def test_folders_files_and_their_last_commits(client: Client, repository: Repository, ada: User) -> None:
    put = Put("a.txt", make_blob(b"1 < 2\n", by=ada).sha256)
    commits.commit(repository=repository, changes=[put], message="Fix a number", by=ada)

    top = text(client.get("/ada/notes/tree/main"))
    assert "Fix a number" in top and "A change" in top and "/ada/notes/tree/main/d" in top
    assert "deep.txt" in text(client.get("/ada/notes/tree/main/d/e"))
    assert "1 &lt; 2" in text(client.get("/ada/notes/blob/main/a.txt"))
    assert "Too large to show here" in text(client.get("/ada/notes/blob/main/w.safetensors.bin"))
    assert client.get("/ada/notes/tree/main/none").status_code == 404
    assert client.get("/ada/notes/tree/none").status_code == 404


def test_gated_files_are_listed_and_not_shown(bob: Client, signed_in: Client, repository: Repository) -> None:
    Repository.objects.update(gated="manual")

    assert "two" not in text(bob.get("/ada/notes/blob/main/a.txt"))
    assert "two" in text(signed_in.get("/ada/notes/blob/main/a.txt"))
    assert "+two" not in text(bob.get("/ada/notes/commit/main"))


def test_history_and_a_commit_with_its_changes(client: Client, repository: Repository, ada: User) -> None:
    for number in range(31):
        put = Put("a.txt", make_blob(b"%d\n" % number, by=ada).sha256)
        made = commits.commit(repository=repository, changes=[put], message=f"Step {number}\n\nWhy.", by=ada)

    assert "Step 30" in text(client.get("/ada/notes/commits/main")) and "?p=2" in text(
        client.get("/ada/notes/commits/main")
    )
    assert "A change" in text(client.get("/ada/notes/commits/main?p=2"))
    shown = text(client.get(f"/ada/notes/commit/{made.oid}"))
    assert "<code>-29\n</code>" in shown and "<code>+30\n</code>" in shown and "Why." in shown


def test_branches_and_tags_are_made_and_removed_by_writers(
    signed_in: Client, bob: Client, repository: Repository
) -> None:
    def change(browser: Client, **fields: str) -> Any:
        return browser.post("/ada/notes/refs/change", fields, follow=True)

    assert change(bob, do="make", kind="branch", name="mine").status_code == 403
    assert "next" in text(change(signed_in, do="make", kind="branch", name="next"))
    assert "v1" in text(change(signed_in, do="make", kind="tag", name="v1", rev="next"))
    assert change(signed_in, do="remove", kind="branch", name="main").status_code == 409
    change(signed_in, do="remove", kind="tag", name="v1")
    assert set(repository.refs.values_list("kind", "name")) == {(Ref.Kind.BRANCH, "main"), (Ref.Kind.BRANCH, "next")}


def test_settings_are_for_those_who_administer(signed_in: Client, bob: Client, repository: Repository) -> None:
    given = {"do": "settings", "description": "Notes of mine", "private": "on", "gated": "manual"}
    assert bob.get("/ada/notes/settings").status_code == 403
    assert bob.post("/ada/notes/settings", given).status_code == 403

    saved = signed_in.post("/ada/notes/settings", given, follow=True)

    assert "The settings are saved" in text(saved)
    repository.refresh_from_db()
    assert (repository.description, repository.private, repository.gated) == ("Notes of mine", True, "manual")


def test_a_repository_is_renamed_and_found_by_its_old_name(signed_in: Client, repository: Repository) -> None:
    moved = signed_in.post("/ada/notes/settings", {"do": "move", "to": "ada/papers"}, follow=True)

    assert "It is called ada/papers now" in text(moved)
    assert signed_in.get("/ada/notes").status_code in {301, 302, 307, 308}


def test_a_dataset_has_its_pages_under_its_prefix(client: Client, ada: User) -> None:
    rows = create_repository(name="ada/rows", kind="plain", type="dataset")
    make_commit(rows, {"rows.csv": b"a,b\n"}, by=ada)
    thread = discussions.open_discussion(repository=rows, by=ada, title="Hello")

    assert thread.get_absolute_url() == "/datasets/ada/rows/discussions/1"
    for path in ("", "/discussions/1", "/discussions", "/tree/main", "/commits/main", "/refs"):
        assert client.get(f"/datasets/ada/rows{path}").status_code == 200, path
    assert client.get("/spaces/ada/rows").status_code == 404
