"""A composition to start from: a few priors that read the same values, side by side under a head, as text."""

from __future__ import annotations

import json
from collections.abc import Sequence

from composer.errors import BadGraph
from priors.manifest import PriorManifest, PriorRef
from priors.types import parse

MAX_PRIORS = 16

EXAMPLE = """composition: 1
name: topics
adapt: trainable
nodes:
  text:  {op: input, type: "text.raw[B]:str", column: text}
  chars: {op: fn, fn: char_ngrams, in: [text]}
  words: {op: fn, fn: word_ngrams, in: [text]}
  both:  {op: concat, in: [chars, words]}
  y:     {op: head, in: [both], labels: [food, talk]}
outputs: {y: y}
"""
"""Needs no prior of any hub."""

_RAW = {"text": "text.raw[B]:str", "image": "image.raw[B]:u8", "audio": "audio.raw[B]:f32"}


def start(chosen: Sequence[tuple[PriorRef, PriorManifest]]) -> str:
    """The text, in YAML. Raises BadGraph for no prior, too many, or priors that read different values."""
    if not 0 < len(chosen) <= MAX_PRIORS:
        raise BadGraph(f"{len(chosen)} priors cannot be wired at once. Name 1 to {MAX_PRIORS}.")
    first = _reads(chosen[0][1])
    lines = ["composition: 1", "name: composition", "adapt: trainable", "nodes:"]
    lines.append(f"  x: {{op: input, type: {json.dumps(first)}}}")
    values = []
    for number, (ref, manifest) in enumerate(chosen, start=1):
        if parse(_reads(manifest)).modality != parse(first).modality:
            raise BadGraph(
                f"{ref.repo} reads {_reads(manifest)}, {chosen[0][0].repo} reads {first}. Give each an input node."
            )
        named = json.dumps(f"prior://{ref.repo}" + (f"@{ref.identity}" if ref.sha256 else ""))
        if manifest.kind == "function":
            lines.append(f"  p{number}: {{op: fn, fn: {manifest.definition.id}, in: [x], prior: {named}}}")
        else:
            ports = ", ".join(f"{port}: x" for port in manifest.inputs)
            lines.append(f"  w{number}: {{op: load, prior: {named}}}")
            lines.append(f"  p{number}: {{op: net, in: {{w: w{number}, {ports}}}, tap: {manifest.default_tap}}}")
        values.append(f"p{number}")
    last = values[0]
    if len(values) > 1:
        lines.append(f"  all: {{op: concat, in: [{', '.join(values)}]}}")
        last = "all"
    lines += [f"  y: {{op: head, in: [{last}], labels: [yes, no]}}", "outputs: {y: y}"]
    return "\n".join(lines) + "\n"


def _reads(manifest: PriorManifest) -> str:
    """The type of what a prior is fed with: raw values where there is an encoder for them."""
    port = next(iter(manifest.inputs.values()))
    return _RAW.get(port.modality, str(port))
