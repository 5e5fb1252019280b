"""What the licenses and fees in a composition's lock come to. The lock is a stranger's file, so the work is bounded."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from composer.errors import BadLock
from composer.license import Conflict, Obligation, Use, Verdict, judge, notice
from composer.license_texts import Beside, texts
from composer.lock import Lock
from composer.parts import mixtures, parts
from composer.royalty import Split, split
from composer.sbom import bill
from hub.errors import BadRequest
from priors.errors import PriorhubError
from priors.manifest import PriorManifest, PriorRef

Known = Callable[[PriorRef], PriorManifest | None]
"""The manifest of a prior, None of one that is not here or not for whoever asks."""

MAX_NODES, MAX_PARTS, MAX_MIXED = 1_000, 100, 500
"""Of a lock that is judged while a page waits; larger ones are for the command line."""

MAX_PRICE = 10**9
"""In units with cents."""

_PRICE = re.compile(r"\s*(\d{1,10})(?:[.,](\d{1,2}))?\s*\Z", re.ASCII)


@dataclass(frozen=True)
class Terms:
    """`share` and `sell`: what the licenses say to giving it away, and to selling it."""

    lock: Lock
    share: Verdict
    sell: Verdict

    @property
    def license(self) -> str:
        """The SPDX expression of the whole; "" when no part states one."""
        return self.share.license

    @property
    def conflicts(self) -> tuple[Conflict, ...]:
        """Those that stand in the way of sharing first, then those of selling only."""
        return tuple(dict.fromkeys([*self.share.conflicts, *self.sell.conflicts]))

    @property
    def obligations(self) -> tuple[Obligation, ...]:
        """What has to be kept, by whoever shares or sells it."""
        return tuple(dict.fromkeys([*self.share.obligations, *self.sell.obligations]))

    def notice(self, beside: Beside) -> str:
        """The text of NOTICE, with the license texts that the parts oblige one to keep."""
        return notice(self.lock.name, self.share, texts(self.share, beside))

    def bill(self) -> dict[str, Any]:
        """The bill of materials as CycloneDX."""
        return bill(self.lock, self.share)

    def royalty(self, cents: int) -> Split:
        """Who gets what of a price."""
        return split(self.lock, cents)


def terms_of(lock: Lock, known: Known | None = None) -> Terms:
    """The terms of a lock; with `known` also whether it states licenses and fees as the priors here do.

    Raises BadLock for one that is too large to be judged at once.
    """
    _require_small(lock)
    return Terms(lock, *(judge(lock, Use(sell=sell), known) for sell in (False, True)))


def read_terms(text: bytes, known: Known | None = None) -> Terms:
    """The same from the text of a lock. Raises BadLock, whatever is wrong with it."""
    try:
        return terms_of(Lock.from_json(text.decode()), known)
    except BadLock:
        raise
    except (PriorhubError, UnicodeDecodeError, ValueError) as error:
        raise BadLock(f"the lock cannot be read: {str(error)[:300]}. Write it again with `priorhub lock`.") from error


def read_price(text: str) -> int:
    """Cents of `19.99`. Raises BadRequest."""
    found = _PRICE.match(text)
    if found is None or int(found[1]) > MAX_PRICE:
        raise BadRequest(f"{text[:40]!r} is no price up to {MAX_PRICE:,}. Write it as 19.99.")
    return int(Decimal(f"{found[1]}.{found[2] or 0}") * 100)


def _require_small(lock: Lock) -> None:
    if len(lock.nodes) <= MAX_NODES:
        found = parts(lock)
        if len(found) <= MAX_PARTS and sum(len(each.parts) for each in mixtures(lock, found)) <= MAX_MIXED:
            return
    raise BadLock(
        f"the lock has {len(lock.nodes):,} nodes, too much to judge while you wait. Pull it and run `priorhub license`."
    )
