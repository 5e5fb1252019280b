"""Likes are counted once a person."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection

from hub.accounts.models import ApiToken, User
from hub.accounts.services import authenticate
from hub.repos import likes
from hub.repos.models import Like, Repository
from priors.errors import NotAllowed, NotFound
from tests.factories import make_repository, make_token, make_user


@pytest.fixture
def repository(home: object, transactional_db: None) -> Repository:
    return make_repository(make_user("ann"), "notes")


def test_liking_counts_once_and_unliking_takes_it_back(repository: Repository) -> None:
    bob, cyd = make_user("bob"), make_user("cyd")

    for person in (bob, bob, cyd):
        likes.like(repository=repository, by=person)
    assert repository.likes == 2

    likes.unlike(repository=repository, by=bob)
    likes.unlike(repository=repository, by=bob)
    assert (repository.likes, list(Like.objects.values_list("user", flat=True))) == (1, [cyd.pk])


def test_many_at_once_are_all_counted(repository: Repository) -> None:
    people = [make_user() for _ in range(8)] * 2

    def like(person: User) -> None:
        try:
            likes.like(repository=Repository.objects.get(pk=repository.pk), by=person)
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(like, people))

    repository.refresh_from_db()
    assert (repository.likes, repository.liked_by.count()) == (8, 8)


def test_what_cannot_be_seen_cannot_be_liked(repository: Repository) -> None:
    Repository.objects.update(private=True)

    with pytest.raises(NotFound):
        likes.like(repository=repository, by=make_user("bob"))


def test_a_token_that_only_reads_likes_nothing(repository: Repository) -> None:
    actor = authenticate(make_token(make_user("bob"), role=ApiToken.Role.READ)).user

    with pytest.raises(NotAllowed):
        likes.like(repository=repository, by=actor)
