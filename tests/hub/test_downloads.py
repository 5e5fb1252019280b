"""Downloads count people a day; the numbers on lists follow from them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser
from django.test import RequestFactory
from django.utils import timezone
from pytest_django import Settings

from hub.catalog import downloads
from hub.catalog.models import Download, DownloadDay, Item
from tests.factories import make_repository, make_user


@pytest.fixture
def repository(db: None, home: Any) -> Any:
    downloads._seen.clear()
    return make_repository(make_user("ann"), "files")


def fetch(repository: Any, *, who: Any = None, address: str = "10.0.0.1", method: str = "get") -> None:
    request = getattr(RequestFactory(), method)("/x", REMOTE_ADDR=address)
    request.user = who or AnonymousUser()
    downloads.record(repository, request)


def test_a_person_counts_once_a_day_however_often_and_in_whatever_way_they_ask(
    repository: Any, django_assert_num_queries: Any
) -> None:
    bob = make_user("bob")
    fetch(repository, who=bob, method="head")
    with django_assert_num_queries(0):
        fetch(repository, who=bob)
    downloads._seen.clear()  # another process
    with django_assert_num_queries(1):
        fetch(repository, who=bob, address="10.0.0.9")
    fetch(repository, address="10.0.0.1")
    fetch(repository, address="10.0.0.2")

    downloads.fold()

    item = Item.objects.get()
    assert (item.downloads, item.downloads_all_time, item.trending) == (3, 3, 3.0)
    assert "10.0.0.1" not in {row.who for row in Download.objects.all()}


def test_days_that_are_over_stay_as_numbers_alone_and_leave_the_window(repository: Any) -> None:
    today = timezone.now().date()
    for days in (3, 40):
        Download.objects.create(repository=repository, day=today - timedelta(days=days), who="a")
        Download.objects.create(repository=repository, day=today - timedelta(days=days), who="b")

    assert downloads.fold() == 1
    assert downloads.fold() == 0

    item = Item.objects.get()
    assert (item.downloads, item.downloads_all_time) == (2, 4)
    assert item.trending == 1.0  # two, half of them after three days
    assert not Download.objects.exists()
    assert DownloadDay.objects.count() == 2


def test_the_same_address_is_another_hash_on_another_day(repository: Any) -> None:
    request = RequestFactory().get("/x", REMOTE_ADDR="10.0.0.1")
    request.user = AnonymousUser()
    today = timezone.now().date()

    assert downloads._who(request, today) != downloads._who(request, today - timedelta(days=1))


def test_a_row_that_comes_after_its_day_was_counted_is_added_to_it(repository: Any) -> None:
    yesterday = timezone.now().date() - timedelta(days=1)
    for who in "abc":
        Download.objects.create(repository=repository, day=yesterday, who=who)
    downloads.fold()
    Download.objects.create(repository=repository, day=yesterday, who="late")

    downloads.fold()

    assert DownloadDay.objects.get().count == 4


def test_behind_a_proxy_visitors_are_told_apart_by_what_it_saw(repository: Any, settings: Settings) -> None:
    settings.TRUSTED_PROXIES = 1
    for seen in ("203.0.113.5", "203.0.113.6"):
        request = RequestFactory().get("/x", REMOTE_ADDR="10.0.0.1", HTTP_X_FORWARDED_FOR=seen)
        request.user = AnonymousUser()
        downloads.record(repository, request)

    assert Download.objects.count() == 2
