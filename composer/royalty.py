"""Who gets what of the price of a composition: a pure function of its lock, the same for buyer, seller and auditor.

Each prior states its fee in basis points (1 bp is one hundredth of a percent of the price). A prior that stands in
several places is paid once, also where one of them is inside a composition that is a part: what counts is its content.
Together they get at most a cap; above it all are scaled alike.
Cents are dealt out by the largest remainder, so that the shares add up to the price to the cent.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from composer.errors import BadGraph
from composer.lock import Lock
from composer.parts import Part, parts
from priors.manifest import PriorRef

CAP_BP = 5_000
"""Half of the price, unless the composition declares another cap."""

_ALL_BP = 10_000


@dataclass(frozen=True)
class Share:
    """What one prior gets. `due_bp` is its fee after the cap, exact."""

    ref: str
    fee_bp: int
    due_bp: Fraction
    cents: int


@dataclass(frozen=True)
class Split:
    """A price dealt out: `own` goes to whoever sells the composition. `own + sum(cents) == price`."""

    price: int
    own: int
    shares: tuple[Share, ...]

    @property
    def capped(self) -> bool:
        """Whether the cap made fees smaller."""
        return any(share.due_bp != share.fee_bp for share in self.shares)


def split(lock: Lock, price: int, cap_bp: int = CAP_BP) -> Split:
    """Deals out a price in cents. Raises BadGraph for a price or cap that cannot be."""
    return split_fees(fees(parts(lock)), price, cap_bp)


def fees(found: Iterable[Part]) -> dict[str, int]:
    """Prior -> basis points; the same content once, whatever it is called, at the highest fee that it states.

    Of a composition its priors are paid; itself only what it states beyond their sum.
    """
    by_content: dict[str, tuple[int, str]] = {}
    for part in found:
        own = part.fee_bp - sum(bp for _, bp in part.inside)
        asked = [*part.inside, (part.id, own)] if own > 0 or not part.inside else part.inside
        for name, bp in asked:
            content = _content(name)
            by_content[content] = max((bp, name), by_content.get(content, (bp, name)))
    return {ref: bp for bp, ref in sorted(by_content.values(), key=lambda found: found[1])}


def _content(name: str) -> str:
    """The hash of what a part's id names, where it has one; else the id."""
    if name.startswith("fn:"):
        return name
    return PriorRef.parse(name).sha256 or name


def split_fees(by_prior: dict[str, int], price: int, cap_bp: int = CAP_BP) -> Split:
    """Deals out a price in cents among priors with their fees in basis points."""
    if price < 0 or not 0 <= cap_bp <= _ALL_BP:
        raise BadGraph(f"a price of {price} cents with a cap of {cap_bp} bp cannot be. Give 0 or more, and 0 to 10000.")
    total = sum(by_prior.values())
    scale = Fraction(cap_bp, total) if total > cap_bp else Fraction(1)
    due = {ref: bp * scale for ref, bp in by_prior.items()}
    exact = [price * bp / _ALL_BP for bp in due.values()]
    exact.append(price - sum(exact, Fraction(0)))  # the seller's own
    cents = _largest_remainder(exact, price)
    shares = [Share(ref, by_prior[ref], bp, given) for (ref, bp), given in zip(due.items(), cents, strict=False)]
    return Split(price, cents[-1], tuple(shares))


def _largest_remainder(exact: list[Fraction], total: int) -> list[int]:
    """Whole numbers that add up to `total`, each its exact number rounded down or up; ties go to who comes first."""
    whole = [number.numerator // number.denominator for number in exact]
    left = total - sum(whole)
    order = sorted(range(len(exact)), key=lambda i: (whole[i] - exact[i], i))
    for i in order[:left]:
        whole[i] += 1
    return whole
