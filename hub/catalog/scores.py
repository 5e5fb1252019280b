"""The verified score of a prior: the most it gained by itself over no prior, in a benchmark that this hub ran."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from hub.catalog import services
from hub.catalog.models import Item
from priors.errors import BadManifest
from priors.manifest import PriorRef

_ALONE = frozenset({"single", "taps", "adapted"})


def measured(report: Mapping[str, Any]) -> None:
    """Raises the score of each prior that a benchmark's report measured alone, as far as it is better than before."""
    for (full_name, identity), gain in gains(report).items():
        namespace, _, name = full_name.partition("/")
        named = Item.objects.filter(repository__namespace__name=namespace, repository__name=name, identity=identity)
        for item in named.only("pk", "score"):
            if item.score is None or gain > item.score:
                services.recount({item.pk: {"score": gain}})


def gains(report: Mapping[str, Any]) -> dict[tuple[str, str], float]:
    """(namespace/name, identity) -> points over the best row without a prior; nothing without such a row."""
    rows = [row for row in report.get("rows") or [] if isinstance(row, Mapping) and _known(row.get("accuracy"))]
    without = [float(row["accuracy"]) for row in rows if row.get("kind") == "none"]
    found: dict[tuple[str, str], float] = {}
    for row in rows if without else []:
        refs = row.get("priors") or []
        if row.get("kind") not in _ALONE or len(refs) != 1:
            continue
        try:
            ref = PriorRef.parse(str(refs[0]))
        except BadManifest:
            continue
        gain = round((float(row["accuracy"]) - max(without)) * 100, 3)
        if ref.identity:
            key = (ref.repo, ref.identity)
            found[key] = max(gain, found.get(key, -math.inf))
    return found


def _known(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
