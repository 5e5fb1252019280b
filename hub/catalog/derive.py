"""The slow facts of an item, read by a worker: parameters and dtypes from safetensors headers, the rendered card.

Nothing is guessed and nothing of a repository is run: headers pass our own check, names come from config.json, and what
cannot be read is unknown.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from hub.catalog import cards, services
from hub.catalog.facts import MAX_CARD, MAX_CONFIG, Files, text_of
from hub.catalog.models import Item
from hub.repos import trees
from hub.repos.models import Repository
from hub.repos.storage import BlobStore, store
from priors.errors import BadManifest, BadWeights
from priors.manifest import FileInfo, PriorManifest, PriorRef
from priors.sources import plain
from priors.weights import WEIGHTS, Header, check_header

MAX_ATTEMPTS = 3
_MAX_INDEX = 8 << 20
_MAX_SHARDS = 512


@dataclass(frozen=True)
class Weights:
    """What the headers of a model's weight files say."""

    parameters: int
    dtypes: dict[str, int]
    headers: dict[str, Header]


def derive(item_id: int) -> bool:
    """Reads what an item lacks and stores it. False when there was nothing to do, or its branch moved meanwhile."""
    began = timezone.now()
    waiting = Item.objects.filter(pk=item_id, derivation__lt=Item.DERIVATION, commit__isnull=False)
    if not waiting.update(attempts=F("attempts") + 1, woken_at=began):
        return False
    item = Item.objects.select_related("repository__namespace", "commit").get(pk=item_id)
    commit = item.commit
    if commit is None:
        return False
    files, blobs = trees.read(commit.tree_id), store()
    changes: dict[str, Any] = {"derivation": Item.DERIVATION, "problem": ""}
    try:
        weights = read_weights(files, blobs)
    except BadWeights as err:
        weights, changes["problem"] = None, str(err)[:500]
    if weights is not None:
        changes["dtypes"] = weights.dtypes
        if item.repository.kind == Repository.Kind.PLAIN:
            changes["parameters"] = weights.parameters
    changes |= _card(item, files, blobs)
    with transaction.atomic():
        now = (
            Item.objects.select_for_update(of=("self",))
            .select_related("repository__namespace", "commit")
            .get(pk=item_id)
        )
        if now.commit_id != commit.pk:
            return False  # the commit that moved it has woken a worker of its own
        if item.repository.kind == Repository.Kind.PLAIN:
            services.describe(now, _manifest(item, weights, files, blobs) if weights is not None else None)
        services.update(now, changes)
    return True


def read_weights(files: Files, blobs: BlobStore) -> Weights | None:
    """The headers of the model's weights, None where it has none or it is not clear which they are.

    The shards that model.safetensors.index.json names, else model.safetensors, else the only safetensors file at the
    top. Raises BadWeights for a header that is not accepted.
    """
    names = _weight_files(files, blobs)
    if not names:
        return None
    dtypes: Counter[str] = Counter()
    headers: dict[str, Header] = {}
    seen: set[str] = set()
    for name in names:
        with blobs.open(files[name].sha256) as file:
            header = check_header(file)
        if twice := seen & header.tensors.keys():
            raise BadWeights(f"tensor {min(twice)} stands in two of the files {', '.join(names[:4])}.")
        seen |= header.tensors.keys()
        headers[name] = header
        for info in header.tensors.values():
            count = 1
            for length in info.shape:
                count *= length
            dtypes[info.dtype] += count
    return Weights(sum(dtypes.values()), dict(dtypes.most_common()), headers)


def _manifest(item: Item, weights: Weights, files: Files, blobs: BlobStore) -> PriorManifest | None:
    """The manifest of a plain model of a family that the loader knows, None for all others."""
    header, file = weights.headers.get(WEIGHTS), files.get("config.json")
    if header is None or file is None or file.size > MAX_CONFIG or item.repository.type != Repository.Type.MODEL:
        return None
    try:
        config = json.loads(text_of(files, "config.json", blobs, limit=MAX_CONFIG))
        preprocessor = json.loads(text_of(files, "preprocessor_config.json", blobs, limit=MAX_CONFIG) or "null")
        said = "" if "tokenizer.json" in files else text_of(files, "tokenizer_config.json", blobs, limit=MAX_CONFIG)
        tokenizer = json.loads(said or "null")
        PriorRef.parse(item.repository.full_name)  # references are in lower case: another name cannot be one
    except (ValueError, RecursionError, BadManifest):
        return None
    if not isinstance(config, dict):
        return None
    known = {path: FileInfo(entry.sha256, entry.size) for path, entry in files.items()}
    return plain.manifest_of(
        name=item.repository.name,
        config=config,
        header=header,
        files=known,
        spdx=item.license,
        summary=item.summary,
        preprocessor=preprocessor if isinstance(preprocessor, dict) else None,
        tokenizer=tokenizer if isinstance(tokenizer, dict) else None,
    )


def _weight_files(files: Files, blobs: BlobStore) -> list[str]:
    index = files.get("model.safetensors.index.json")
    if index is not None and index.size <= _MAX_INDEX:
        try:
            named = json.loads(text_of(files, "model.safetensors.index.json", blobs, limit=_MAX_INDEX))["weight_map"]
            shards = sorted({str(name) for name in named.values()})
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return []
        return shards if len(shards) <= _MAX_SHARDS and all(name in files for name in shards) else []
    if WEIGHTS in files:
        return [WEIGHTS]
    top = [path for path in files if path.endswith(".safetensors") and "/" not in path]
    return top if len(top) == 1 else []


def _card(item: Item, files: Files, blobs: BlobStore) -> dict[str, str]:
    """The card's HTML, if what it is made from changed."""
    images = f"{item.repository.get_absolute_url()}/resolve/main/"
    made_from = f"{cards.VERSION} {images} {files['README.md'].sha256}" if "README.md" in files else ""
    key = hashlib.sha256(made_from.encode()).hexdigest() if made_from else ""
    if key == item.card_key:
        return {}
    card = text_of(files, "README.md", blobs, limit=MAX_CARD + 1) if key else ""
    return {"card_html": cards.render_apart(card, images=images) if card else "", "card_key": key}
