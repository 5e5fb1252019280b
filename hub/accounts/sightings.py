"""Where tokens are used from: two addresses within minutes of each other mean that somebody else may have the token.

Nothing stops working, since a person may well have two machines: the owner is told, on the account page and in the
audit log, once a day for each token. Of the address a keyed digest is kept. A request costs a write when the last one
is a minute old or when it is told of; any other costs none, however many addresses take turns.
"""

from __future__ import annotations

from datetime import timedelta

from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.crypto import salted_hmac

from hub.accounts import audit
from hub.accounts.models import ApiToken

NOTE_EVERY = timedelta(minutes=1)  # reading must not cost a write each
TOGETHER = timedelta(minutes=10)
"""Uses this close are by two machines; later, somebody may have gone from one network to another."""
TELL_EVERY = timedelta(days=1)


def note(token: ApiToken, address: str) -> None:
    """Remembers this use, and tells of one that another address is too close to. An empty address: not known."""
    now = timezone.now()
    last, here = token.last_used_at, _digest(token, address)
    moved = bool(here and token.last_address and here != token.last_address)
    if moved and last is not None and now - last <= TOGETHER:
        untold = Q(two_addresses_at=None) | Q(two_addresses_at__lt=now - TELL_EVERY)
        if token.two_addresses_at is None or token.two_addresses_at < now - TELL_EVERY:
            with transaction.atomic():
                # The conditional UPDATE is the lock: of several at once one tells.
                if ApiToken.objects.filter(untold, pk=token.pk).update(two_addresses_at=now):
                    audit.record(
                        "token.two-addresses", subject=token.name, namespace=token.user.username, prefix=token.prefix,
                        address=address,
                    )  # fmt: skip
    if last is None or now - last > NOTE_EVERY:
        ApiToken.objects.filter(pk=token.pk).update(last_used_at=now, last_address=here or token.last_address)


def _digest(token: ApiToken, address: str) -> str:
    return salted_hmac(f"address of token {token.pk}", address, algorithm="sha256").hexdigest()[:16] if address else ""
