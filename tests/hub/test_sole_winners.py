"""Races for what only one may have: one wins, the others are told, and nothing is left in between."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from django.db import connection

from hub.accounts import gating, organisations, services
from hub.accounts.models import AccessRequest, User
from hub.jobs.cleanup import delete_repository
from hub.repos import services as repos
from hub.repos.commits import Put, commit
from hub.repos.models import Commit, Namespace, Ref, Repository, RetiredName
from hub.safety import holds
from hub.safety.models import Hold
from priors.errors import UserError
from tests.factories import make_blob, make_commit, make_organisation, make_repository, make_user
from tests.rounds import rounds

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def own_home(home: Path) -> Path:
    return home


def race(*acts: Callable[[], object]) -> list[UserError | None]:
    """What came of each when all began at once: None, or why not."""
    start, ended = threading.Barrier(len(acts)), {}

    def run(number: int, act: Callable[[], object]) -> None:
        start.wait()
        try:
            act()
            ended[number] = None
        except UserError as error:
            ended[number] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=each) for each in enumerate(acts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ended) == len(acts), "somebody ended with an error of the hub's own"
    return [ended[number] for number in range(len(acts))]


def test_one_becomes_the_first_administrator() -> None:
    for number in rounds(2, 50):
        User.objects.filter(is_superuser=True).update(is_superuser=False)
        secret = services.new_setup_link()

        def take(name: str, secret: str = secret) -> Callable[[], object]:
            return lambda: services.consume_setup_link(secret, name=name, password="seven horses in a row")

        ended = race(*(take(f"root-{'abcdefgh'[k]}x{number}") for k in range(8)))

        assert ended.count(None) == 1
        assert User.objects.filter(is_superuser=True).count() == 1


def test_one_gets_a_name_whoever_asks_for_it() -> None:
    for number in rounds(2, 50):
        ann, name = make_user(), f"lab-of-{number}"
        ended = race(
            *(lambda name=name: services.create_user(name=name, vouched=True) for _ in range(4)),
            *(
                lambda name=name, ann=ann: organisations.create_organisation(name=name.upper(), by=ann)
                for _ in range(4)
            ),
        )

        assert ended.count(None) == 1
        assert {error.status for error in ended if error} <= {409, 422}
        assert Namespace.objects.filter(name__iexact=name).count() == 1


def test_one_gets_the_name_of_a_repository_by_making_or_by_moving() -> None:
    for number in rounds(2, 50):
        ann = make_user()
        others = [make_repository(ann, f"old{k}") for k in range(4)]
        for other in others:
            make_commit(other, {"a.txt": b"1"}, by=ann)
        to = f"{ann}/wanted-{number}"
        ended = race(
            *(lambda to=to: repos.create_repository(name=to, kind="plain") for _ in range(4)),
            *(lambda other=other, to=to: repos.move_repository(other, to) for other in others),
        )

        assert ended.count(None) == 1
        assert {error.status for error in ended if error} == {409}
        assert Repository.objects.filter(name=f"wanted-{number}").count() == 1
        kept = Repository.objects.filter(namespace__owner=ann, name__startswith="old").count()
        assert RetiredName.objects.filter(repository__in=others).count() == 4 - kept


def test_a_commit_beside_a_move_or_a_deletion_is_whole_or_not_there() -> None:
    for number in rounds(2, 50):
        ann = make_user()
        lab = make_organisation(f"works{number}", admin=ann)
        moved, gone = make_repository(ann, "moved"), make_repository(ann, "gone")
        blobs = [make_blob(f"{number} {k}".encode(), by=ann) for k in range(6)]
        for each in (moved, gone):
            make_commit(each, {"a.txt": b"1"}, by=ann)

        def put(repository: Repository, k: int, blobs: list = blobs, ann: User = ann) -> Callable[[], object]:  # type: ignore[type-arg]
            changes, own = [Put(f"{k}.txt", blobs[k].sha256)], Repository.objects.get(pk=repository.pk)
            return lambda: commit(repository=own, changes=changes, message="", by=ann)

        doomed = Repository.objects.get(pk=gone.pk)  # what is deleted loses its number
        ended = race(
            *(put(moved, k) for k in range(3)),
            lambda moved=moved, lab=lab: repos.move_repository(moved, f"{lab}/moved"),
            *(put(gone, k) for k in range(3, 6)), lambda own=doomed: delete_repository(own),
        )  # fmt: skip

        assert ended[:4] == [None] * 4
        assert {error.status for error in ended[4:7] if error} <= {404, 409, 422}
        assert ended[7] is None
        here = Repository.objects.get(pk=moved.pk)
        assert here.head is not None
        assert {file.path for file in repos.files(here.head)} == {"a.txt", "0.txt", "1.txt", "2.txt"}
        assert not Commit.objects.filter(repository=gone.pk).exists()
        assert not Ref.objects.filter(repository=gone.pk).exists()


def test_of_an_acceptance_and_a_rejection_the_log_and_the_state_agree() -> None:
    for _ in rounds(2, 50):
        ann, bob = make_user(), make_user()
        thing = make_repository(ann, "thing")
        make_commit(thing, {"a.txt": b"1"}, by=ann)
        repos.change_settings(thing, gated="manual")
        asked = gating.ask(repository=thing, by=bob)

        race(
            *(lambda asked=asked, ann=ann: gating.handle(asked, status="accepted", by=ann) for _ in range(3)),
            *(lambda asked=asked, ann=ann: gating.handle(asked, status="rejected", by=ann) for _ in range(3)),
            lambda asked=asked, bob=bob: gating.withdraw(asked, by=bob),
        )

        left = AccessRequest.objects.filter(pk=asked.pk).first()
        assert left is None or left.status in ("accepted", "rejected")


def test_holds_that_are_lifted_at_once_are_lifted_once() -> None:
    for _ in rounds(2, 50):
        ann, root = make_user(), make_user(admin=True)
        thing = make_repository(ann, "thing")
        make_commit(thing, {"a.txt": b"1"}, by=ann)
        hold = holds.quarantine(thing, reason="suspicious", by=root)

        race(*(lambda hold=hold, root=root: holds.lift(Hold.objects.get(pk=hold.pk), by=root) for _ in range(6)))

        assert Hold.objects.get(pk=hold.pk).lifted_at is not None
        assert not Hold.objects.standing().filter(repository=thing).exists()
