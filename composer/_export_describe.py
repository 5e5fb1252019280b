"""What stands beside an exported file: the work before it and the meaning of what it gives, in JSON, and tokenizers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from composer._export_trace import Parity
from composer.errors import BadGraph
from composer.gaps import with_gaps
from composer.heads import Ending
from composer.license import judge
from composer.lower import Lowered
from composer.runner import VERSION


def describe(lowered: Lowered, stem: str, parity: Parity) -> tuple[dict[str, Any], Mapping[str, bytes]]:
    """The document, and the files it names: what another program needs to run `<stem>.<format>` on raw values.

    The steps make the tensors of `inputs`, in order; `outputs` says what comes out.
    """
    lock = lowered.lock
    files: dict[str, bytes] = {}
    steps = []
    gaps = with_gaps(lock)
    for step in lowered.host:
        source = lock.node(step.source)
        work = step.describe()
        if work.get("encoder", {}).get("encoder") == "tokenizer":
            encoder: Any = lowered.priors.get(work["prior"]).encoder()
            content, spec = encoder.as_json()
            work = {**work, "encoder": spec, "beside": _beside(content, stem, files)}
        steps.append(
            {
                "reads": step.source,
                "column": source.attrs.get("column", step.source),
                "kind": step.modality,
                "gives": [given.name for given in step.inputs],
                **({"gaps": True} if step.source in gaps else {}),
                **work,
            }
        )
    document = {
        "preprocessing": VERSION,
        "composition": lock.name,
        "structure": lock.structure,
        "model": lock.model,
        "license": judge(lock).license,
        "parity": parity.to_dict(),
        "steps": steps,
        "inputs": [
            {"name": given.name, "type": str(given.port_type), "mask": given.is_mask} for given in lowered.inputs
        ],
        "outputs": [_output(lowered, name, node) for name, node in lowered.outputs.items()],
    }
    return document, files


def _beside(content: bytes, stem: str, files: dict[str, bytes]) -> str:
    """The name of the tokenizer's copy beside the file: one a tokenizer, however many steps use it."""
    for name, known in files.items():
        if known == content:
            return name
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", stem)[:60]
    name = f"{plain}.tokenizer{f'-{len(files) + 1}' if files else ''}.json"
    files[name] = content
    return name


def _output(lowered: Lowered, name: str, node: str) -> dict[str, Any]:
    found = lowered.lock.node(node)
    described: dict[str, Any] = {"name": name, "type": found.shown_type}
    with suppress(BadGraph):  # an output that no head ends in means nothing more
        found = Ending.of(lowered.lock).head
    if found.op == "head":
        buffers = {name: float(value) for name, value in lowered.learned[found.name].named_buffers()}
        meaning: dict[str, Any]
        if "labels" in found.attrs:
            squash = "sigmoid" if "threshold" in buffers else "softmax"
            meaning = {
                "labels": found.attrs["labels"],
                "loss": found.attrs["loss"],
                "probabilities": f"{squash}(output / temperature)",
            }
        else:
            meaning = {"target": found.attrs["target"]} | (
                {"unit": found.attrs["unit"]} if "unit" in found.attrs else {}
            )
        described |= {**meaning, **buffers}
    return described
