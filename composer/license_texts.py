"""License texts and notices for NOTICE: those that lie beside a prior's files, else the published text of its license.

    verdict = judge(lock)
    notice(lock.name, verdict, texts(verdict, from_library(library)))

Only for parts whose license asks for something to be kept. A prior's own file comes first: it has the names of its
authors. Texts of licenses that are published word by word for everybody to use are part of this program where it ships
material under them; of every other license NOTICE says where its text stands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from composer.license import Verdict
from composer.parts import Part
from priors.errors import PriorhubError
from priors.licenses import alternatives, normalise

if TYPE_CHECKING:
    from priors.library import Library
    from priors.manifest import PriorRef

Beside = Callable[["PriorRef"], Sequence[bytes]]
"""The license and notice files of a prior, whole; none when it has none or is not to be had."""

NAMES = ("LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE", "COPYING", "NOTICE", "NOTICE.txt", "NOTICE.md")
MAX_FILE = 256 * 1024
"""Longer ones are left out: no license is that long, and a NOTICE has to be read."""
MAX_ALL = 4 << 20

_NAMED = "https://spdx.org/licenses/{}.html"


def texts(verdict: Verdict, beside: Beside) -> list[tuple[str, str]]:
    """(heading, text) for every part that obliges its user to keep something; equal texts stand once."""
    asked = {name for obligation in verdict.obligations for name in obligation.priors}
    owners: dict[str, list[str]] = {}
    room = MAX_ALL
    for part in dict.fromkeys(verdict.parts):
        if part.name not in asked:
            continue
        for text in _own(part, beside) or _published(part):
            if text not in owners:
                if len(text) > room:
                    continue
                room -= len(text)
            names = owners.setdefault(text, [])
            if part.name not in names:
                names.append(part.name)
    return [(f"For {', '.join(names)}", text) for text, names in owners.items()]


def _own(part: Part, beside: Beside) -> list[str]:
    if part.ref is None:
        return []
    found = (data.decode("utf-8", "replace").strip() for data in beside(part.ref) if len(data) <= MAX_FILE)
    return [text for text in found if text]


def _published(part: Part) -> list[str]:
    """The texts of one way to use it; where a text is not part of this program, where it stands."""
    ways = alternatives(normalise(part.license))
    keys = next(iter(ways), ())
    return [_text(key) or f"The text of {key} did not come with the files: {_where(key)}." for key in keys]


def _where(key: str) -> str:
    return "ask whoever made them" if key.startswith("LicenseRef-") else _NAMED.format(key)


def _text(key: str) -> str:
    at = files("priors.sources") / "licenses" / f"{key}.txt"
    return at.read_text(encoding="utf-8").strip() if at.is_file() else ""


def from_library(library: Library) -> Beside:
    """What lies in the folders of a library's priors; a prior that cannot be had has none."""

    def beside(ref: PriorRef) -> list[bytes]:
        try:
            return read(library.directory(ref))
        except PriorhubError:
            pass
        try:
            found: Path = library.composition(ref)  # type: ignore[attr-defined]
        except (AttributeError, PriorhubError):
            return []
        return read(found)

    return beside


def read(folder: Path) -> list[bytes]:
    """The license and notice files of a folder."""
    found = []
    for name in NAMES:
        path = folder / name
        if path.is_file() and path.stat().st_size <= MAX_FILE:
            found.append(path.read_bytes())
    return found
