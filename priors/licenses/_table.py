"""What licenses permit and ask for, read from their texts; each row names the clause. Whatever has no row is unknown.

Not legal advice: a filter and a warning system. `composer.license` folds these rows over a composition.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Restriction = Literal["attribution", "patent", "noncommercial", "use", "name", "users", "rivals"]
"""What a license adds to what is made of the material, and everybody after that has to keep.

attribution    keep notices and the license's text         patent   rights end for who sues over patents
noncommercial  no commercial use                           use      a list of forbidden uses is passed on
name           the product carries the maker's name        users    not above a number of users without asking
rivals         not to improve other models
"""


@dataclass(frozen=True)
class Terms:
    """One license. None is unknown, which is neither yes nor no.

    sell        may one sell the material or use it to earn money
    fine_tune   may one publish what was made by changing it
    adds        what everybody downstream has to keep
    alike       what was made by changing it must be under the same license
    tolerates   with `alike`: what other parts of the whole may add to it
    becomes     with `alike`: licenses that what was made may also be under
    source_open with `alike`: the sources have to be offered ("copies"), over a network too ("network")
    clause      where the text says so
    """

    sell: bool | None
    fine_tune: bool | None
    clause: str
    adds: frozenset[Restriction] = frozenset()
    alike: bool = False
    tolerates: frozenset[Restriction] = frozenset()
    becomes: tuple[str, ...] = ()
    source_open: Literal["", "copies", "network"] = ""


_NOTHING: frozenset[Restriction] = frozenset()
_NOTICE: frozenset[Restriction] = frozenset({"attribution"})
_PATENT: frozenset[Restriction] = frozenset({"attribution", "patent"})
_NC: frozenset[Restriction] = frozenset({"attribution", "noncommercial"})
_RAIL: frozenset[Restriction] = frozenset({"attribution", "patent", "use"})
_LLAMA: frozenset[Restriction] = frozenset({"attribution", "patent", "use", "name", "users"})

_GRANTS = "grants use, modification and distribution, sale included"


def _free(clause: str = _GRANTS, adds: frozenset[Restriction] = _NOTICE) -> Terms:
    return Terms(True, True, clause, adds)


def _alike(
    clause: str,
    *becomes: str,
    tolerates: frozenset[Restriction] = _PATENT,
    adds: frozenset[Restriction] = _NOTICE,
    source_open: Literal["", "copies", "network"] = "",
    sell: bool | None = True,
) -> Terms:
    return Terms(sell, True, clause, adds, True, tolerates, becomes, source_open)


def _gpl(clause: str, *becomes: str, two: bool = False, network: bool = False) -> Terms:
    """GPL-2.0 alone tolerates no patent clause: its section 6 forbids further restrictions, Apache-2.0's among them."""
    return _alike(
        clause, *becomes, tolerates=_NOTICE if two else _PATENT, source_open="network" if network else "copies"
    )


_THREE = ("GPL-3.0-only", "GPL-3.0-or-later", "AGPL-3.0-only", "AGPL-3.0-or-later")
_TWO = ("GPL-2.0-only", "GPL-2.0-or-later")

