"""Which layer of a network stands for it in sets.

A manifest says which taps are averaged, or which one is read where nothing else is said. For rows unlike those that a
network was trained on that may be a bad choice: on drawn shapes a middle stage of an image network is up to 17 points
above the recommended set with its last one, at 16 labels a class. Where the rows say so clearly, the better tap takes
its place. Always taking the better tap, clear or not of the set, gained 2 points on shapes and lost 0.8 on digits. And
where one block is clearly better than the set that was found in the end, it is better than any.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from composer.assemble import Offer, Unit
from composer.choices import Candidate
from composer.rank.probe import Probe

SURE = 2.0
"""Standard errors (paired) by which a tap's leave-one-out loss must be lower: the best of ten looks better than it
is."""


def other_taps(offered: Offer) -> dict[str, list[Candidate]]:
    """Unit -> every tap of its network on the same column, for networks of which sets take one tap alone."""
    found = {}
    for unit in offered.units:
        first = unit.candidates[0]
        if not unit.is_taps and offered.manifests[first].kind == "network":
            taps = [c for c in offered.candidates if (c.ref, c.column) == (first.ref, first.column)]
            if len(taps) > 1:
                found[unit.name] = taps
    return found


def at_clear_taps(offered: Offer, probes: Mapping[Candidate, Probe], chosen: Probe) -> Offer | None:
    """The offer with such networks at the tap that is clearly better on the labelled rows, if one is better than the
    set that was `chosen` without them; None where none is.

    Averaged taps stay: their mean does not have to be told from a few rows. `probes` are of what `other_taps` names, or
    of those of them that were read.
    """
    units = {unit.name: unit for unit in offered.units}
    wanted = False
    for name, taps in other_taps(offered).items():
        best = min((tap for tap in taps if tap in probes), key=lambda one: probes[one].loss)
        if _clear(probes[best], probes[units[name].candidates[0]]):
            units[name] = replace(units[name], candidates=(best,))
            wanted = wanted or _clear(probes[best], chosen)
    return replace(offered, units=tuple(units.values())) if wanted else None


def alone(offered: Offer, probes: Mapping[Candidate, Probe], chosen: Probe) -> Unit | None:
    """The unit of the best single block at that block alone, if the block is clearly better than the set
    that was `chosen`, and right no less often; None where it is not.

    On the 640 draws of the starter history a block was better by two standard errors 5 times, and scored 5.7 points
    more than the set on the rows that were not drawn; of 33 that were better by 1.5 to 2 standard errors 15 scored
    more. Three are asked, as the best of all blocks is compared: with two, a draw of text messages lost by it.
    """
    best = min(probes, key=lambda one: probes[one].loss)
    if not _clear(probes[best], chosen, by=3.0) or float((probes[best].hits - chosen.hits).mean()) < 0:
        return None
    of = [one for one in offered.units if (one.candidates[0].ref, one.candidates[0].column) == (best.ref, best.column)]
    return replace(of[0], candidates=(best,))


def _clear(better: Probe, other: Probe, by: float = SURE) -> bool:
    gap = other.losses - better.losses
    return better.targets.mean_of(gap) > by * better.targets.standard_error(gap)
