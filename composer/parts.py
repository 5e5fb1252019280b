"""The priors a lock is made of, and what happens to each on its way: kept as it is, given a delta, or changed.

A weight that is merged, spliced, given another vocabulary or trained becomes something new, which licenses call a
derivative work. A network or function that only gives values stays the file it was, beside others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from composer.check import TypedNode
from composer.lock import Lock
from priors.manifest import PriorRef

Path = Literal["unchanged", "delta", "changed"]
"""unchanged  the file itself; delta  the file itself, with a small one beside it; changed  a new file made of it"""

_DERIVES = ("merge", "splice", "retok")


@dataclass(frozen=True)
class Part:
    """A prior in one place of the lock. `edge` is where it became what `path` says: (source, target) nodes.

    `ref` is None for a function that is used by its bare name; `inside` are the fees of the priors that a composition
    is made of, by their ids.
    """

    node: str
    name: str
    ref: PriorRef | None
    license: str
    fee_bp: int
    path: Path
    edge: tuple[str, str]
    inside: tuple[tuple[str, int], ...] = ()

    @property
    def id(self) -> str:
        """The reference, or `fn:<name>` of a bare function."""
        return str(self.ref) if self.ref else f"fn:{self.name}"


@dataclass(frozen=True)
class Mixture:
    """Parts whose parameters end in one new file, and the node in which they meet."""

    node: str
    parts: tuple[Part, ...]


def parts(lock: Lock) -> tuple[Part, ...]:
    """Every place where a prior comes into the composition, in the order of its nodes."""
    readers: dict[str, list[TypedNode]] = {}
    for node in lock.nodes:
        for source in node.sources:
            readers.setdefault(source, []).append(node)
    found = []
    for node in lock.nodes:
        attrs = node.attrs
        words = node.op == "retok" and "prior" in attrs  # whose tokenizer goes with the weights
        if (
            node.op == "load"
            or words
            or (node.op == "fn" and ("prior" in attrs or "license" in attrs or "fee_bp" in attrs))
        ):
            ref = PriorRef.parse(attrs["prior"]) if "prior" in attrs else None
            name = ref.repo if ref else attrs["fn"]
            path, edge = _followed(node, readers)
            license, fee = attrs.get("license", ""), attrs.get("fee_bp", 0)
            inside = tuple(sorted((attrs.get("fees") or {}).items()))
            found.append(Part(node.name, name, ref, license, fee, path, edge, inside))
    return tuple(found)


def mixtures(lock: Lock, all_parts: tuple[Part, ...]) -> tuple[Mixture, ...]:
    """Where changed parameters of one or several parts become one file: the last node of weights before a value."""
    by_node = {part.node: part for part in all_parts}
    inside: dict[str, tuple[Part, ...]] = {}
    read_on: set[str] = set()
    for node in lock.nodes:
        if node.type is None:
            own = (by_node[node.name],) if node.name in by_node else ()
            inside[node.name] = tuple(dict.fromkeys([*own, *(part for s in node.sources for part in inside[s])]))
            if node.op in _DERIVES or node.op == "delta":
                read_on.update(node.sources)
    return tuple(
        Mixture(name, found)
        for name, found in inside.items()
        if name not in read_on and any(part.path == "changed" for part in found)
    )


def _followed(node: TypedNode, readers: dict[str, list[TypedNode]]) -> tuple[Path, tuple[str, str]]:
    """The strongest thing that happens to a node's parameters, and on which edge."""
    first = readers.get(node.name, [])
    best: tuple[Path, tuple[str, str]] = ("unchanged", (node.name, first[0].name if first else node.name))
    open_ends = [(node.name, reader) for reader in first] if node.op == "load" else []
    while open_ends:
        source, reader = open_ends.pop()
        match _step(reader):
            case "changed":
                return "changed", (source, reader.name)
            case "delta":
                best = ("delta", (source, reader.name))
        if reader.type is None:
            open_ends += [(reader.name, after) for after in readers.get(reader.name, [])]
    return best


def _step(reader: TypedNode) -> Path:
    if reader.op in _DERIVES or (reader.op == "delta" and reader.attrs.get("kind") == "full"):
        return "changed"
    if reader.op == "delta":
        return "delta"
    if reader.op == "net" and reader.attrs.get("train", "frozen") not in ("frozen", "delta"):
        return "changed"
    return "unchanged"
