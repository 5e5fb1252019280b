"""What two locks differ in by their terms: licenses of parts, what they forbid and ask for, and who gets what."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from composer.license import Conflict, Obligation
from composer.royalty import Split
from hub.compose.terms import Terms

PRICE = 100_00
"""In cents: what is dealt out to show how shares differ."""

Of = TypeVar("Of")


@dataclass(frozen=True)
class Row:
    """One part or share on both sides; "" where that side has none."""

    name: str
    before: str
    after: str


@dataclass(frozen=True)
class TermsChange:
    """`allowed`: (use, before, after). Of `parts` and `shares` only rows that differ."""

    license: tuple[str, str]
    allowed: tuple[tuple[str, bool | None, bool | None], ...]
    conflicts_new: tuple[Conflict, ...]
    conflicts_gone: tuple[Conflict, ...]
    obligations_new: tuple[Obligation, ...]
    obligations_gone: tuple[Obligation, ...]
    parts: tuple[Row, ...]
    shares: tuple[Row, ...]

    @property
    def nothing(self) -> bool:
        """Whether both sides have the same terms."""
        said = (self.conflicts_new, self.conflicts_gone, self.obligations_new, self.obligations_gone)
        verdicts = [(before, after) for _, before, after in self.allowed]
        return not any([*said, self.parts, self.shares]) and all(a == b for a, b in [self.license, *verdicts])


def terms_change(before: Terms, after: Terms) -> TermsChange:
    """What differs."""
    return TermsChange(
        (before.license, after.license),
        (
            ("Sharing", before.share.allowed, after.share.allowed),
            ("Selling", before.sell.allowed, after.sell.allowed),
        ),
        _only(after.conflicts, before.conflicts),
        _only(before.conflicts, after.conflicts),
        _only(after.obligations, before.obligations),
        _only(before.obligations, after.obligations),
        _rows(_parts(before), _parts(after)),
        _rows(_shares(before.royalty(PRICE)), _shares(after.royalty(PRICE))),
    )


def _only(here: Sequence[Of], there: Sequence[Of]) -> tuple[Of, ...]:
    return tuple(one for one in here if one not in there)


def _parts(terms: Terms) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    for part in terms.share.parts:
        found.setdefault(part.name, []).append(f"{part.license or 'not stated'}, {_USED[part.path]}")
    return {name: "; ".join(dict.fromkeys(said)) for name, said in found.items()}


_USED = {"unchanged": "unchanged", "delta": "with a delta beside it", "changed": "changed"}


def _shares(split: Split) -> dict[str, str]:
    found: dict[str, int] = {}
    for share in split.shares:
        name = share.ref.removeprefix("prior://").partition("@")[0]
        found[name] = found.get(name, 0) + share.cents
    found["whoever sells it"] = split.own
    return {name: f"{cents // 100}.{cents % 100:02}" for name, cents in found.items()}


def _rows(before: dict[str, str], after: dict[str, str]) -> tuple[Row, ...]:
    names: Iterable[str] = dict.fromkeys([*before, *after])
    rows = (Row(name, before.get(name, ""), after.get(name, "")) for name in names)
    return tuple(row for row in rows if row.before != row.after)
