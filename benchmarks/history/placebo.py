"""Networks with weights that say nothing: each tensor's own values in random order."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch

from priors.library import Entry, LocalLibrary
from priors.manifest import FILE_NAME, PriorRef, parse_manifest
from priors.weights import load_weights, save_weights, sha256_file

NAMESPACE = "placebo"
WEIGHTS = "model.safetensors"


def write_random(entry: Entry, library: LocalLibrary, root: Path, *, seed: int = 0) -> Entry:
    """Writes `root`/placebo/<name>-<seed>: the same architecture, host and size, every tensor's values shuffled, so
    that each layer gets numbers of the spread it had. What is there already stays."""
    source = library.directory(entry.ref)
    name = f"{entry.ref.name}-random-{seed}"
    target = root / NAMESPACE / name
    if not (target / FILE_NAME).is_file():
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for file in source.iterdir():
            if file.name not in (WEIGHTS, FILE_NAME):
                shutil.copyfile(file, target / file.name)
        generator = torch.Generator().manual_seed(seed)
        state = load_weights(source / WEIGHTS)
        save_weights({key: _shuffled(tensor, generator) for key, tensor in state.items()}, target / WEIGHTS)
        content = json.loads((source / FILE_NAME).read_text("utf-8"))
        content |= {"name": name, "summary": "A network whose weights say nothing, for comparison."}
        content["files"][WEIGHTS] = {
            "sha256": sha256_file(target / WEIGHTS),
            "size": (target / WEIGHTS).stat().st_size,
        }
        (target / FILE_NAME).write_text(parse_manifest(content).to_json(), encoding="utf-8")
    manifest = parse_manifest(json.loads((target / FILE_NAME).read_text("utf-8")))
    return Entry(PriorRef(NAMESPACE, name).pinned(manifest.identity()), manifest)


def _shuffled(tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    order = torch.randperm(tensor.numel(), generator=generator)
    return tensor.flatten()[order].reshape(tensor.shape)
