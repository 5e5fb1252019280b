"""Checking: what people write is typed, adapters go where they belong, and hashes name what is computed."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from composer.check import Checked, check
from composer.errors import BadGraph, PortMismatch
from composer.graph import Graph
from priors.manifest import Definition, License, PriorManifest, PriorRef
from priors.types import parse
from tests.composer._placeholders import Placeholder, network
from tests.composer._written import HEAD, LOAD, NET, TEXT, composition, run


def ops(found: Checked) -> list[str]:
    return [f"{node.name}: {node.op}" for node in found.inserted]


def test_what_fit_writes_is_typed_with_its_adapters_and_frontier() -> None:
    found = run(composition())

    assert ops(found) == ["text~encode~deep: encode", "deep~pool~b0: pool"]
    assert str(found.type_of("all")) == f"vec.feat[B,D:{384 + 64}]:f32"
    assert found.frontier == ("char", "deep~pool~b0")
    assert found.node("b0").attrs["fit"] == "train"
    assert found.needs_fit


def test_an_encoder_carries_its_prior_and_what_decides_its_tensors() -> None:
    encode = run(composition()).node("text~encode~deep")

    assert encode.attrs["prior"] == "prior://minilm@sha256:bbbb"
    assert encode.attrs["spec"].startswith("sha256:")


def test_two_taps_of_one_prior_share_the_hash_of_their_encoder() -> None:
    nodes = composition(deep2={**NET}, all={"op": "concat", "in": ["b0", "b1", "deep2"]})

    found = run(nodes)

    assert found.node("text~encode~deep").hash == found.node("text~encode~deep2").hash


def test_a_tap_that_is_not_given_is_the_default_one() -> None:
    found = run(composition(deep={"op": "net", "in": {"w": "w", "ids": "text"}}))

    assert found.node("deep").attrs["tap"] == "last_hidden"
    assert found.structure == run(composition()).structure


def test_columns_licenses_fees_training_and_names_do_not_change_the_structure() -> None:
    base = run(composition()).structure

    assert run(composition(text={**TEXT, "column": "other"})).structure == base
    assert run(composition(w={**LOAD, "license": "MIT", "fee_bp": 900})).structure == base
    assert run(composition(deep={**NET, "train": "full"})).structure == base
    assert run(composition(), name="other", fit={"seed": 3, "epochs": 9}).structure == base
    assert run(composition(w={**LOAD, "prior": "prior://someone/minilm@sha256:bbbb"})).structure == base


@pytest.mark.parametrize(
    "changes",
    [
        {"char": {"op": "fn", "fn": "char_ngrams", "in": ["text"], "dim": 65}},
        {"w": {"op": "load", "prior": "prior://x"}},
        {"all": {"op": "concat", "in": ["b1", "b0"]}},
        {"y": {**HEAD, "in": ["all"], "labels": ["b", "a"]}},
        {"b1": {"op": "fn", "fn": "quantile", "in": ["char"]}},
    ],
)
def test_what_decides_outputs_changes_the_structure(changes: dict[str, Any]) -> None:
    assert run(composition(**changes)).structure != run(composition()).structure


def test_whole_numbers_hash_alike_however_they_are_written() -> None:
    weight = composition(b0={"op": "fn", "fn": "standardize", "in": ["deep"], "mode": "block", "weight": 2})

    assert run(weight).structure == run(composition()).structure


def test_a_gate_brings_every_operand_into_the_space_of_the_first() -> None:
    gate = {"op": "gate", "in": ["b0", "b1", "b0"]}

    found = run(composition(all=gate))

    assert ops(found)[-1] == "b1~proj~all: proj"
    assert found.node("all").sources == ("b0", "b1~proj~all", "b0")
    assert found.node("b1~proj~all").attrs["d_in"] == 64
    assert found.type_of("all").dim("D") == 384
    assert found.type_of("all").space == found.type_of("b1~proj~all").space is not None


def test_operands_of_one_length_and_different_spaces_are_still_projected() -> None:
    nodes = {
        "text": TEXT,
        "w": LOAD,
        "x": {"op": "load", "prior": "prior://x"},
        "a": NET,
        "b": {"op": "net", "in": {"w": "x", "ids": "text"}},
        "mix": {"op": "gate", "in": ["a", "b"], "type": "vec.feat[B,D:384]:f32"},
        "y": {**HEAD, "in": ["mix"]},
    }

    assert "b~pool~mix~proj~mix: proj" in ops(run(nodes))


def test_one_value_read_twice_is_adapted_once() -> None:
    found = run(composition(b0={"op": "concat", "in": ["deep", "deep"]}))

    assert found.node("b0").sources == ("deep~pool~b0", "deep~pool~b0")
    assert found.type_of("b0").dim("D") == 768


def test_rows_and_classes_become_features_without_losing_anything() -> None:
    nodes = {
        "x": {"op": "input", "type": "tab.num[B,C:3]:f64{cols=a|b|c}"},
        "logits": {"op": "head", "in": ["x"], "labels": ["p", "q"]},
        "all": {"op": "concat", "in": ["x", "logits"]},
        "y": {"op": "head", "in": ["all"], "target": "t"},
    }

    found = run(nodes, adapt="lossless")

    assert ops(found) == [
        "x~layout~logits: layout",
        "x~layout~logits~cast~logits: cast",
        "x~layout~all: layout",
        "logits~layout~all: layout",
        "logits~layout~all~cast~all: cast",
        "all~cast~y: cast",
    ]
    assert found.node("x~layout~all").attrs == {"order": ["B", "D"], "rename": {"C": "D"}}
    assert str(found.type_of("all")) == "vec.feat[B,D:5]:f64"
    assert str(found.type_of("y")) == "vec.feat[B,D:1]:f32"


def test_a_map_is_pooled_over_both_sides() -> None:
    def maps(ref: PriorRef) -> PriorManifest:
        inputs = {"pixels": "image.pixels[B,C:3,H:32,W:32]:f32{norm=plain}"}
        return network("cnn", inputs, {"map": "image.map[B,D:16,H:4,W:4]:f32"}, architecture="cnn", sha256="ffff")

    graph = Graph.from_dict(
        {
            "composition": 1,
            "adapt": "trainable",
            "nodes": {
                "img": {"op": "input", "type": "image.raw[B]:u8"},
                "w": {"op": "load", "prior": "cnn"},
                "map": {"op": "net", "in": {"w": "w", "pixels": "img"}},
                "y": {**HEAD, "in": ["map"]},
            },
            "outputs": {"y": "y"},
        }
    )

    found = check(graph, maps)

    assert ops(found) == ["img~encode~map: encode", "map~pool~y: pool", "map~pool~y~pool~y: pool"]
    assert str(found.node("map~pool~y").type).startswith("image.map[B,D:16,W:4]")
    assert str(found.node("map~pool~y~pool~y").type).startswith("vec.feat[B,D:16]")


def test_symbols_are_solved_through_edges_and_apart_for_each_node() -> None:
    def doubler(ref: PriorRef) -> PriorManifest:
        return network(
            "d", {"x": "vec.feat[B,D:n]:f32"}, {"out": "vec.feat[B,D:n*2]:f32"}, architecture="d", sha256="abcd"
        )

    graph = Graph.from_dict(
        {
            "composition": 1,
            "nodes": {
                "x": {"op": "input", "type": "vec.feat[B,D:3]:f32"},
                "w": {"op": "load", "prior": "d"},
                "twice": {"op": "net", "in": {"w": "w", "x": "x"}},
                "again": {"op": "net", "in": {"w": "w", "x": "twice"}},
            },
            "outputs": {"y": "again"},
        }
    )

    found = check(graph, doubler)

    assert (found.type_of("twice").dim("D"), found.type_of("again").dim("D")) == (6, 12)


def test_tokens_stay_tokens_when_another_length_is_open() -> None:
    found = run(
        {"text": TEXT, "w": LOAD, "deep": NET, "copy": {"op": "cast", "in": ["deep"], "dtype": "f16"}}, output="copy"
    )

    assert str(found.type_of("copy")).startswith("text.tokens[B,T,D:384]:f16@minilm/last_hidden/")


@pytest.mark.parametrize(
    ("adapt", "allowed"),
    [("none", []), ("lossless", ["encode"]), ("trainable", ["encode", "pool"]), ("lossy", ["encode", "pool"])],
)
def test_adapt_caps_what_is_inserted(adapt: str, allowed: list[str]) -> None:
    nodes = {"text": TEXT, "w": LOAD, "deep": NET, "y": {**HEAD, "in": ["deep"]}}

    if "pool" in allowed:
        assert [node.op for node in run(nodes, adapt=adapt).inserted] == allowed
    else:
        with pytest.raises(PortMismatch, match=f"adapt: {adapt}"):
            run(nodes, adapt=adapt)


def test_a_strict_composition_counts_pooling_over_time_as_lossy() -> None:
    nodes = {"text": TEXT, "w": LOAD, "deep": NET, "y": {**HEAD, "in": ["deep"]}}

    assert run(nodes, adapt="lossy", strict=True).inserted
    with pytest.raises(PortMismatch, match="Write 'adapt: lossy'"):
        run(nodes, adapt="trainable", strict=True)


@pytest.mark.parametrize("train", ["full", {"last": 2}])
def test_a_net_that_is_trained_moves_the_frontier_before_it(train: Any) -> None:
    assert "text~encode~deep" in run(composition(deep={**NET, "train": train})).frontier


def function_prior(ref: PriorRef) -> PriorManifest:
    return Placeholder(
        name="chars",
        version="1",
        summary="placeholder",
        kind="function",
        inputs={"x": parse("text.raw[B]:str")},
        taps={"out": parse("vec.feat[B,D:64]:f32")},
        default_tap="out",
        license=License("CC0-1.0"),
        function=Definition("char_ngrams", {"dim": 64}),
        fee_bp=25,
        made_up="1234",
    )


def function_graph(**fn: Any) -> Graph:
    nodes = {
        "text": TEXT,
        "c": {"op": "fn", "fn": "char_ngrams", "in": ["text"], "prior": "prior://priorhub/chars", **fn},
        "y": {**HEAD, "in": ["c"]},
    }
    return Graph.from_dict({"composition": 1, "nodes": nodes, "outputs": {"y": "y"}})


def test_a_function_prior_brings_its_configuration_license_and_hash() -> None:
    found = check(function_graph(), function_prior).node("c")

    assert found.attrs["config"] == {"dim": 64}
    assert found.attrs["prior"] == "prior://priorhub/chars@sha256:1234"
    assert (found.attrs["license"], found.attrs["fee_bp"]) == ("CC0-1.0", 25)


def test_a_function_prior_of_another_function_is_refused() -> None:
    with pytest.raises(BadGraph, match="is 'char_ngrams'"):
        check(function_graph(fn="word_ngrams"), function_prior)
    with pytest.raises(BadGraph, match="is a function"):
        nodes = {"w": {"op": "load", "prior": "prior://priorhub/chars"}}
        check(Graph.from_dict({"composition": 1, "nodes": nodes, "outputs": {"y": "w"}}), function_prior)


def test_every_op_that_can_be_written_can_be_typed() -> None:
    """The ops that this version does not run yet are checked all the same: a lock outlives the version that runs it."""
    nodes = {
        "text": TEXT,
        "w": LOAD,
        "w2": {"op": "load", "prior": "prior://x"},
        "merged": {"op": "merge", "in": ["w", "w2"], "method": "slerp", "t": 0.5},
        "spliced": {"op": "splice", "in": ["merged"], "layers": [[0, 0, 4]]},
        "retok": {"op": "retok", "in": ["spliced"], "vocab": "bert"},
        "lora": {"op": "delta", "in": ["retok"], "kind": "lora", "r": 8},
        "ids": {"op": "encode", "in": ["text"], "to": "text.ids[B,T]:i64{vocab=minilm}", "prior": "prior://minilm"},
        "deep": {"op": "net", "in": {"w": "lora", "ids": "ids"}, "train": "delta"},
        "short": {"op": "resample", "in": ["deep"], "axis": "T", "n": 4},
        "turned": {"op": "layout", "in": ["short"], "order": ["B", "D", "T"]},
        "back": {"op": "layout", "in": ["turned"], "order": ["B", "T", "D"]},
        "x": {"op": "attend", "in": {"q": "back", "kv": "deep"}, "heads": 6},
        "chosen": {"op": "route", "in": ["x", "back"], "top_k": 1},
        "pooled": {"op": "pool", "in": ["chosen"], "axis": "T", "kind": "max"},
        "small": {"op": "proj", "in": ["pooled"], "d_out": 16},
        "bias": {"op": "const", "type": "vec.feat[B,D:16]:f32", "value": 0.5},
        "token": {"op": "expand", "in": ["small"], "axis": "T"},
        "flat": {"op": "pool", "in": ["token"], "axis": "T"},
        "total": {"op": "sum", "in": ["flat", "bias"], "weights": "learned"},
        "y": {"op": "head", "in": ["total"], "labels": ["a", "b"]},
        "p": {"op": "cast", "in": ["y"], "domain": "probs"},
        "word": {"op": "decode", "in": ["p"], "labels": ["a", "b"]},
    }

    found = run(nodes, output="word")

    assert str(found.type_of("word")) == "text.raw[B]:str"
    assert "~near:bbbb" in (found.type_of("deep").space or "")
    assert found.node("bias").hash
    bridged = {
        "text": TEXT,
        "ids": nodes["ids"],
        "b": {"op": "bridge", "in": ["ids"], "vocab": "bert", "prior": "prior://bert-small"},
    }
    assert str(run(bridged, output="b").type_of("b")) == "text.ids[B,T]:i64{vocab=bert}"


@given(st.permutations(list(composition().items())))
def test_the_order_in_which_nodes_are_written_changes_no_hash(items: list[tuple[str, Any]]) -> None:
    assert run(dict(items)).structure == run(composition()).structure