TABLE: Mapping[str, Terms] = {
    "0BSD": _free(adds=_NOTHING),
    "AFL-3.0": _free("section 1(a) to (c); section 6: notices; section 10: patents", _PATENT),
    "AGPL-3.0-only": _gpl("sections 4 and 5: any price; 13: sources to users over a network", network=True),
    "AGPL-3.0-or-later": _gpl("as AGPL-3.0-only", "AGPL-3.0-only", network=True),
    "Apache-2.0": _free("section 2: reproduce, prepare derivative works, distribute; 3: patents; 4: notices", _PATENT),
    "Artistic-2.0": _free("sections 1 to 4: a reasonable fee; modified versions with conditions; 13: patents", _PATENT),
    "BSD-2-Clause": _free(),
    "BSD-3-Clause": _free(),
    "BSD-3-Clause-Clear": _free(),
    "BSL-1.0": _free(),
    "CC-BY-2.0": _free("section 3: reproduce, derivative works, commercial use not reserved; 4(b): credit"),
    "CC-BY-2.5": _free("as CC-BY-2.0"),
    "CC-BY-3.0": _free("section 3; 4(b): credit"),
    "CC-BY-4.0": _free("section 2(a)(1); 3(a): credit and changes"),
    "CC-BY-NC-2.0": Terms(False, True, "section 4(b): no commercial advantage", _NC),
    "CC-BY-NC-3.0": Terms(False, True, "section 4(b): no commercial advantage", _NC),
    "CC-BY-NC-4.0": Terms(False, True, "section 2(a)(1): NonCommercial purposes only", _NC),
    "CC-BY-NC-ND-3.0": Terms(False, False, "sections 3 and 4(b): verbatim, no commercial advantage", _NC),
    "CC-BY-NC-ND-4.0": Terms(False, False, "section 2(a)(1): adapted material may not be shared", _NC),
    "CC-BY-NC-SA-2.0": _alike(
        "section 4(b) and (c)", "CC-BY-NC-SA-3.0", "CC-BY-NC-SA-4.0", sell=False, adds=_NC, tolerates=_NC | _PATENT
    ),
    "CC-BY-NC-SA-3.0": _alike(
        "section 4(b) and (c)", "CC-BY-NC-SA-4.0", sell=False, adds=_NC, tolerates=_NC | _PATENT
    ),
    "CC-BY-NC-SA-4.0": _alike("sections 2(a)(1) and 3(b)", sell=False, adds=_NC, tolerates=_NC | _PATENT),
    "CC-BY-ND-4.0": Terms(True, False, "section 2(a)(1): adapted material may not be shared", _NOTICE),
    "CC-BY-SA-3.0": _alike("section 4(b): the same license or a later one", "CC-BY-SA-4.0"),
    "CC-BY-SA-4.0": _alike("section 3(b); compatible licenses: GPL-3.0 one way", *_THREE),
    "CC0-1.0": _free("section 2: waiver of all rights", _NOTHING),
    "CDLA-Permissive-1.0": _free("section 2.1; 3.1: notices"),
    "CDLA-Permissive-2.0": _free("section 2"),
    "CDLA-Sharing-1.0": _alike("sections 2.1 and 3.1: the same agreement"),
    "ECL-2.0": _free("section 2, as Apache-2.0", _PATENT),
    "EPL-1.0": _alike("sections 2 and 3: the program's own parts", tolerates=_PATENT, source_open="copies"),
    "EPL-2.0": _alike("sections 2 and 3", tolerates=_PATENT, source_open="copies"),
    "EUPL-1.1": _alike("article 5 and its appendix", *_TWO, "EUPL-1.2", source_open="network"),
    "EUPL-1.2": _alike("article 5 and its appendix", *_TWO, *_THREE, source_open="network"),
    "GPL-2.0-only": _gpl("sections 1 and 2: a fee for copies; changed versions under the same license", two=True),
    "GPL-2.0-or-later": _gpl("as GPL-2.0-only, or a later version", "GPL-2.0-only", *_THREE, two=True),
    "GPL-3.0-only": _gpl("sections 4 and 5: any price; 13: may be combined into AGPL-3.0", "AGPL-3.0-only"),
    "GPL-3.0-or-later": _gpl("as GPL-3.0-only", "GPL-3.0-only", "AGPL-3.0-only", "AGPL-3.0-or-later"),
    "ISC": _free(),
    "LGPL-2.1-only": _gpl("sections 1 and 2; 3: may become GPL", *_TWO, *_THREE, two=True),
    "LGPL-2.1-or-later": _gpl(
        "as LGPL-2.1-only, or a later version", "LGPL-2.1-only", "LGPL-3.0-only", *_TWO, *_THREE, two=True
    ),
    "LGPL-3.0-only": _gpl("as GPL-3.0-only, with section 4; 2(b): may become GPL-3.0", *_THREE),
    "LGPL-3.0-or-later": _gpl("as LGPL-3.0-only", "LGPL-3.0-only", *_THREE),
    "LPPL-1.3c": _free("clauses 2 and 6"),
    "MIT": _free(),
    "MIT-0": _free(adds=_NOTHING),
    "MPL-2.0": _alike("section 2.1; 3.3: secondary licenses", *_TWO, *_THREE, "LGPL-2.1-or-later",
                      "LGPL-3.0-or-later", adds=_PATENT, source_open="copies"),
    "MS-PL": _alike("section 2(A); 3(D): sources under this license only", adds=_PATENT),
    "NCSA": _free(),
    "ODbL-1.0": _alike("section 3.1: commercial use is not excluded; 4.4: derivatives under the same"),
    "ODC-By-1.0": _free("section 3.1; 4.2: notices"),
    "OFL-1.1": _alike("conditions 1 and 5: not sold by itself, bundled sale allowed; the same license", sell=None),
    "OSL-3.0": _alike("section 1(c): the same license; 5: use over a network", adds=_PATENT, source_open="network"),
    "PDDL-1.0": _free("section 3: dedication to the public domain", _NOTHING),
    "PostgreSQL": _free(),
    "Unlicense": _free("sell for any purpose, commercial or not", _NOTHING),
    "WTFPL": _free("clause 0", _NOTHING),
    "Zlib": _free("any purpose, commercial applications included"),
    "LicenseRef-openrail": _free("BigScience OpenRAIL-M sections II.2, II.3 and III.4, with use limits", _RAIL),
    "LicenseRef-openrail-m": _free("BigScience OpenRAIL-M sections II.2, II.3 and III.4, with use limits", _RAIL),
    "LicenseRef-creativeml-openrail-m": _free("sections 2 to 4 and paragraph 5, with use limits", _RAIL),
    "LicenseRef-bigscience-openrail-m": _free("sections II.2 and III.4, with use limits", _RAIL),
    "LicenseRef-bigscience-bloom-rail-1.0": _free("sections 2 and 4, with use limits", _RAIL),
    "LicenseRef-bigcode-openrail-m": _free("sections 2 and 4, with use limits", _RAIL),
    "LicenseRef-llama2": Terms(
        None, True, "sections 1.a, 1.b.v and 2: 700 million users; not for other models", _LLAMA - {"name"} | {"rivals"}
    ),
    "LicenseRef-llama3": Terms(
        None, True, "sections 1.a, 1.b and 2: 700 million users; not for other models", _LLAMA | {"rivals"}
    ),
    "LicenseRef-llama3.1": Terms(None, True, "sections 1.a, 1.b.i and 2: 700 million users; the name", _LLAMA),
    "LicenseRef-llama3.2": Terms(None, True, "sections 1.a, 1.b.i and 2, as Llama 3.1", _LLAMA),
    "LicenseRef-llama3.3": Terms(None, True, "sections 1.a, 1.b.i and 2, as Llama 3.1", _LLAMA),
    "LicenseRef-gemma": _free("Gemma Terms sections 2.1 and 3.1, with use limits", _RAIL),
}  # fmt: skip
