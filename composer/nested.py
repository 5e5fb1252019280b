"""Compositions as parts of compositions: a fitted composition is a prior whose ports are its inputs and outputs.

    w: {op: load, prior: "prior://ann/spam"}               a repository with composition.json
    y: {op: net, in: {w: w, text: text}, tap: y}           its input nodes are ports, its outputs are taps

Its identity is its model's, which is a hash over everything inside, so hashes recurse; its license is that of all its
parts together; each of them is paid the fee that it asks for (`composer.royalty`). What it holds stays frozen: who
wants to train its parts copies its nodes. Needs no torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from composer._rules_priors import NESTED
from composer.errors import BadLock
from composer.graph import MAX_NODES
from composer.lock import FILE_NAME as LOCK_FILE
from composer.lock import WEIGHTS_FILE, Lock
from composer.parts import parts
from composer.royalty import CAP_BP, fees
from priors.errors import UnknownPrior
from priors.library import Library
from priors.library import resolver as prior_resolver
from priors.manifest import Definition, License, PriorManifest, PriorRef

ARCHITECTURE = NESTED

MAX_DEPTH = 8
"""Compositions inside each other. Hashes admit no circle, and nobody needs more."""


@runtime_checkable
class HoldsCompositions(Protocol):
    """A library that has compositions beside its priors."""

    def composition(self, ref: PriorRef) -> Path:
        """The folder of a composition's repository. Raises UnknownPrior."""


@dataclass(frozen=True)
class NestedManifest(PriorManifest):
    """The manifest of a composition: made from its lock, its identity is that of its model."""

    model: str = ""

    def identity(self) -> str:
        return self.model


def resolver(library: Library) -> Callable[[PriorRef], PriorManifest]:
    """The manifest of the prior or of the composition that a reference names."""
    of_prior = prior_resolver(library)

    def resolve(ref: PriorRef) -> PriorManifest:
        try:
            return of_prior(ref)
        except UnknownPrior as unknown:
            if not isinstance(library, HoldsCompositions):
                raise
            try:
                folder = library.composition(ref)
            except UnknownPrior:
                raise unknown from None
            return manifest_of(read_lock(folder, ref), ref)

    return resolve


def read_lock(folder: Path, ref: PriorRef) -> Lock:
    """The lock in a composition's folder. Raises BadLock when it is not that of `ref` or was never fitted."""
    path = folder / LOCK_FILE
    if not path.is_file():
        raise BadLock(f"{ref.repo} has no {LOCK_FILE}. Save it again with `priorhub fit`, and push that.")
    return parse_lock(path.read_text("utf-8"), ref)


def parse_lock(text: str, ref: PriorRef) -> Lock:
    """The same from the text of a lock."""
    lock = Lock.from_json(text)
    lock.require_ready()
    if lock.model is None or not ref.matches(lock.model):
        raise BadLock(f"{ref.repo} is {lock.model}, not {ref.identity}. Pull that version, or change the hash.")
    return lock


def inside(lock: Lock) -> tuple[PriorRef, ...]:
    """The compositions that a lock loads, each once."""
    loads = (node for node in lock.nodes if node.op == "load" and node.attrs.get("arch") == ARCHITECTURE)
    return tuple(dict.fromkeys(PriorRef.parse(node.attrs["prior"]) for node in loads))


def weights_file(folder: Path) -> Path:
    """Where the learned parameters of a composition's folder lie."""
    return folder / WEIGHTS_FILE


def manifest_of(lock: Lock, ref: PriorRef) -> NestedManifest:
    """A composition's ports: raw values and numbers as its input nodes take them, tensors as its outputs give them."""
    inputs = {node.name: node.type for node in lock.nodes if node.op == "input" and node.type is not None}
    taps = {}
    for name, source in lock.outputs.items():
        t = lock.node(source).type
        if t is not None and not t.is_raw:
            taps[name] = t
    if "w" in inputs:
        raise BadLock(f"{ref.repo} has an input called 'w', which is where a net node reads its weights. Rename it.")
    if not taps:
        raise BadLock(
            f"{ref.repo} gives words only, which nothing inside a composition reads. Take out its decode node."
        )
    licenses = dict.fromkeys(str(node.attrs["license"]) for node in lock.nodes if "license" in node.attrs)
    together = " AND ".join(f"({one})" if " OR " in one else one for one in licenses)
    asked = fees(parts(lock))
    return NestedManifest(
        name=ref.name,
        version="1",
        summary=f"The composition {lock.name}.",
        kind="network",
        inputs=inputs,
        taps=taps,
        default_tap=next(iter(taps)),
        license=License(together or "LicenseRef-unstated"),
        fee_bp=min(CAP_BP, sum(asked.values())),
        architecture=Definition(
            ARCHITECTURE,
            {"structure": lock.structure, "nodes": min(len(lock.nodes), MAX_NODES), "fees": asked},
        ),
        model=str(lock.model),
    )
