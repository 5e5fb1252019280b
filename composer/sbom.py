"""The bill of materials of a composition, as CycloneDX 1.6 JSON: what it is made of, with hashes and licenses.

https://cyclonedx.org/docs/1.6/json/ (ECMA-424). A function of the lock: the same lock gives the same text, and the
serial number is made of its seal.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from composer.license import Verdict
from composer.lock import WEIGHTS_FILE, Lock
from composer.parts import Part
from priors.licenses import normalise


def bill(lock: Lock, verdict: Verdict) -> dict[str, Any]:
    """The document in plain values. `verdict` says under what the whole and each part may be used."""
    seal = lock.seal.removeprefix("sha256:")
    unique = {part.id: part for part in verdict.parts}
    whole: dict[str, Any] = {
        "type": "machine-learning-model",
        "bom-ref": lock.seal,
        "name": lock.name,
        "properties": [
            {"name": "priorhub:structure", "value": lock.structure},
            {"name": "priorhub:seal", "value": lock.seal},
            *([{"name": "priorhub:model", "value": lock.model}] if lock.model else []),
        ],
    }
    if verdict.license:
        whole["licenses"] = [{"expression": verdict.license}]
    components = [_component(ref, part) for ref, part in sorted(unique.items())]
    if lock.weights is not None:
        components.append(
            {
                "type": "data",
                "bom-ref": WEIGHTS_FILE,
                "name": WEIGHTS_FILE,
                "hashes": [{"alg": "SHA-256", "content": lock.weights}],
            }
        )
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{UUID(seal[:32])}",
        "version": 1,
        "metadata": {"component": whole},
        "components": components,
        "dependencies": [{"ref": lock.seal, "dependsOn": [component["bom-ref"] for component in components]}],
    }


def _component(ref: str, part: Part) -> dict[str, Any]:
    found: dict[str, Any] = {
        "type": "machine-learning-model",
        "bom-ref": ref,
        "name": part.name,
        "properties": [{"name": "priorhub:used", "value": part.path}],
    }
    if part.ref and part.ref.sha256:
        found |= {"version": f"sha256:{part.ref.sha256[:16]}"}
        found["hashes"] = [{"alg": "SHA-256", "content": part.ref.sha256}]
    if spdx := normalise(part.license):
        found["licenses"] = [{"expression": spdx}]
    return found
