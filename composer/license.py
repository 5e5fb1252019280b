"""What the licenses of its parts mean for a composition: allowed or not, by which edge, and what has to be kept.

    verdict = judge(lock, Use(sell=True))
    verdict.allowed        True, False, or None when a license is not known
    verdict.conflicts      each names the edge, the licenses, why, and what to do
    verdict.obligations    what has to be kept, passed on or published
    verdict.license        the SPDX expression of the whole
    notice(lock, verdict)  the text of NOTICE

A pure function of the lock. A file that is used unchanged is only handed on (aggregation); parameters that were merged,
spliced or trained are a derivative, for which the right to change them is needed and whose license has to suit every
part. Where a license offers a choice ("MIT OR GPL-2.0-only") the choice with the fewest conflicts is made. This reads
the texts of licenses (priors.licenses); it is not legal advice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, product
from typing import Literal

from composer._rules_priors import NESTED
from composer.lock import Lock
from composer.parts import Mixture, Part, mixtures, parts
from priors.licenses import TABLE, Restriction, alternatives, normalise
from priors.manifest import PriorManifest, PriorRef

Code = Literal["misstated", "noncommercial", "no-derivatives", "share-alike", "further-restrictions", "rivals"]
Keys = tuple[str, ...]
"""Licenses that hold together: all of them."""

_MAX_CHOICES = 256


@dataclass(frozen=True)
class Use:
    """What the composition is for. `share`: its files, or a service made of them, reach somebody else."""

    sell: bool = False
    share: bool = True


@dataclass(frozen=True)
class Conflict:
    """Something a license forbids. `edge` names the nodes between which it comes about."""

    code: Code
    edge: tuple[str, str]
    licenses: Keys
    why: str
    fix: str

    def __str__(self) -> str:
        return f"edge {self.edge[0]!r} -> {self.edge[1]!r}: {self.why} {self.fix}"


@dataclass(frozen=True)
class Obligation:
    """Something that has to be done, and the priors that ask for it."""

    kind: Restriction | Literal["same license", "sources", "apart"]
    text: str
    priors: tuple[str, ...]


@dataclass(frozen=True)
class Verdict:
    """`allowed` is None when nothing forbids it, but some license is not known: `unknown` names those priors."""

    use: Use
    conflicts: tuple[Conflict, ...]
    obligations: tuple[Obligation, ...]
    unknown: tuple[str, ...]
    license: str
    parts: tuple[Part, ...]

    @property
    def allowed(self) -> bool | None:
        return False if self.conflicts else None if self.unknown else True


@dataclass(frozen=True)
class Mixed:
    """Licenses of one file made of several: `under` what it may be published, or the pair that does not go together."""

    under: Keys
    code: Code | None = None
    pair: Keys = ()
    why: str = ""


def mix(keys: Iterable[str]) -> Mixed:
    """Under what one may publish parameters made of material under all of `keys`, which have to be in the table."""
    found = tuple(dict.fromkeys(keys))
    for key in found:
        if TABLE[key].fine_tune is False:
            return Mixed(
                (), "no-derivatives", (key,), f"{key} does not permit publishing what was made by changing it."
            )
    for key in found:
        others = [other for other in found if other != key]
        if "rivals" in TABLE[key].adds and others:
            return Mixed((), "rivals", (key, others[0]), f"{key} may not be used to improve other models.")
    alike = [key for key in found if TABLE[key].alike]
    if not alike:
        binding = tuple(sorted(key for key in found if TABLE[key].adds))
        return Mixed(binding or tuple(sorted(found))[:1])
    for target in dict.fromkeys([*alike, *(later for key in alike for later in TABLE[key].becomes)]):
        if all(_fits(key, target) for key in found):
            return Mixed((target,))
    return _clash(alike, found)


def mixed_license(licenses: Iterable[str]) -> tuple[str, str]:
    """The SPDX expression of parameters made of material under `licenses`, and why they may not be published, or "".

    Where a license offers a choice, that which goes together is taken. Licenses that are not known, or do not go
    together, are all named.
    """
    found = tuple(dict.fromkeys(normalise(text) or "NOASSERTION" for text in licenses))
    together = " AND ".join(f"({one})" if " " in one and len(found) > 1 else one for one in found)
    ways = [[way for way in alternatives(text) if all(key in TABLE for key in way)] for text in found]
    if not all(ways):
        return together, ""
    results = [mix(key for way in choice for key in way) for choice in islice(product(*ways), _MAX_CHOICES)]
    best = next((result for result in results if result.code is None), results[0])
    return (" AND ".join(sorted(best.under)), "") if best.code is None else (together, _capital(best.why))


def _fits(key: str, target: str) -> bool:
    """Whether material under `key` may be part of something that is under `target` as a whole."""
    if key == target or target in TABLE[key].becomes:
        return True
    return not TABLE[key].alike and TABLE[key].adds <= TABLE[target].tolerates | {"attribution"}


def _clash(alike: Sequence[str], found: Keys) -> Mixed:
    for first in alike:
        for second in found:
            if second == first or any(_fits(first, t) and _fits(second, t) for t in _targets(first, second)):
                continue
            if TABLE[second].alike:
                why = f"{first} and {second} both ask for their own license on what is made of them."
                return Mixed((), "share-alike", (first, second), why)
            more = ", ".join(sorted(TABLE[second].adds - TABLE[first].tolerates - {"attribution"}))
            why = f"{first} lets nobody add restrictions, and {second} adds some ({more})."
            return Mixed((), "further-restrictions", (first, second), why)
    why = f"no license suits {', '.join(found)} together."
    return Mixed((), "share-alike", found, why)


def _targets(*keys: str) -> tuple[str, ...]:
    return tuple(target for key in keys if TABLE[key].alike for target in (key, *TABLE[key].becomes))


def judge(
    lock: Lock, use: Use | None = None, resolve: Callable[[PriorRef], PriorManifest | None] | None = None
) -> Verdict:
    """What the licenses in `lock` say to `use`; with `resolve` also whether they are those of the priors themselves.

    A graph may state licenses and fees, and a lock keeps what held when it was written; only the priors know better.
    Where `resolve` gives None, what the lock says is taken.
    """
    use = use or Use()
    found = parts(lock)
    true = [(part, resolve(part.ref)) for part in found if resolve and part.ref]
    misstated = [conflict for part, manifest in true if manifest for conflict in _misstated(part, manifest)]
    mixed = mixtures(lock, found)
    texts = {part.license for part in found}
    ways = {text: alternatives(normalise(text)) for text in texts}
    known = {text: [way for way in ways[text] if all(key in TABLE for key in way)] for text in texts}
    unknown = sorted({part.name for part in found if not known[part.license]})
    open_texts = sorted(text for text in texts if known[text])
    choices = (dict(zip(open_texts, way, strict=True)) for way in product(*(known[text] for text in open_texts)))
    judged = [(list(_conflicts(found, mixed, choice, use)), choice) for choice in islice(choices, _MAX_CHOICES)]
    conflicts, chosen = min(judged, key=lambda pair: (len(pair[0]), _burden(pair[1])))
    unsure = [part.name for part in found if use.sell and _asks_first(chosen.get(part.license, ()))]
    return Verdict(
        use,
        (*misstated, *conflicts),
        _obligations(found, mixed, chosen),
        tuple(sorted({*unknown, *unsure})),
        _whole(found, mixed, chosen),
        found,
    )


def _misstated(part: Part, manifest: PriorManifest) -> Iterable[Conflict]:
    said, true = normalise(part.license), normalise(manifest.license.spdx)
    fix = "Write the lock again without stating it in the graph, or keep to what was agreed then."
    if said != true:
        why = f"{part.name} is under {true or 'an unknown license'}, the lock says {said or 'nothing'}."
        yield Conflict("misstated", part.edge, tuple(key for key in (said, true) if key), why, fix)
    if part.fee_bp < manifest.fee_bp:
        why = f"{part.name} asks for {manifest.fee_bp} bp, the lock says {part.fee_bp}."
        yield Conflict("misstated", part.edge, (), why, fix)
    said_inside, asked = dict(part.inside), manifest.definition.config if manifest.definition.id == NESTED else {}
    for name, bp in asked.get("fees", {}).items():
        if said_inside.get(name, 0) < bp:
            why = f"{name} inside {part.name} asks for {bp} bp, the lock says {said_inside.get(name, 0)}."
            yield Conflict("misstated", part.edge, (), why, fix)


def _burden(chosen: Mapping[str, Keys]) -> int:
    return sum(len(TABLE[key].adds) + TABLE[key].alike for way in chosen.values() for key in way)


def _asks_first(keys: Keys) -> bool:
    return any(TABLE[key].sell is None for key in keys)


def _conflicts(
    found: Sequence[Part], mixed: Sequence[Mixture], chosen: Mapping[str, Keys], use: Use
) -> Iterable[Conflict]:
    for part in found:
        for key in chosen.get(part.license, ()):
            if use.sell and TABLE[key].sell is False:
                why = f"{part.name} is under {key}, which forbids commercial use ({TABLE[key].clause})."
                yield Conflict("noncommercial", part.edge, (key,), why, "Take another prior, or do not sell it.")
    if not use.share:
        return
    for mixture in mixed:
        keys = {key: part for part in mixture.parts for key in chosen.get(part.license, ())}
        result = mix(keys)
        if result.code is None:
            continue
        part = keys[result.pair[-1]]
        yield Conflict(result.code, _meeting(part, mixture), result.pair, _capital(result.why), _FIXES[result.code])


def _meeting(part: Part, mixture: Mixture) -> tuple[str, str]:
    return part.edge if part.path == "changed" else (part.node, mixture.node)


_FIXES: Mapping[Code, str] = {
    "no-derivatives": "Keep it frozen, or train a LoRA delta, which ships beside the unchanged file.",
    "share-alike": "Combine their values with gate, sum or concat, where each stays its own file.",
    "further-restrictions": "Combine their values with gate, sum or concat, where each stays its own file.",
    "rivals": "Merge it with models under the same license only, or combine their values.",
}


def _obligations(found: Sequence[Part], mixed: Sequence[Mixture], chosen: Mapping[str, Keys]) -> tuple[Obligation, ...]:
    wanted: dict[tuple[str, str], list[str]] = {}

    def ask(kind: str, text: str, part: Part) -> None:
        wanted.setdefault((kind, text), []).append(part.name)

    for part in found:
        for key in chosen.get(part.license, ()):
            for restriction in sorted(TABLE[key].adds):
                ask(restriction, _TEXTS[restriction].format(key=key), part)
            if TABLE[key].fine_tune is False and part.path == "delta":
                ask("apart", f"Ship the delta beside the unchanged file, never folded into it ({key}).", part)
    for mixture in mixed:
        keys = [key for part in mixture.parts for key in chosen.get(part.license, ())]
        for key in mix(keys).under:
            if TABLE[key].alike:
                for part in mixture.parts:
                    ask("same license", f"Publish the changed parameters of {mixture.node!r} under {key}.", part)
                    if TABLE[key].source_open:
                        who = " and to who uses it over a network" if TABLE[key].source_open == "network" else ""
                        ask("sources", f"Offer what the parameters were made from to who gets them{who} ({key}).", part)
    return tuple(
        Obligation(kind, text, tuple(dict.fromkeys(who)))  # type: ignore[arg-type]
        for (kind, text), who in wanted.items()
    )


_TEXTS: Mapping[Restriction, str] = {
    "attribution": "Keep the notices and the text of {key}, and say what was changed.",
    "patent": "Rights under {key} end for who sues over patents in the material.",
    "noncommercial": "No commercial use ({key}).",
    "use": "Pass the list of forbidden uses of {key} on to whoever gets it, as a condition.",
    "name": "Begin the name of what was made of it with 'Llama' and show 'Built with Llama' ({key}).",
    "users": "Above 700 million monthly users ask the licensor first ({key}).",
    "rivals": "Do not use it or what it says to improve other language models ({key}).",
}


def _whole(found: Sequence[Part], mixed: Sequence[Mixture], chosen: Mapping[str, Keys]) -> str:
    """The licenses of all files together: of changed ones what they may be published under."""
    inside = {part for mixture in mixed for part in mixture.parts}
    keys: list[str] = []
    for mixture in mixed:
        keys += mix(key for part in mixture.parts for key in chosen.get(part.license, ())).under
    for part in found:
        if part not in inside:
            keys += chosen.get(part.license, (normalise(part.license) or "NOASSERTION",))
        elif part.license not in chosen:
            keys.append(normalise(part.license) or "NOASSERTION")
    return " AND ".join(f"({key})" if " " in key else key for key in dict.fromkeys(sorted(keys)))


_USED: Mapping[str, str] = {
    "unchanged": "Used unchanged.",
    "delta": "Used unchanged, with a delta beside it.",
    "changed": "Changed: its parameters were merged or trained further.",
}


def notice(name: str, verdict: Verdict, texts: Sequence[tuple[str, str]] = ()) -> str:
    """The text of NOTICE: every part with its license and what became of it, then what has to be kept.

    texts    (heading, license text or notice) (composer.license_texts), appended whole
    """
    lines = [name, "", "Made of the following parts.", ""]
    for name, id, license, path in dict.fromkeys((p.name, p.id, p.license, p.path) for p in verdict.parts):
        lines += [name, f"  {id}", f"  License: {normalise(license) or 'not stated'}", f"  {_USED[path]}", ""]
    if verdict.obligations:
        lines += ["What has to be kept:", ""]
        lines += [f"- {o.text} [{', '.join(o.priors)}]" for o in verdict.obligations]
        lines.append("")
    for heading, text in texts:
        lines += ["-" * 72, heading, "", text.strip(), ""]
    return "\n".join(lines)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
