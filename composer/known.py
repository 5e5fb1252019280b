"""What other tasks say of functions that read the same columns, before a row of this one is seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from composer.assemble import Offer, Unit

KNOWN: Mapping[str, float] = {"fourier_features": 2.0, "quantile": 1.0, "rocket": 2.0}
"""Function -> how much more probable than others that read the same column, as a logarithm. Of the first 0 to 4 were
tried on 33 tables that are in no published one, of the second 0, 1 and 1.5 (docs/fitted-sets.md). Rocket beside series
statistics is what published comparisons on over a hundred sets of series agree on (Middlehurst et al. 2024, "Bake off
redux")."""


def known_of(units: Sequence[Unit], offered: Offer) -> dict[str, float]:
    """What other tasks say of units, 0 for the best of those that read the same column: columns are not compared."""
    functions = {unit.name: offered.manifests[unit.candidates[0]].function for unit in units}
    found = {name: KNOWN.get(function.id, 0.0) if function else 0.0 for name, function in functions.items()}
    column = {unit.name: unit.candidates[0].column for unit in units}
    best = {at: max(found[name] for name in column if column[name] == at) for at in column.values()}
    return {name: known - best[column[name]] for name, known in found.items()}


def followers(offered: Offer) -> list[str]:
    """Functions of a text that a pretrained network reads too: they join sets and start none. Words and characters that
    start one beside a network lose 0.2 points on 11 text tasks of the starter history, 0.7 on movie and 0.1 on sms."""
    read = {unit.candidates[0].column for unit in offered.units if unit.trusted}
    return [
        unit.name
        for unit in offered.units
        if not unit.trusted
        and unit.candidates[0].column in read
        and offered.manifests[unit.candidates[0]].modality == "text"
    ]
