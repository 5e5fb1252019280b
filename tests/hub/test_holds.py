"""Quarantine and yank: nothing leaves the hub, what is held stays visible, and all of it can be undone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from hub.accounts.models import User
from hub.catalog.library import HubStorage
from hub.errors import BadRequest, Quarantined, ScanHeld, Yanked
from hub.repos.models import Commit, Repository
from hub.repos.services import materialise
from hub.safety import holds
from hub.safety.models import Hold
from priors.errors import NotAllowed, NotFound
from tests.factories import bearer, function_manifest, make_commit, make_prior, make_repository, make_user, sha256

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def own_home(home: Path) -> Path:
    return home


@pytest.fixture
def ann() -> User:
    return make_user("ann")


@pytest.fixture
def staff() -> User:
    staff = make_user("mod")
    staff.is_staff = True
    staff.save()
    return staff


@pytest.fixture
def first(ann: User) -> Commit:
    return make_commit(make_repository(ann, "things"), {"a.txt": b"one"}, by=ann)


@pytest.fixture
def second(first: Commit, ann: User) -> Commit:
    return make_commit(first.repository, {"a.txt": b"two"}, by=ann)


def fetch(client: Client, rev: str = "main", **headers: str) -> tuple[int, Any]:
    response = client.get(f"/api/v1/repos/ann/things/files/{rev}/a.txt", headers=headers)
    return response.status_code, response.json()["code"] if response.status_code >= 400 else response.getvalue()


def test_what_is_in_quarantine_leaves_for_nobody_and_comes_back_when_lifted(
    client: Client, ann: User, staff: User, second: Commit
) -> None:
    repository = second.repository

    hold = holds.quarantine(repository, reason="it mines coins", by=staff)

    assert fetch(client) == (403, "quarantined")
    assert fetch(client, **bearer(ann)) == (403, "quarantined")
    assert fetch(client, rev=second.oid) == (403, "quarantined")
    head = client.head("/api/v1/repos/ann/things/files/main/a.txt")
    assert head.status_code == 403
    assert "it mines coins" in client.get("/ann/things").content.decode()
    assert "it mines coins" in client.get("/api/v1/repos/ann/things/files/main/a.txt").json()["detail"]
    holds.lift(hold, by=staff)
    assert fetch(client) == (200, b"two")
    assert Hold.objects.get().lifted_by_name == "mod"


def test_a_yanked_revision_is_gone_and_the_others_are_not(
    client: Client, ann: User, first: Commit, second: Commit
) -> None:
    holds.yank(first.repository, reason="trained on the test set", by=ann, commit=first)

    assert fetch(client, rev=first.oid) == (410, "yanked")
    assert fetch(client, rev="main") == (200, b"two")
    assert "trained on the test set" in client.get(f"/ann/things/v/{first.oid}").content.decode()
    assert "trained on the test set" not in client.get("/ann/things").content.decode()


def test_bytes_that_a_scan_holds_leave_in_no_revision_while_the_rest_does(client: Client, ann: User) -> None:
    commit = make_commit(make_repository(ann, "things"), {"a.txt": b"bad", "b.txt": b"good"}, by=ann)
    holds.hold_bytes(None, sha256(b"bad"), reason="a weight is NaN")

    assert fetch(client) == (403, "scan-held")
    assert client.get("/api/v1/repos/ann/things/files/main/b.txt").status_code == 200
    with pytest.raises(ScanHeld, match="a weight is NaN"):
        holds.servable(commit, [sha256(b"bad"), sha256(b"good")])
    other = make_commit(make_repository(ann, "other"), {"x": b"bad"}, by=ann)
    with pytest.raises(ScanHeld):
        holds.servable(other, [sha256(b"bad")])


def test_a_scan_may_hold_bytes_in_one_repository_only(ann: User, first: Commit) -> None:
    other = make_commit(make_repository(ann, "other"), {"a.txt": b"one"}, by=ann)
    holds.hold_bytes(first.repository, sha256(b"one"), reason="a key")

    with pytest.raises(ScanHeld):
        holds.servable(first, [sha256(b"one")])
    holds.servable(other, [sha256(b"one")])


def test_a_job_cannot_unpack_what_is_held_and_recommends_other_priors(ann: User, staff: User, tmp_path: Path) -> None:
    prior = make_prior(ann, "char-ngrams")
    make_prior(ann, "others")

    holds.quarantine(prior.repository, reason="poisoned", by=staff)

    with pytest.raises(Quarantined):
        materialise(prior, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert [entry.ref.repo for entry in HubStorage(ann).entries()] == ["ann/others"]


@pytest.mark.parametrize("everywhere", [False, True])
def test_a_prior_with_bytes_that_a_scan_holds_is_left_out_until_they_are_replaced(
    client: Client, ann: User, everywhere: bool
) -> None:
    prior = make_prior(ann, "char-ngrams")
    make_prior(ann, "others")
    manifest = json.dumps(function_manifest()).encode()
    make_commit(prior.repository, {"prior.json": manifest, "notes.txt": b"held"}, by=ann)

    def listed() -> dict[str, bool]:
        return {card["repo"]: card["open"] for card in client.get("/api/v1/priors").json()["items"]}

    holds.hold_bytes(None if everywhere else prior.repository, sha256(b"held"), reason="it holds a key")

    assert [entry.ref.repo for entry in HubStorage(ann).entries()] == ["ann/others"]
    assert listed() == {"ann/char-ngrams": False, "ann/others": True}
    make_commit(prior.repository, {"prior.json": manifest, "notes.txt": b"another"}, by=ann)
    assert [entry.ref.repo for entry in HubStorage(ann).entries()] == ["ann/char-ngrams", "ann/others"]
    assert listed() == {"ann/char-ngrams": True, "ann/others": True}


def test_a_repository_in_quarantine_takes_no_commits_a_yanked_one_does(ann: User, staff: User, first: Commit) -> None:
    repository = first.repository
    yanked = holds.yank(repository, reason="old", by=ann)
    make_commit(repository, {"a.txt": b"new"}, by=ann)
    with pytest.raises(Yanked):
        holds.servable(repository)
    holds.lift(yanked, by=ann)
    holds.servable(repository)

    holds.quarantine(repository, reason="suspicious", by=staff)

    with pytest.raises(Quarantined):
        make_commit(repository, {"a.txt": b"newer"}, by=ann)


def test_who_may_hold_and_lift(ann: User, staff: User, first: Commit) -> None:
    repository, stranger = first.repository, make_user("eve")
    for actor in (ann, stranger):
        with pytest.raises(NotAllowed):
            holds.quarantine(repository, reason="r", by=actor)
    for actor in (staff, stranger):
        with pytest.raises(NotAllowed):
            holds.yank(repository, reason="r", by=actor)

    quarantined = holds.quarantine(repository, reason="r", by=staff)
    yanked = holds.yank(repository, reason="r", by=ann)

    with pytest.raises(NotAllowed):
        holds.lift(quarantined, by=ann)
    with pytest.raises(NotAllowed):
        holds.lift(yanked, by=staff)
    scanned = holds.hold_bytes(None, "0" * 64, reason="r")
    with pytest.raises(NotFound):
        holds.lift(scanned, by=ann)
    holds.lift(scanned, by=staff)
    with pytest.raises(BadRequest):
        holds.yank(repository, reason=" ", by=ann)


def test_a_moderator_holds_nothing_private_that_they_cannot_see(staff: User, ann: User) -> None:
    hidden = make_repository(ann, "hidden", private=True)

    with pytest.raises(NotFound):
        holds.quarantine(hidden, reason="r", by=staff)


def test_holds_are_placed_listed_and_lifted_over_the_api(client: Client, ann: User, first: Commit) -> None:
    address, headers = "/api/v1/repos/ann/things/holds", bearer(ann)
    body = {"kind": "yank", "reason": "wrong  labels\n", "rev": first.oid[:10]}

    placed = client.post(address, body, content_type="application/json", headers=headers)
    listed = client.get(address).json()
    assert placed.status_code == 201, placed.content
    lifted = client.post(f"{address}/{placed.json()['id']}/lift", headers=headers)

    assert placed.status_code == 201, placed.content
    assert listed == [placed.json()]
    assert (listed[0]["reason"], listed[0]["commit"], listed[0]["by"]) == ("wrong labels", first.oid, "ann")
    assert lifted.json()["lifted_at"] is not None
    assert fetch(client) == (200, b"one")


def test_holds_are_placed_and_lifted_on_the_site(client: Client, ann: User, first: Commit) -> None:
    client.force_login(ann)

    placed = client.post("/ann/things/holds/place", {"kind": "yank", "reason": "mislabelled", "rev": ""}, follow=True)

    assert "mislabelled" in placed.content.decode()
    assert fetch(client) == (410, "yanked")
    [hold] = Hold.objects.all()
    client.post(f"/ann/things/holds/{hold.pk}/lift")
    assert fetch(client) == (200, b"one")
    client.force_login(make_user("eve"))
    assert "Hold files back" not in client.get("/ann/things/holds").content.decode()
    assert client.post("/ann/things/holds/place", {"kind": "yank", "reason": "x"}).status_code == 403


def test_one_query_decides(django_assert_num_queries: Any, ann: User) -> None:
    commit = make_commit(make_repository(ann), {f"{n}.txt": b"%d" % n for n in range(50)}, by=ann)
    hashes = [sha256(b"%d" % n) for n in range(50)]
    commit = Commit.objects.select_related("repository__namespace").get(pk=commit.pk)

    with django_assert_num_queries(1):
        holds.servable(commit, hashes)


def test_bytes_of_a_held_repository_cannot_be_taken_by_their_hash(ann: User, staff: User, first: Commit) -> None:
    from hub.repos.models import Blob

    eve = make_user("eve")
    assert Blob.objects.usable_by(eve).filter(pk=sha256(b"one")).exists()

    holds.quarantine(first.repository, reason="r", by=staff)

    assert not Blob.objects.usable_by(eve).filter(pk=sha256(b"one")).exists()
    assert Blob.objects.usable_by(ann).filter(pk=sha256(b"one")).exists()
    assert Repository.objects.visible_to(eve).filter(pk=first.repository_id).exists()


def test_the_manifest_of_what_is_held_does_not_leave_either(client: Client, ann: User, staff: User) -> None:
    prior = make_prior(ann, "letters")
    newer = make_commit(prior.repository, {"README.md": b"Letters."}, by=ann, replace=False)
    held = holds.quarantine(prior.repository, reason="looks stolen", by=staff, commit=newer)
    manifest = "/api/v1/priors/ann/letters/manifest"

    assert client.get(manifest).json()["code"] == "quarantined"
    assert client.get(manifest, {"rev": prior.oid}).json()["name"] == "letters"
    holds.lift(held, by=staff)
    assert client.get(manifest).status_code == 200
