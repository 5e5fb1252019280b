"""Two halves of a model of images and texts lie in one space: what they give meets without a projection."""

from typing import Any

from composer.check import check
from composer.graph import Graph
from priors.manifest import PriorManifest, PriorRef, parse_manifest
from priors.registry import find_architecture
from tests.priors._families import TEXT, VISION

DOCUMENT = """
composition: 1
opset: {core: 1}
name: pictures-and-words
adapt: trainable
nodes:
  picture: {op: input, type: "image.raw[B]:u8"}
  words: {op: input, type: "text.raw[B]:str"}
  wp: {op: load, prior: "prior://tiny/clip-image"}
  ww: {op: load, prior: "prior://tiny/clip-text"}
  p: {op: net, in: {w: wp, pixels: picture}}
  q: {op: net, in: {w: ww, ids: words}}
  both: {op: sum, in: [p, q], weights: [1, 1]}
outputs: {both: both}
"""


def half(name: str, sha256: str) -> PriorManifest:
    config: dict[str, Any] = {**{**TEXT, **VISION}[name], "space": sha256[:16]}
    family = find_architecture(name)(config)
    return parse_manifest(
        {
            "prior": 1, "name": name, "version": "1", "summary": "Half of a model.", "kind": "network",
            "architecture": {"id": name, "config": config}, "inputs": family.inputs(), "taps": family.taps(),
            "default_tap": "embedding", "host": {"encoder": "any"}, "license": {"spdx": "MIT"},
            "files": {"model.safetensors": {"sha256": sha256, "size": 1}},
        }
    )  # fmt: skip


def operations(images: str, texts: str) -> list[str]:
    halves = {"clip-image": half("clip-image", images), "clip-text": half("clip-text", texts)}

    def resolve(ref: PriorRef) -> PriorManifest:
        return halves[ref.name]

    return [node.op for node in check(Graph.from_yaml(DOCUMENT), resolve).nodes if node.auto]


def test_halves_of_one_file_are_added_as_they_are() -> None:
    assert operations("a" * 64, "a" * 64) == ["encode", "encode"]


def test_halves_of_two_files_need_a_projection() -> None:
    assert operations("a" * 64, "b" * 64) == ["encode", "encode", "proj"]
