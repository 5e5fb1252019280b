"""Whose storage counts what comes in xorbs, and what is refused when it is full."""

from __future__ import annotations

import pytest
from django.test import Client
from pytest_django import Settings

from hub.accounts.models import User
from hub.repos.blobs import sweep
from hub.repos.models import Blob
from hub.repos.quotas import use_of
from hub.xet.tokens import grant
from tests.factories import make_repository, make_user
from tests.xet.by_hand import CHUNKS, Wire, acting, noise

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("home")]


@pytest.fixture
def ann() -> User:
    return make_user("ann")


@pytest.fixture
def wire(client: Client, ann: User) -> Wire:
    return Wire(client, grant(ann, make_repository(ann, "mine"), "write"))


def test_what_a_namespace_may_not_store_is_refused(wire: Wire, settings: Settings) -> None:
    settings.STORAGE_QUOTA_BYTES = 15_000

    assert wire.send_xorb(*CHUNKS)[0] == 413
    settings.STORAGE_QUOTA_BYTES = 25_000
    assert wire.send_xorb(*CHUNKS)[0] == 200
    assert wire.send_file(*CHUNKS)[0] == 200
    more = noise(9_000, 3)
    assert wire.send_xorb(more)[0] == 413
    assert not Blob.objects.filter(size=9_000).exists()


def test_xorbs_without_a_shard_fill_no_disk_and_count_until_they_are_swept(
    wire: Wire, ann: User, settings: Settings
) -> None:
    settings.STORAGE_QUOTA_BYTES = 50_000
    space = ann.namespaces.get()

    answers = [wire.send_xorb(noise(20_000, seed))[0] for seed in range(4)]

    assert answers == [200, 200, 413, 413]
    assert 40_000 < use_of(space).used <= 50_000
    assert wire.send_xorb(noise(20_000, 0))[0] == 200  # it is here
    sweep(grace_s=0)
    assert use_of(space).used == 0
    assert wire.send_xorb(noise(20_000, 2))[0] == 200


def test_a_file_counts_in_place_of_the_xorbs_it_is_made_of(wire: Wire, ann: User, settings: Settings) -> None:
    settings.STORAGE_QUOTA_BYTES = 25_000

    wire.send_xorb(*CHUNKS)
    refused = wire.send_file(*CHUNKS, sha256="0" * 64)
    left = use_of(ann.namespaces.get()).used
    made = wire.send_file(*CHUNKS)

    assert (refused[0], made[0]) == (400, 200)
    assert 19_000 < left < 20_000  # still as a xorb
    assert use_of(ann.namespaces.get()).used == sum(map(len, CHUNKS))


def test_what_a_proposer_sends_in_xorbs_counts_for_them(client: Client, ann: User, settings: Settings) -> None:
    settings.STORAGE_QUOTA_BYTES = 25_000
    repository, ben = make_repository(ann), make_user("ben")
    wire = Wire(client, grant(acting(ben), repository, "propose"))

    assert wire.send_xorb(*CHUNKS)[0] == 200

    assert use_of(repository.namespace).used == 0
    assert use_of(ben.namespaces.get()).used > sum(map(len, CHUNKS))


def test_what_somebody_proposes_counts_for_them_and_not_for_the_owner(
    client: Client, ann: User, settings: Settings
) -> None:
    settings.STORAGE_QUOTA_BYTES = 25_000
    repository, ben = make_repository(ann), make_user("ben")

    wire = Wire(client, grant(acting(ben), repository, "propose"))

    assert (wire.send_xorb(*CHUNKS)[0], wire.send_file(*CHUNKS)[0]) == (200, 200)
    assert use_of(repository.namespace).used == 0
    assert use_of(ben.namespaces.get()).used == sum(map(len, CHUNKS))
