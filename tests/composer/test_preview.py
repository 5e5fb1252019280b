"""What `check --data` says before anything is trained: overlaps, ranks, lengths, adapters, and warnings in words."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from composer.graph import Graph
from composer.preview import preview
from composer.rank.alignment import cka, effective_rank
from priors.errors import BadTask
from priors.tasks import Task
from tests.composer._tiny import tiny_library

WORDS = ("cat", "dog", "mat", "red", "big")
SPEC = """
composition: 1
name: both
adapt: trainable
nodes:
  text: {op: input, type: "text.raw[B]:str", column: text}
  w: {op: load, prior: "prior://tiny/words"}
  deep: {op: net, in: {w: w, ids: text}, tap: layer_3}
  again: {op: net, in: {w: w, ids: text}, tap: layer_2}
  grams: {op: fn, fn: char_ngrams, in: [text], config: {dim: 64}}
  mixed: {op: gate, in: [deep, again, grams], type: "vec.feat[B,D:16]:f32"}
  y: {op: head, in: [mixed], labels: [a, b]}
outputs: {y: y}
"""


def gram(block: np.ndarray) -> np.ndarray:
    centered = block - block.mean(axis=0)
    return centered @ centered.T


def task(tmp_path: Path) -> Task:
    draw = np.random.default_rng(0)
    lines = [f"{' '.join(draw.choice(WORDS, 4))},{'ab'[i % 2]}" for i in range(24)]
    (tmp_path / "rows.csv").write_text("text,label\n" + "\n".join(lines) + "\n")
    return Task.from_csv(tmp_path / "rows.csv", target="label")


def test_alignment_is_one_for_rotated_copies_and_about_zero_for_unrelated_values() -> None:
    draw = np.random.default_rng(0)
    block = draw.normal(size=(60, 20))
    turned = 3.0 * block @ np.linalg.qr(draw.normal(size=(20, 20)))[0] + 5.0
    assert cka(gram(block), gram(turned)) == pytest.approx(1.0)
    unrelated = [cka(gram(block), gram(draw.normal(size=(60, 400)))) for _ in range(20)]
    assert np.mean(unrelated) < 0.1, "many features on few rows must not look alike"
    assert cka(gram(block), gram(np.ones((60, 3)))) == 0.0


def test_effective_rank_counts_the_directions_that_are_used() -> None:
    draw = np.random.default_rng(1)
    even = np.linalg.qr(draw.normal(size=(50, 8)))[0]
    even -= even.mean(axis=0)
    assert effective_rank(even @ even.T) == pytest.approx(8, rel=0.05)
    line = draw.normal(size=(50, 1)) @ draw.normal(size=(1, 30))
    assert effective_rank(gram(line)) == pytest.approx(1)
    assert effective_rank(gram(np.ones((5, 3)))) == 0.0


def test_values_overlaps_and_adapters_of_a_composition(tmp_path: Path) -> None:
    library = tiny_library(tmp_path / "library")
    found = preview(Graph.from_yaml(SPEC), task(tmp_path), library, cache=tmp_path / "cache")
    assert found.rows == 24
    widths = {value.node: value.features for value in found.values}
    assert sorted(widths.values()) == [16, 16, 64]
    assert len(found.overlaps) == 3 and all(0 <= overlap.cka <= 1 for overlap in found.overlaps)
    assert [o.cka for o in found.overlaps] == sorted((o.cka for o in found.overlaps), reverse=True)
    projections = {adapter.op: adapter for adapter in found.adapters if adapter.parameters}
    assert projections["proj"].cost == "trainable" and projections["proj"].parameters in (16 * 17, 16 * 65)
    assert all(adapter.cost in ("lossless", "trainable", "lossy") for adapter in found.adapters)


def test_what_repeats_what_drowns_and_what_hardly_varies_is_said(tmp_path: Path) -> None:
    library = tiny_library(tmp_path / "library")
    document = Graph.from_yaml(SPEC).to_dict()
    nodes: dict[str, Any] = {**document["nodes"]}
    nodes["quiet"] = {"op": "cast", "in": ["grams"], "clip": [0.0, 0.01]}
    nodes["mixed"] = {"op": "concat", "in": ["deep", "quiet"]}
    del nodes["again"]
    said = " ".join(preview(Graph.from_dict({**document, "nodes": nodes}), task(tmp_path), library).warnings)
    assert "times as long as those of quiet" in said and "block_norm" in said

    same = (tmp_path / "rows.csv").read_text().splitlines()
    (tmp_path / "same.csv").write_text("\n".join([same[0], *(f"cat cat,{'ab'[i % 2]}" for i in range(8))]) + "\n")
    flat = preview(Graph.from_yaml(SPEC), Task.from_csv(tmp_path / "same.csv", target="label"), library)
    assert any("hardly varies" in warning for warning in flat.warnings)


def test_too_few_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadTask, match="4 at least"):
        preview(Graph.from_yaml(SPEC), task(tmp_path).subset([0, 1, 2]), tiny_library(tmp_path / "library"))


def test_the_command_line_shows_it(run: Any, tmp_path: Path) -> None:
    tiny_library(tmp_path / "library")
    task(tmp_path)
    (tmp_path / "spec.yaml").write_text(SPEC)
    arguments = ("check", tmp_path / "spec.yaml", "--data", tmp_path / "rows.csv", "--target", "label")
    code, out, err = run(*arguments, "--library", tmp_path / "library")
    assert (code, err) == (0, "") and "in common" in out and "█" in out
    found = json.loads(run(*arguments, "--library", tmp_path / "library", "--json")[1])
    assert found["preview"]["rows"] == 24
