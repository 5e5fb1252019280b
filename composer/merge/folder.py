"""The folder around merged weights: config, tokenizer, card and prior.json, there whole or not at all."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from composer.errors import BadGraph
from composer.merge.layers import CONFIG_KEYS
from composer.merge.source import Checkpoint, Output
from composer.merge.writer import Written
from priors.errors import BadManifest

if TYPE_CHECKING:
    from priors.manifest import PriorManifest

FILE_NAME = "prior.json"
"""As in `priors.manifest`, which takes 0.2 s to import and is wanted for priors only."""

MAX_BESIDE = 64 << 20
"""Largest file that is copied along: tokenizers have megabytes."""
_BESIDE = (".json", ".txt", ".model", ".jinja", ".tiktoken")
_LICENSES = ("LICENSE", "LICENSE.txt", "LICENSE.md", "NOTICE")
_MARK = ".merging-"


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder to fill that becomes `out` at the end, when nothing is raised; else nothing of it stays.

    A killed process leaves its unfinished folder beside, under a hidden name; the next merge into `out` removes it.
    Raises BadGraph when `out` is there already.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BadGraph(f"{out} is there already. Name a new folder with --out, or remove it.")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        _sweep(out)
        made = Path(tempfile.mkdtemp(prefix=f".{out.name}{_MARK}", dir=out.parent))
    except OSError as error:
        raise BadGraph(f"{out} cannot be made ({error.strerror}). Choose another place with --out.") from error
    held = os.open(made, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield made
        made.chmod(0o755)
        os.fsync(held)
        made.rename(out)
    except OSError as error:
        raise BadGraph(f"{out} cannot be written ({error.strerror}). Make room, or choose another place.") from error
    finally:
        os.close(held)
        shutil.rmtree(made, ignore_errors=True)


def _sweep(out: Path) -> None:
    """Removes what killed processes left: folders of this mark that nobody holds."""
    for left in out.parent.glob(f".{out.name}{_MARK}*"):
        held = os.open(left, os.O_RDONLY)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue  # another process is merging into the same place
        finally:
            os.close(held)
        shutil.rmtree(left, ignore_errors=True)


def furnish(
    folder: Path,
    like: Checkpoint,
    parents: Mapping[str, Checkpoint],
    outputs: Mapping[str, Output],
    files: Mapping[str, Written],
    *,
    name: str,
    made_by: Mapping[str, Any],
    layers: int | None = None,
) -> None:
    """Puts beside the weights what `like` has beside its own, a card, and where `like` is a prior a prior.json.

    parents  the models merged, as the card and the manifest name them
    made_by  what was done, kept as merge.json
    """
    for path in sorted(like.directory.iterdir()):
        wanted = path.suffix in _BESIDE or path.name in _LICENSES
        if (
            wanted
            and path.is_file()
            and not path.name.endswith(".index.json")
            and path.name not in (FILE_NAME, "merge.json")
        ):
            if path.stat().st_size > MAX_BESIDE:
                raise BadGraph(f"{path} is larger than {MAX_BESIDE >> 20} MB, too large to copy. Move it away.")
            shutil.copyfile(path, folder / path.name)
    if like.config:
        _write_json(folder / "config.json", _config(like.config, outputs, layers))
    _write_json(folder / "merge.json", {**made_by, "models": {n: p.header_digest for n, p in parents.items()}})
    manifests = {n: found for n, p in parents.items() if (found := _manifest(p)) is not None}
    own = _manifest(like)
    if own is not None:
        made = _derived(own, manifests, outputs, files, folder, name, layers)
        (folder / FILE_NAME).write_text(made.to_json(), encoding="utf-8")
    (folder / "README.md").write_text(_card(name, parents, made_by, files, manifests), encoding="utf-8")


def fold_license(manifests: Sequence[PriorManifest]) -> tuple[str, str]:
    """The license of a merge, which is derived from each of its inputs; and why it may not be published, or ""."""
    from composer.license import mixed_license

    return mixed_license(manifest.license.spdx for manifest in manifests)


def _derived(
    own: PriorManifest,
    manifests: Mapping[str, PriorManifest],
    outputs: Mapping[str, Output],
    files: Mapping[str, Written],
    folder: Path,
    name: str,
    layers: int | None,
) -> PriorManifest:
    if layers is not None:
        raise BadManifest(
            "layers of a prior were taken out or put in, and its taps would no longer be true. Merge the plain "
            "checkpoint (a folder without prior.json) and make it a prior anew."
        )
    from priors.manifest import FileInfo, License
    from priors.weights import sha256_file

    kept = {
        path.name: FileInfo(sha256_file(path), path.stat().st_size)
        for path in sorted(folder.iterdir())
        if path.name in own.files and not path.name.endswith(".safetensors")
    }
    weights = {n: FileInfo(w.sha256, w.size) for n, w in files.items() if n.endswith(".safetensors")}
    everyone = list(manifests.values())
    return replace(
        own,
        name=slug(name),
        version="1.0.0",
        summary=f"A merge of {', '.join(m.name for m in everyone)}."[:500],
        files={**kept, **weights},
        parameters=sum(output.info.size for output in outputs.values()),
        license=License(fold_license(everyone)[0], own.license.file if own.license.file in kept else None),
        parents=tuple(f"prior://{m.name}@{m.identity()}" for m in everyone),
        training_data=tuple(dict.fromkeys(item for m in everyone for item in m.training_data)),
        citations=tuple(dict.fromkeys(item for m in everyone for item in m.citations)),
        fee_bp=0,
        origin=None,
    )


def slug(name: str) -> str:
    """A prior's name out of a folder's."""
    return re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-._")[:96] or "merge"


def _config(config: Mapping[str, Any], outputs: Mapping[str, Output], layers: int | None) -> dict[str, Any]:
    made = dict(config)
    dtypes = {output.info.dtype for output in outputs.values() if output.info.dtype in _NAMES}
    for key in ("torch_dtype", "dtype"):
        if key in made and len(dtypes) == 1:
            made[key] = _NAMES[next(iter(dtypes))]
    if layers is not None:
        known = [key for key in CONFIG_KEYS if key in made]
        if not known:
            raise BadGraph(f"config.json does not say how many layers there are ({', '.join(CONFIG_KEYS)}). Add it.")
        made[known[0]] = layers
        if isinstance(made.get("layer_types"), list):
            raise BadGraph(
                "config.json gives each layer a type (layer_types), which slices would mix up. Merge it whole."
            )
    return made


_NAMES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}


def _card(
    name: str,
    parents: Mapping[str, Checkpoint],
    made_by: Mapping[str, Any],
    files: Mapping[str, Written],
    manifests: Mapping[str, PriorManifest],
) -> str:
    folded, forbidden = fold_license(list(manifests.values())) if len(manifests) == len(parents) else ("", "")
    license = [f"license: {json.dumps(folded)}"] if folded else []
    warning = ["", f"**Not to be published.** {forbidden}"] if forbidden else []
    front = [
        "---",
        *license,
        "tags: [merge]",
        "base_model:",
        *(f"- {json.dumps(Path(p).name)}" for p in parents),
        "---",
    ]
    rows = [f"| `{Path(n).name}` | `{p.header_digest[:19]}…` |" for n, p in parents.items()]
    weights = [f"| `{n}` | `{w.sha256}` | {w.size:,} |" for n, w in files.items()]
    return "\n".join(
        [
            *front, "", f"# {name}", *warning, "", "Merged with priorhub from:", "",
            "| model | headers of its weights |", "|---|---|", *rows, "",
            "```json", json.dumps(dict(made_by), indent=1, ensure_ascii=False).replace("```", "'''"), "```", "",
            "| file | sha256 | bytes |", "|---|---|---|", *weights, "",
        ]
    )  # fmt: skip


def _manifest(checkpoint: Checkpoint) -> PriorManifest | None:
    if not (checkpoint.directory / FILE_NAME).is_file():
        return None
    from priors.manifest import read_manifest

    return read_manifest(checkpoint.directory)


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
