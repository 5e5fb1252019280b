"""How often somebody may do something: windows counted in the database, so that all processes count together.

A process leases a share of a window and spends it from memory: a read costs a row write once in many requests, and what
several processes let through never exceeds the limit. Where the limit is small (login) the share is one, so each try is
counted at once. There is no cache that could be down: without the database nothing is allowed.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace
from ipaddress import IPv6Address, ip_address
from typing import Literal

from django.conf import settings
from django.db import transaction
from django.http import HttpRequest

from hub.accounts.access import Actor
from hub.accounts.models import RateWindow, User
from hub.errors import TooManyRequests

Kind = Literal["api", "login", "create", "upload", "reset", "check"]
"""The classes; settings.RATES gives each (how many, in how many seconds)."""
_SHARES = 50
"""A lease is a fiftieth of the window: at most so many row writes a window and process."""
_MOST_LEASES = 10_000
_KEPT_S = 24 * 3600
_SKEW_S = 30
"""A window that began a little later than now was begun by somebody whose clock is ahead, or who was faster."""


@dataclass
class _Lease:
    """What this process may still spend of one window."""

    left: int
    behind: int  # what the row had left beyond it
    ends: float


_leases: dict[str, _Lease] = {}
_lock = threading.Lock()


def charge(request: HttpRequest, kind: Kind, actor: Actor | None = None, *, name: str = "") -> None:
    """Counts one use by the actor, or by the caller's address when nobody is signed in. Raises TooManyRequests.

    name  counts for this instead, such as the account that a login tries
    """
    if name:
        who = f"name:{name.lower()[:150]}"
    elif actor is not None and actor.is_authenticated:
        who = _of(actor)
    else:
        who = f"ip:{address_of(request)}"
    try:
        spent = spend(kind, who)
    except TooManyRequests as refused:
        request.rate = refused.headers  # type: ignore[attr-defined]
        raise
    request.rate = spent  # type: ignore[attr-defined]


def charge_user(kind: Kind, user: User) -> None:
    """Counts one use by the user, where no request is at hand. Raises TooManyRequests."""
    spend(kind, _of(user))


def spend(kind: Kind, who: str) -> dict[str, str]:
    """Counts one use; the headers that tell what is left. Raises TooManyRequests."""
    limit, window_s = settings.RATES[kind]
    key, now = f"{kind} {who}", time.time()
    spent = None
    with _lock:
        lease = _leases.get(key)
        if lease is not None and lease.left > 0 and now < lease.ends <= now + window_s:
            spent = _spent(lease)
    if spent is None:
        more = _lease(key, limit, window_s, now)  # not under the lock: others spend what they have meanwhile
        with _lock:
            spent = _spent(_kept(key, more, now))
    after, allowed = spent
    headers = {
        "RateLimit": f'"{kind}";r={after.left + after.behind};t={max(1, round(after.ends - now))}',
        "RateLimit-Policy": f'"fixed window";"{kind}";q={limit};w={window_s}',
    }
    if not allowed:
        raise TooManyRequests(
            f"That was more than {limit} in {_words(window_s)}. Wait {_words(round(after.ends - now))} and try again.",
            headers={**headers, "Retry-After": str(max(1, round(after.ends - now)))},
        )
    return headers


def address_of(request: HttpRequest) -> str:
    """Where the request comes from: a /64 of IPv6, since one host has all of it.

    Behind TRUSTED_PROXIES proxies it is what the outermost of them saw; anything further left was said by the client.
    """
    seen = request.META.get("REMOTE_ADDR", "")
    if settings.TRUSTED_PROXIES:
        hops = [hop.strip() for hop in request.headers.get("X-Forwarded-For", "").split(",") if hop.strip()]
        if len(hops) >= settings.TRUSTED_PROXIES:
            seen = hops[-settings.TRUSTED_PROXIES]
    try:
        address = ip_address(seen)
    except ValueError:
        return "unknown"
    if isinstance(address, IPv6Address):
        mapped = address.ipv4_mapped
        return str(mapped) if mapped else str(IPv6Address(int(address) >> 64 << 64))
    return str(address)


def forget() -> None:
    """Drops what this process leased; for tests."""
    with _lock:
        _leases.clear()


def clean() -> int:
    """Removes windows that are long over. How many."""
    return RateWindow.objects.filter(started__lt=time.time() - _KEPT_S).delete()[0]


def _of(user: Actor) -> str:
    return f"user:{user.pk}"


def _spent(lease: _Lease) -> tuple[_Lease, bool]:
    """What the lease has left after one use, and whether it allowed it. The caller holds the lock."""
    allowed = lease.left > 0
    lease.left -= allowed
    return replace(lease), allowed


def _kept(key: str, more: _Lease, now: float) -> _Lease:
    """The lease with what was leased just now. The caller holds the lock."""
    lease = _leases.get(key)
    if lease is not None and lease.ends == more.ends:  # another thread leased some of the same window
        lease.left, lease.behind = lease.left + more.left, min(lease.behind, more.behind)
        return lease
    if len(_leases) >= _MOST_LEASES:
        for old in [each for each, kept in _leases.items() if kept.left < 1 or kept.ends <= now]:
            del _leases[old]
    _leases[key] = more
    return more


@transaction.atomic
def _lease(key: str, limit: int, window_s: int, now: float) -> _Lease:
    RateWindow.objects.bulk_create([RateWindow(key=key, started=now, spent=0)], ignore_conflicts=True)
    row = RateWindow.objects.select_for_update().get(key=key)
    if not row.started - _SKEW_S <= now < row.started + window_s:
        row.started, row.spent = now, 0
    share = min(max(1, limit // _SHARES), limit - row.spent)
    if share > 0:
        row.spent += share
        row.save(update_fields=["started", "spent"])
    return _Lease(left=max(0, share), behind=max(0, limit - row.spent), ends=row.started + window_s)


def _words(seconds: int) -> str:
    return f"{seconds} seconds" if seconds < 120 else f"{-(-seconds // 60)} minutes"
