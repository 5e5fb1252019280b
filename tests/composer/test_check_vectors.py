"""The design's examples resolve as they stand there, and its rejected ones are refused with cause and fix."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from composer.check import Checked, check
from composer.errors import BadGraph, PortMismatch
from composer.graph import Graph
from tests.composer._placeholders import resolve
from tests.processor_time import within

IR = Path(__file__).parent / "ir"
EXAMPLES = ["ex1_two_text_encoders", "ex2_image_text", "ex3_tabular_fourier_mlp"]


def checked(name: str) -> Checked:
    return check(Graph.load(IR / f"{name}.yaml"), resolve)


def vector(name: str) -> dict[str, Any]:
    return json.loads((IR / f"{name}.lock.json").read_text())


def without_weight_hash(shown: str) -> str:
    """A type with its space named `arch/tap`, as the vectors write it."""
    return re.sub(r"(@[^/]+/[^/{]+)/[^{]*", r"\1", shown)


@pytest.mark.parametrize("name", [*EXAMPLES, "alpha"])
def test_a_vector_resolves_to_the_nodes_ops_wires_and_types_of_its_lock(name: str) -> None:
    found = checked(name)

    assert [
        (node.name, node.op, list(node.sources), without_weight_hash(node.shown_type), node.auto)
        for node in found.nodes
    ] == [
        (
            node_name,
            node["op"],
            list(node.get("in", {}).values()) if isinstance(node.get("in"), dict) else node.get("in", []),
            node["type"],
            node.get("auto", False),
        )
        for node_name, node in vector(name)["nodes"].items()
    ]


def test_the_attributes_of_inserted_adapters_are_those_of_the_vectors() -> None:
    for name in EXAMPLES:
        theirs = vector(name)["nodes"]
        for node in checked(name).inserted:
            for key in {"to", "axis", "kind", "mask", "d_in", "d_out"} & theirs[node.name].keys():
                assert node.attrs[key] == theirs[node.name][key]


def test_the_frozen_frontier_is_the_one_in_the_design() -> None:
    assert [checked(name).frontier for name in EXAMPLES] == [
        ("text~encode~ea", "eb~pool~fused"),
        ("img~encode~v", "t"),
        ("phys",),
    ]


def test_output_types_are_those_in_the_design() -> None:
    assert [str(checked(name).type_of("y")) for name in EXAMPLES] == [
        "dist.logits[B,K:2]:f32",
        "dist.logits[B,K:5]:f32",
        "vec.feat[B,D:1]:f32{unit=rad}",
    ]


def test_renaming_nodes_changes_no_hash() -> None:
    one, other = checked("ex1_two_text_encoders"), checked("alpha")

    assert one.structure == other.structure
    assert [node.hash for node in one.nodes] == [node.hash for node in other.nodes]


@pytest.mark.parametrize(
    ("name", "kind", "says"),
    [
        ("n1", PortMismatch, ["'ea' -> 'fused'", "needs pool", "adapt: lossless", "Write 'adapt: trainable'"]),
        ("n2", PortMismatch, ["'wv'", "across architectures minilm and vit-s", "splice"]),
        ("n3", PortMismatch, ["'res' -> 'y'", "unit=deg", "unit=rad", "op: cast"]),
        ("n4", BadGraph, ["'fused'", "python_eval", "the set is closed"]),
        ("n5", PortMismatch, ["'img' -> 't'", "image.raw[B]:u8", "text.ids[B,T]", "text input"]),
    ],
)
def test_a_rejected_vector_is_refused_with_cause_and_fix(name: str, kind: type[Exception], says: list[str]) -> None:
    with pytest.raises(kind) as caught:
        checked(f"rejected/{name}")

    assert all(part in str(caught.value) for part in says)


def test_checking_the_examples_takes_less_than_a_tenth_of_a_second() -> None:
    graphs = [Graph.load(IR / f"{name}.yaml") for name in EXAMPLES]
    with within(0.1):
        for graph in graphs:
            check(graph, resolve)
