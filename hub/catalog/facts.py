"""What a repository's small files say of it: read inside a commit, before anything slow, and never guessed."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hub.catalog import frontmatter
from hub.repos.storage import BlobStore
from hub.repos.trees import FileEntry
from hub.texts import storable
from priors import licenses
from priors.manifest import PriorManifest

MAX_CARD = 64 * 1024
MAX_CONFIG = 1 << 20
_SLOW = re.compile(r"(?:.*/)?(?:config\.json|tokenizer\.json|[^/]*\.safetensors|[^/]*\.safetensors\.index\.json)\Z")
_MARKUP = re.compile(r"[*_`>#]|!?\[([^\]]*)\]\([^)]*\)|<[^>]*>")

Files = Mapping[str, FileEntry]
"""A whole tree: file by path."""


@dataclass(frozen=True)
class Facts:
    """What is known before any large file is opened."""

    card: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    manifest: PriorManifest | None = None
    summary: str = ""
    size_bytes: int = 0
    slow_key: str = ""
    card_key: str = ""
    has_weights: bool = False

    @property
    def license(self) -> str:
        """SPDX: the manifest's, else the card's."""
        said = self.manifest.license.spdx if self.manifest is not None else self.card.get("license")
        return licenses.normalise(said)

    @property
    def architecture(self) -> str:
        """The name config.json gives it: the transformers model type, or timm's architecture."""
        if self.manifest is not None:
            return self.manifest.definition.id
        return str(self.config.get("model_type") or self.config.get("architecture") or "")[:100]

    @property
    def library(self) -> str:
        """What the card says, else what only that library writes into config.json."""
        if said := frontmatter.texts(self.card, "library_name"):
            return said[0][:100]
        if self.manifest is not None:
            return "priorhub"
        if "model_type" in self.config and "architectures" in self.config:
            return "transformers"
        return "timm" if "architecture" in self.config and "pretrained_cfg" in self.config else ""

    @property
    def task(self) -> str:
        """pipeline_tag, as the card says."""
        return next(iter(frontmatter.texts(self.card, "pipeline_tag")), "")[:100]

    @property
    def tags(self) -> list[str]:
        """Those of the Hugging Face protocol: plain ones first, then `license:`, `dataset:`, `base_model:`."""
        plain = [*frontmatter.texts(self.card, "tags"), *(self.manifest.tags if self.manifest is not None else ())]
        plain += [self.library, self.task, *(["safetensors"] if self.has_weights else [])]
        plain += [str(self.config.get("model_type") or "")]
        named = [f"license:{name.lower()}" for name in frontmatter.texts(self.card, "license")]
        if not named and self.license:
            named = [f"license:{self.license.removeprefix('LicenseRef-').lower()}"]
        named += [f"dataset:{name}" for name in frontmatter.texts(self.card, "datasets")]
        bases = frontmatter.texts(self.card, "base_model")
        relation = next(iter(frontmatter.texts(self.card, "base_model_relation")), "")
        named += [f"base_model:{name}" for name in bases]
        named += [f"base_model:{relation}:{name}" for name in bases if relation]
        every = [*plain, *frontmatter.languages(self.card), *named]
        return list(dict.fromkeys(tag[:200] for tag in every if tag))[:200]


def read(files: Files, store: BlobStore, *, manifest: PriorManifest | None = None, description: str = "") -> Facts:
    """The facts of a tree. Reads README.md and config.json, and no more than 64 KiB and 1 MiB of them."""
    card, config = _card(files, store), _config(files, store)
    slow = [(path, file.sha256) for path, file in sorted(files.items()) if _SLOW.match(path)]
    return Facts(
        card=frontmatter.lenient(card),
        config=config,
        manifest=manifest,
        summary=(manifest.summary if manifest is not None else description or first_sentence(card))[:500],
        size_bytes=sum(file.size for file in files.values()),
        slow_key=hashlib.sha256(json.dumps(slow).encode()).hexdigest() if slow else "",
        card_key=files["README.md"].sha256 if "README.md" in files else "",
        has_weights=any(path.endswith(".safetensors") for path in files),
    )


def first_sentence(card: str) -> str:
    """The first line of prose in a card, without its markup."""
    _, body = frontmatter.split(card)
    for line in body.splitlines():
        if line.strip() and line.lstrip()[0] not in "#|<!->=`[{" and not line.startswith("    "):
            return _MARKUP.sub(r"\1", line).strip()[:300]
    return ""


def text_of(files: Files, path: str, store: BlobStore, *, limit: int) -> str:
    """The beginning of a text file, "" where there is none; what is no UTF-8 is replaced."""
    if path not in files:
        return ""
    with store.open(files[path].sha256) as file:
        return storable(file.read(limit).decode("utf-8", errors="replace"))


def _card(files: Files, store: BlobStore) -> str:
    return text_of(files, "README.md", store, limit=MAX_CARD)


def _config(files: Files, store: BlobStore) -> dict[str, Any]:
    """config.json's keys that say what the model is; the others are for the library that runs it."""
    file = files.get("config.json")
    if file is None or file.size > MAX_CONFIG:
        return {}
    try:
        found = json.loads(text_of(files, "config.json", store, limit=MAX_CONFIG))
    except (ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    kept: dict[str, Any] = {
        key: storable(found[key]) for key in ("model_type", "architecture") if isinstance(found.get(key), str)
    }
    if isinstance(named := found.get("architectures"), list):
        kept["architectures"] = [storable(name[:100]) for name in named[:8] if isinstance(name, str)]
    if isinstance(found.get("pretrained_cfg"), dict):
        kept["pretrained_cfg"] = True
    return kept
