"""The manifest of a plain model: from its config.json and the header of its weights, with nothing guessed.

Only families that the loader has (priors/architectures) get one, and only when each size that the config gives is the
size of a tensor in the file. Reading needs neither torch nor transformers nor timm.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from priors.errors import BadManifest
from priors.manifest import FileInfo, PriorManifest, parse_manifest
from priors.sources import _plain_audio, _plain_timm, _plain_transformers, _plain_vision
from priors.weights import Header


def manifest_of(
    *,
    name: str,
    config: Mapping[str, Any],
    header: Header,
    files: Mapping[str, FileInfo],
    spdx: str = "",
    summary: str = "",
    preprocessor: Mapping[str, Any] | None = None,
    tokenizer: Mapping[str, Any] | None = None,
) -> PriorManifest | None:
    """The manifest of a transformers or timm model of a family that is known; None for anything else.

    name   of the repository, in lower case
    files  at least model.safetensors, and for text tokenizer.json or the vocabulary of its family
    tokenizer     tokenizer_config.json, which says what a vocabulary without tokenizer.json does to letters
    preprocessor  preprocessor_config.json, which says how images and recordings are read
    """
    described = (
        _plain_transformers.describe(config, header, files, tokenizer)
        or _plain_vision.describe(config, header, files, preprocessor)
        or _plain_audio.describe(config, header, files, preprocessor)
        or _plain_timm.describe(config, header, files)
    )
    if described is None:
        return None
    document = {
        "prior": 1,
        "name": name,
        "version": "0.0.0",
        "kind": "network",
        **described,
        "summary": summary or described["summary"],
        "files": {path: {"sha256": files[path].sha256, "size": files[path].size} for path in described["files"]},
        "parameters": header.parameters,
        "license": {"spdx": spdx or "NOASSERTION", "file": None},
    }
    try:
        return parse_manifest(document)
    except BadManifest:
        return None
