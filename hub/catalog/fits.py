"""What can be strung together with what: by port types alone, with the adapters that the composer puts in between."""

from __future__ import annotations

from functools import lru_cache

from composer.adapters import MAX_STEPS, Edge, next_repair
from composer.errors import PortMismatch
from hub.catalog.columns import Columns, Mask
from hub.catalog.query import Partner
from priors.errors import BadType
from priors.types import PortType, parse


def fitting(columns: Columns, partner: Partner) -> dict[str, Mask]:
    """Who fits it, by how.

    after   reads something the partner gives        before  gives something the partner reads
    beside  reads the same raw values, so that both can stand in one set
    """
    ins, outs = columns.by_key("in"), columns.by_key("out")
    after = [f"in:{port}" for port in ins if any(connects(given, port) for given in partner.gives)]
    before = [f"out:{port}" for port in outs if connects(port, partner.takes)]
    modality = partner.takes.partition(".")[0]
    return {
        "after": columns.having(after),
        "before": columns.having(before),
        "beside": columns.having([f"modality:{modality}"] if modality else []),
    }


@lru_cache(maxsize=1 << 16)
def connects(gives: str, takes: str) -> bool:
    """Whether a value of the first type can be fed where the second is wanted, after adapters that lose no meaning."""
    try:
        edge = Edge("giver", "taker", _parsed(gives), _parsed(takes))
        for _ in range(MAX_STEPS):
            repair = next_repair(edge)
            if repair is None:
                return True
            edge = Edge("giver", "taker", repair.gives, edge.wants)
    except (PortMismatch, BadType):
        return False
    return False


@lru_cache(maxsize=1 << 12)
def _parsed(text: str) -> PortType:
    return parse(text)
