"""Units of measure: a factor to SI and a dimension over its seven base units. A closed table, no library.

    parse_unit("km/h")          Unit(factor=0.2777…, dimension=m s^-1)

    unit := factor (("*" | "/") factor)*        factor := name ["^" whole number] | "1"

The table is the SI brochure's (9th edition, 2019: base and derived units, units accepted for use with the SI, its
prefixes) and a few that data are full of. A library such as pint reads the same, but takes longer to import than a
graph to check, and its parser takes far more than units.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from difflib import get_close_matches
from fractions import Fraction
from functools import lru_cache

BASE = ("m", "kg", "s", "A", "K", "mol", "cd")
MAX_POWER = 12
"""Exponents in a unit; quantities of physics use at most 6."""

Dimension = tuple[Fraction, ...]
NONE: Dimension = (Fraction(0),) * len(BASE)


@dataclass(frozen=True)
class Unit:
    """`factor` SI units of `dimension`; `text` is how it is written."""

    factor: float
    dimension: Dimension
    text: str


def _dim(**powers: int) -> Dimension:
    return tuple(Fraction(powers.get(name, 0)) for name in BASE)


_FORCE = _dim(kg=1, m=1, s=-2)
_ENERGY = _dim(kg=1, m=2, s=-2)
_VOLT = _dim(kg=1, m=2, s=-3, A=-1)

_PREFIXED: dict[str, tuple[float, Dimension]] = {
    "m": (1.0, _dim(m=1)),
    "g": (1e-3, _dim(kg=1)),
    "s": (1.0, _dim(s=1)),
    "A": (1.0, _dim(A=1)),
    "K": (1.0, _dim(K=1)),
    "mol": (1.0, _dim(mol=1)),
    "cd": (1.0, _dim(cd=1)),
    "rad": (1.0, NONE),
    "sr": (1.0, NONE),
    "Hz": (1.0, _dim(s=-1)),
    "N": (1.0, _FORCE),
    "Pa": (1.0, _dim(kg=1, m=-1, s=-2)),
    "J": (1.0, _ENERGY),
    "W": (1.0, _dim(kg=1, m=2, s=-3)),
    "C": (1.0, _dim(A=1, s=1)),
    "V": (1.0, _VOLT),
    "F": (1.0, _dim(A=2, s=4, kg=-1, m=-2)),
    "ohm": (1.0, _dim(kg=1, m=2, s=-3, A=-2)),
    "S": (1.0, _dim(kg=-1, m=-2, s=3, A=2)),
    "Wb": (1.0, _dim(kg=1, m=2, s=-2, A=-1)),
    "T": (1.0, _dim(kg=1, s=-2, A=-1)),
    "H": (1.0, _dim(kg=1, m=2, s=-2, A=-2)),
    "lm": (1.0, _dim(cd=1)),
    "lx": (1.0, _dim(cd=1, m=-2)),
    "Bq": (1.0, _dim(s=-1)),
    "Gy": (1.0, _dim(m=2, s=-2)),
    "Sv": (1.0, _dim(m=2, s=-2)),
    "kat": (1.0, _dim(mol=1, s=-1)),
    "L": (1e-3, _dim(m=3)),
    "l": (1e-3, _dim(m=3)),
    "bar": (1e5, _dim(kg=1, m=-1, s=-2)),
    "eV": (1.602176634e-19, _ENERGY),
    "Wh": (3600.0, _ENERGY),
    "t": (1e3, _dim(kg=1)),
}

_PLAIN: dict[str, tuple[float, Dimension]] = {
    "1": (1.0, NONE),
    "deg": (math.pi / 180, NONE),
    "arcmin": (math.pi / 10_800, NONE),
    "arcsec": (math.pi / 648_000, NONE),
    "turn": (2 * math.pi, NONE),
    "percent": (1e-2, NONE),
    "ppm": (1e-6, NONE),
    "min": (60.0, _dim(s=1)),
    "h": (3600.0, _dim(s=1)),
    "d": (86_400.0, _dim(s=1)),
    "yr": (31_557_600.0, _dim(s=1)),
    "ha": (1e4, _dim(m=2)),
    "au": (149_597_870_700.0, _dim(m=1)),
    "Da": (1.66053906892e-27, _dim(kg=1)),
    "atm": (101_325.0, _dim(kg=1, m=-1, s=-2)),
    "mmHg": (133.322387415, _dim(kg=1, m=-1, s=-2)),
    "cal": (4.184, _ENERGY),
    "kcal": (4184.0, _ENERGY),
    "inch": (0.0254, _dim(m=1)),
    "ft": (0.3048, _dim(m=1)),
    "mi": (1609.344, _dim(m=1)),
    "lb": (0.45359237, _dim(kg=1)),
    "rpm": (2 * math.pi / 60, _dim(s=-1)),
}

_PREFIXES = {
    "q": -30, "r": -27, "y": -24, "z": -21, "a": -18, "f": -15, "p": -12, "n": -9, "u": -6, "µ": -6, "μ": -6, "m": -3,
    "c": -2, "d": -1, "da": 1, "h": 2, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18, "Z": 21, "Y": 24, "R": 27,
    "Q": 30,
}  # fmt: skip

_ALIASES = {"Ω": "ohm", "°": "deg", "%": "percent", "degree": "deg", "radian": "rad", "kph": "km/h", "mph": "mi/h"}
_OFFSET = {"degC", "degF", "celsius", "fahrenheit", "°C", "°F"}

_FACTOR = re.compile(r"([^\s*/^\d][^\s*/^]*|1)(?:\^(-?\d{1,3}))?")


class BadUnit(ValueError):
    """A text that is no unit: the cause, then what to do."""


@lru_cache(maxsize=1_024)
def parse_unit(text: str) -> Unit:
    """The unit that `text` writes. Raises BadUnit with near names."""
    if len(text) > 50:
        raise BadUnit(f"unit {text[:20]!r}… has {len(text)} characters, the limit is 50. Shorten it.")
    factor, powers, at, sign = 1.0, list(NONE), 0, 1
    while True:
        match = _FACTOR.match(text, at)
        if match is None:
            raise BadUnit(f"{text!r} is no unit: a name is missing at character {at + 1}. Write one such as kg*m/s^2.")
        name, power = match[1], sign * int(match[2] or 1)
        size, dimension = _named(name, text)
        if abs(power) > MAX_POWER or abs(math.log10(size) * power) > 200:
            raise BadUnit(f"unit {text!r}: the power {power} of {name} is beyond any quantity. Correct it.")
        factor *= size**power
        powers = [have + power * more for have, more in zip(powers, dimension, strict=True)]
        at = match.end()
        if at == len(text):
            if any(abs(power) > MAX_POWER for power in powers) or not 1e-200 < factor < 1e200:
                raise BadUnit(f"unit {text!r} is beyond any quantity of physics. Correct its powers.")
            return Unit(factor, tuple(powers), text)
        if text[at] not in "*/":
            raise BadUnit(f"{text!r} is no unit: {text[at]!r} at character {at + 1}. Write * / and ^ between names.")
        sign, at = 1 if text[at] == "*" else -1, at + 1


def show(dimension: Dimension) -> str:
    """A dimension in base units, such as kg*m*s^-2; 1 for none."""
    parts = [
        name if power == 1 else f"{name}^{power}" for name, power in zip(BASE, dimension, strict=True) if power != 0
    ]
    return "*".join(parts) or "1"


def _named(name: str, text: str) -> tuple[float, Dimension]:
    if name in _OFFSET:
        raise BadUnit(f"unit {text!r}: {name} has no common zero with K. Convert the column to K first.")
    if name in _ALIASES:
        unit = parse_unit(_ALIASES[name])
        return unit.factor, unit.dimension
    if name in _PLAIN:
        return _PLAIN[name]
    if name in _PREFIXED:
        return _PREFIXED[name]
    for length in (1, 2):
        prefix, rest = name[:length], name[length:]
        if prefix in _PREFIXES and rest in _PREFIXED:
            size, dimension = _PREFIXED[rest]
            return size * 10.0 ** _PREFIXES[prefix], dimension
    near = get_close_matches(name, [*_PREFIXED, *_PLAIN, "kg", "km", "mm", "ms"], n=3, cutoff=0.4)
    hint = f"Nearest: {', '.join(near)}." if near else "Write SI units with their prefixes, such as km or mV."
    raise BadUnit(f"unit {text!r}: {name[:20]!r} is not known. {hint}")
