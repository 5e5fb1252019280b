"""Downloads: distinct people a day, not requests. HEAD, ranges, retries and every file of a repository count once.

    downloads      for each of the last 30 days, today included, the accounts and nameless addresses that got a file
    trendingScore  the downloads of the last 7 days, each worth half after 3 days, and 5 for each like of those days

An account is counted by its id, a visitor without one by a hash of the address with a salt that changes every day; the
rows go when their day is over, and only their number stays.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import OrderedDict, defaultdict
from datetime import date, timedelta
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Count, F, Max, Sum
from django.http import HttpRequest
from django.utils import timezone

from hub.accounts.rates import address_of
from hub.catalog import services
from hub.catalog.models import Download, DownloadDay, Item
from hub.repos.models import Like, Repository

WINDOW_DAYS = 30
TRENDING_DAYS = 7
HALF_LIFE_DAYS = 3.0
LIKE_WORTH = 5.0
_REMEMBERED = 20_000

_seen: OrderedDict[tuple[str, str], None] = OrderedDict()
"""Who this process has noted lately: a client that fetches a thousand ranges costs one write."""


def record(repository: Repository, request: HttpRequest) -> None:
    """Notes that whoever asks got a file of the repository. At most one INSERT, and none for what was just noted."""
    today = timezone.now().date()
    who = _who(request, today)
    key = (str(repository.pk), who)
    if key in _seen:
        return
    Download.objects.bulk_create([Download(repository=repository, day=today, who=who)], ignore_conflicts=True)
    _seen[key] = None
    while len(_seen) > _REMEMBERED:
        _seen.popitem(last=False)


def fold(today: date | None = None) -> int:
    """Turns days that are over into numbers, and brings every item's counts up to date. How many items changed."""
    today = today or timezone.now().date()
    with transaction.atomic():
        # Only what is here now, and on top of what was counted: a request from before midnight may come to write its
        # row while this runs, or after it.
        newest = Download.objects.aggregate(newest=Max("pk"))["newest"] or 0
        over = Download.objects.filter(day__lt=today, pk__lte=newest)
        for row in over.values("repository", "day").annotate(n=Count("pk")).order_by():
            counted, _ = DownloadDay.objects.get_or_create(
                repository_id=row["repository"], day=row["day"], defaults={"count": 0}
            )
            DownloadDay.objects.filter(pk=counted.pk).update(count=F("count") + row["n"])
        over.delete()
    now = Download.objects.filter(day=today).values("repository").annotate(n=Count("pk")).order_by()
    of_today = {row["repository"]: row["n"] for row in now}
    past = DownloadDay.objects.values("repository").order_by()
    total = {row["repository"]: row["n"] for row in past.annotate(n=Sum("count"))}
    lately = past.filter(day__gt=today - timedelta(days=WINDOW_DAYS)).annotate(n=Sum("count"))
    month = {row["repository"]: row["n"] for row in lately}
    trending = _trending(today, of_today)
    changes = {}
    items = Item.objects.values_list("pk", "repository_id", "downloads", "downloads_all_time", "trending")
    for pk, repository, downloads, all_time, score in items.iterator(chunk_size=5000):
        fresh = of_today.get(repository, 0)
        wanted = {
            "downloads": month.get(repository, 0) + fresh,
            "downloads_all_time": total.get(repository, 0) + fresh,
            "trending": round(trending.get(repository, 0.0), 4),
        }
        if wanted != {"downloads": downloads, "downloads_all_time": all_time, "trending": score}:
            changes[pk] = wanted
    services.recount(changes)
    return len(changes)


def _trending(today: date, of_today: dict[UUID, int]) -> dict[UUID, float]:
    worth: defaultdict[UUID, float] = defaultdict(float)
    for repository, n in of_today.items():
        worth[repository] += n
    since = today - timedelta(days=TRENDING_DAYS)
    for row in DownloadDay.objects.filter(day__gt=since).values("repository", "day", "count"):
        worth[row["repository"]] += row["count"] * 0.5 ** ((today - row["day"]).days / HALF_LIFE_DAYS)
    likes = Like.objects.filter(created_at__date__gt=since).values("repository").annotate(n=Count("pk")).order_by()
    for liked in likes:
        worth[liked["repository"]] += LIKE_WORTH * liked["n"]
    return dict(worth)


def _who(request: HttpRequest, today: date) -> str:
    user = getattr(request, "auth", None) or request.user
    named = f"account {user.pk}" if getattr(user, "is_authenticated", False) else f"address {address_of(request)}"
    salt = f"{settings.SECRET_KEY} {today.isoformat()}".encode()
    return hmac.new(salt, named.encode(), hashlib.sha256).hexdigest()[:32]
