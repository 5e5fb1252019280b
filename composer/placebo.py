"""Networks that know nothing: the same architectures with their own weights in random order.

Whoever claims that a prior helps claims that it beats this one. Each tensor keeps its shape and its values, so scales,
norms and widths are as they were, and loses what training put where: no default initialization has to be known, and
it works for every architecture whose weights are tensors.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from composer.errors import BadGraph
from composer.graph import Graph
from composer.nested import ARCHITECTURE, resolver
from priors.errors import BadManifest
from priors.library import Entry, Library
from priors.manifest import FILE_NAME, FileInfo, PriorManifest, PriorRef
from priors.registry import find_architecture
from priors.weights import load_weights, save_weights


class RandomWeights:
    """A library in which some networks were shuffled, under their own names with another content hash."""

    def __init__(self, library: Library, shuffled: Mapping[str, tuple[Entry, Path]]) -> None:
        self._library, self._shuffled = library, shuffled

    def entries(self) -> list[Entry]:
        """As those of the library, with the shuffled ones in their places."""
        entries = self._library.entries()
        return [self._shuffled[entry.ref.repo][0] if entry.ref.repo in self._shuffled else entry for entry in entries]

    def directory(self, ref: PriorRef) -> Path:
        """The folder of a prior. Raises UnknownPrior."""
        return self._shuffled[ref.repo][1] if ref.repo in self._shuffled else self._library.directory(ref)


def without_knowledge(graph: Graph, library: Library, folder: Path, *, seed: int) -> tuple[Graph, RandomWeights]:
    """The graph with every network replaced by its shuffled form, and a library that has those.

    folder  where their files go; the caller removes it

    Raises BadGraph for a graph without a network, or with one that is no set of tensors.
    """
    resolve = resolver(library)
    shuffled: dict[str, tuple[Entry, Path]] = {}
    document = graph.to_dict()
    for node in document["nodes"].values():
        if node["op"] not in ("load", "encode") or "prior" not in node:
            continue
        ref = PriorRef.parse(node["prior"])
        if ref.repo not in shuffled:
            manifest = resolve(ref)
            if manifest.kind == "network":
                shuffled[ref.repo] = _shuffle(ref, manifest, library, folder / str(len(shuffled)), seed)
        if ref.repo in shuffled:
            node["prior"] = str(shuffled[ref.repo][0].ref)
    if not shuffled:
        raise BadGraph(f"{graph.name} has no network, and functions have no weights to put in random order.")
    return Graph.from_dict(document), RandomWeights(library, shuffled)


def _shuffle(ref: PriorRef, manifest: PriorManifest, library: Library, folder: Path, seed: int) -> tuple[Entry, Path]:
    if manifest.definition.id == ARCHITECTURE:
        raise BadGraph(f"{ref.repo} is a composition, whose networks are not loaded one by one.")
    family: Any = find_architecture(manifest.definition.id)
    if hasattr(family, "open") or not all(name.endswith(".safetensors") for name in manifest.weight_files):
        raise BadGraph(f"{ref.repo} is a file of its own and no set of tensors.")
    source = library.directory(ref)
    folder.mkdir(parents=True)
    files = dict(manifest.files)
    generator = torch.Generator().manual_seed(seed)
    for name, info in manifest.files.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if name in manifest.weight_files:
            held = load_weights(source / name, info.sha256)
            digest = save_weights({key: _permuted(value, generator) for key, value in held.items()}, place)
            files[name] = FileInfo(digest, place.stat().st_size)
        else:
            _link(source / name, place)
    found = replace(manifest, files=files)
    if found.identity() == manifest.identity():
        raise BadManifest(f"{ref.repo} has no weight that another order would change.")
    (folder / FILE_NAME).write_text(found.to_json(), encoding="utf-8")
    return Entry(ref.pinned(found.identity()), found), folder


def _permuted(tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    if not tensor.is_floating_point():
        return tensor
    order = torch.randperm(tensor.numel(), generator=generator)
    return tensor.reshape(-1)[order].reshape(tensor.shape)


def _link(source: Path, place: Path) -> None:
    try:
        os.link(source, place)
    except OSError:  # another disk, or one without links
        shutil.copyfile(source, place)
