"""What may be published in a repository of each kind. Runs inside the commit, before anything is visible.

*Rule checks* only: names, magic bytes, safetensors headers, the three description files. They read the beginnings of
files and small files whole, and execute nothing.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from django.conf import settings

from composer.graph import Graph
from composer.lock import Lock
from hub.errors import FileRefused
from hub.repos.models import Blob, Repository
from hub.repos.names import check_paths
from hub.repos.storage import BlobStore
from hub.safety import content
from hub.texts import is_storable
from priors.manifest import PriorManifest, parse_manifest
from priors.tasks.spec import TaskSpec, parse_task

MAX_FILES = 10_000
MAX_DESCRIPTION_BYTES = 16 * 1024 * 1024  # composition.lock.json lists every node with its type and hash
MAX_CARD_BYTES = 64 * 1024  # Markdown of 200 kB can take seconds to render

Files = Mapping[str, Blob]
"""A whole tree: blob by path."""


@dataclass(frozen=True)
class Described:
    """What the checks read on their way, so that nobody has to read it again."""

    manifest: PriorManifest | None = None
    task: TaskSpec | None = None
    card: str = ""
    pickles: Mapping[str, str] = field(default_factory=dict)
    """What is said of files that carry a pickle, by hash; only plain repositories may hold them."""


def kind_of(kind: str, files: Files, store: BlobStore) -> str:
    """What a repository becomes with these files: a plain one whose description file is one of ours is of that kind."""
    if kind != Repository.Kind.PLAIN:
        return kind
    for name, becomes in _DESCRIPTIONS.items():
        blob = files.get(name)
        if blob is None or blob.size > MAX_DESCRIPTION_BYTES:
            continue
        with store.open(blob.sha256) as file:
            try:
                said = json.loads(file.read())
            except (ValueError, RecursionError):
                continue
        if isinstance(said, dict) and becomes in said:
            return becomes
    return kind


def check_files(kind: str, files: Files, store: BlobStore, *, changed: Collection[str] | None = None) -> Described:
    """Raises BadName, FileRefused, BadWeights, BadManifest, BadTask or the composer's errors for what may not stand.

    changed  the paths whose content was not checked before; all when None
    """
    if len(files) > MAX_FILES:
        raise FileRefused(
            f"{len(files)} files in one commit; {MAX_FILES} are the most. Pack the data into fewer files."
        )
    check_paths(files)
    pickles = _check_contents(kind, files if changed is None else changed, files, store)
    if kind == Repository.Kind.PLAIN:
        return Described(pickles=pickles)
    card = _card(files, store)
    match kind:
        case Repository.Kind.PRIOR:
            manifest = parse_manifest(_description(files, "prior.json", store))
            _check_manifest_files(manifest, files)
            return Described(manifest=manifest, card=card)
        case Repository.Kind.COMPOSITION:
            _check_composition(files, store)
        case Repository.Kind.TASK:
            task = parse_task(_description(files, "task.json", store))
            if task.data not in files:
                raise FileRefused(f"task.json says the rows lie in {task.data!r}, which is not in the commit. Add it.")
            return Described(task=task, card=card)
    return Described(card=card)


def _check_contents(kind: str, paths: Collection[str], files: Files, store: BlobStore) -> dict[str, str]:
    """Each file against what its kind of repository may hold; notes on those that carry a pickle, by hash."""
    notes: dict[str, str] = {}
    for path in paths:
        blob = files[path]
        with store.open(blob.sha256) as file:
            if kind == Repository.Kind.PLAIN:
                note = content.check_plain(path, file, blob.size, allow_pickle=settings.ALLOW_PICKLE)
                if note is not None:
                    notes[blob.sha256] = note
            elif kind == Repository.Kind.TASK:
                content.check_task_file(path, file, blob.size)
            else:
                content.check_published(path, file, blob.size)
    return notes


def _check_manifest_files(manifest: PriorManifest, files: Files) -> None:
    for path, promised in manifest.files.items():
        blob = files.get(path)
        if blob is None:
            raise FileRefused(
                f"prior.json lists {path!r}, which is not in the commit. Add it, or drop it from the list."
            )
        if blob.sha256 != promised.sha256 or blob.size != promised.size:
            raise FileRefused(
                f"prior.json promises {path!r} with sha256 {promised.sha256} and {promised.size} bytes; the commit has "
                f"{blob.sha256} and {blob.size}. Write the manifest again from the files."
            )


def _check_composition(files: Files, store: BlobStore) -> None:
    """The graph reads; the lock, where there is one, has right hashes and names these very parameters."""
    Graph.from_json(_text("composition.json", _description(files, "composition.json", store)))
    if "composition.lock.json" not in files:
        return
    lock = Lock.from_json(_text("composition.lock.json", _description(files, "composition.lock.json", store)))
    learned = files.get("model.safetensors")
    if lock.weights is not None and (learned is None or learned.sha256 != lock.weights):
        raise FileRefused(
            f"composition.lock.json names parameters with sha256 {lock.weights}; the commit has "
            f"{learned.sha256 if learned else 'no model.safetensors'}. Commit the folder as it was saved."
        )


def _card(files: Files, store: BlobStore) -> str:
    blob = files.get("README.md")
    if blob is None:
        return ""
    if blob.size > MAX_CARD_BYTES:
        raise FileRefused(
            f"README.md has {blob.size} bytes; {MAX_CARD_BYTES} are the most. Move details to other files."
        )
    with store.open(blob.sha256) as file:
        return _text("README.md", file.read())


def _description(files: Files, name: str, store: BlobStore) -> bytes:
    blob = files.get(name)
    if blob is None:
        raise FileRefused(f"The commit has no {name}, which a repository of this kind needs. Add it at the top level.")
    if blob.size > MAX_DESCRIPTION_BYTES:
        raise FileRefused(f"{name} has {blob.size} bytes; {MAX_DESCRIPTION_BYTES} are the most.")
    with store.open(blob.sha256) as file:
        data = file.read()
    if b"\\u" in data and not _is_storable(data):
        raise FileRefused(f"{name} holds a NUL character or half a surrogate pair as an escape. Take it out.")
    return data


def _is_storable(data: bytes) -> bool:
    try:
        return is_storable(json.loads(data))
    except (ValueError, RecursionError):
        return True  # whoever reads it next says what is wrong with it


def _text(name: str, content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as err:
        raise FileRefused(f"{name} is not UTF-8 at byte {err.start}. Save it as UTF-8.") from err


_DESCRIPTIONS = {
    "prior.json": Repository.Kind.PRIOR,
    "composition.json": Repository.Kind.COMPOSITION,
    "task.json": Repository.Kind.TASK,
}
