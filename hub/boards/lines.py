"""Who is one and the same for a board: an account, its network, and a namespace that its own people submit from.

Somebody with several accounts on one network, or several people of one organisation who submit what is its, share a
budget and see their answers as one line. Who submits what is somebody else's asks for themselves alone: the owner's
budget is not theirs to spend. That gives nobody a second one, since the same content is measured once an edition
whatever it is called, and whoever has many accounts could as well copy it to each of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Q
from django.utils import timezone
from django.utils.crypto import salted_hmac

from hub.accounts.models import Membership, User
from hub.boards.models import Board, Run, RunQuerySet
from hub.errors import TooManyRequests
from hub.repos.models import Namespace

WINDOW = timedelta(days=7)
TRIES = 5
"""For each answer of the budget, runs that may be begun: one that fails tells nothing, and costs a worker its time."""


@dataclass(frozen=True)
class Budget:
    """How many answers are left this week, and when the oldest counted one falls out of it."""

    of: int
    left: int
    renews_at: datetime | None


def digest_of(address: str) -> str:
    """What is kept of a caller's address."""
    return salted_hmac("board.network", address, algorithm="sha256").hexdigest()[:32] if address else ""


def speaks_for(user: User, namespace: Namespace) -> bool:
    """Whether the namespace is the user's own, or an organisation they are in: it pays for what of it they submit."""
    return namespace.owner_id == user.pk or Membership.objects.filter(organisation=namespace.pk, user=user.pk).exists()


def same_line(run: Run) -> RunQuerySet:
    """The runs on the board by the same account, from its network, or for the namespace it speaks for; this among
    them."""
    return _line(run.board_id, account=run.account, network=run.network, namespace=run.namespace if run.speaks else "")


def budget_of(board: Board, *, user: User, network: str, namespace: str = "") -> Budget:
    """What somebody may still ask. A run that failed told nothing, and costs nothing.

    namespace  one that the user speaks for, when what they submit is of it

    The week is counted by the time of the hub; answers that seem to come from the future count, so a clock that is set
    back gives nobody a second budget.
    """
    line = _line(board.pk, account=user.pk, network=network, namespace=namespace)
    counted = line.exclude(state=Run.State.FAILED).filter(created_at__gt=timezone.now() - WINDOW)
    times = list(counted.order_by("created_at").values_list("created_at", flat=True))
    return Budget(board.budget, max(0, board.budget - len(times)), times[0] + WINDOW if times else None)


def charge(board: Board, *, user: User, network: str, namespace: str) -> None:
    """Raises TooManyRequests when the budget is used up; the run that is made next is what counts."""
    budget = budget_of(board, user=user, network=network, namespace=namespace)
    if budget.left:
        line = _line(board.pk, account=user.pk, network=network, namespace=namespace)
        if line.filter(created_at__gt=timezone.now() - WINDOW).count() < TRIES * board.budget:
            return
        raise TooManyRequests(
            f"Of {TRIES * board.budget} tries this week too many failed. Look at why, and try again in some days.",
            headers={"Retry-After": str(24 * 3600)},
        )
    wait = max(1, round((budget.renews_at - timezone.now()).total_seconds())) if budget.renews_at else 1
    raise TooManyRequests(
        f"This board answers {board.budget} times a week to an account, its network, and a namespace's people. "
        f"The next answer is free at {budget.renews_at:%Y-%m-%d %H:%M} UTC.",
        headers={"Retry-After": str(wait)},
    )


def _line(board: int, *, account: int, network: str, namespace: str) -> RunQuerySet:
    same = Q(account=account)
    if namespace:
        same |= Q(namespace=namespace, speaks=True)
    if network:
        same |= Q(network=network)
    return Run.objects.filter(same, board=board)
