"""Compositions inside compositions: the same numbers as alone, one identity, one license, and frozen."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from composer.check import check
from composer.composition import Composition
from composer.errors import BadGraph, BadLock, WeightsMismatch
from composer.export import export
from composer.graph import Graph
from composer.license import judge
from composer.lock import Lock
from composer.lower import Lowered, lower
from composer.nested import resolver
from composer.royalty import split
from priors.errors import UnknownPrior
from priors.library import LocalLibrary
from priors.manifest import PriorRef
from tests.composer._tiny import fill, tiny_library

TEXTS = ["the cat sat", "", "a very big dog ran under the red mat", "dog"]
INNER = {
    "text": {"op": "input", "type": "text.raw[B]:str"},
    "row": {"op": "input", "type": "vec.feat[B,D:2]:f32"},
    "w": {"op": "load", "prior": "prior://tiny/words"},
    "deep": {"op": "net", "in": {"w": "w", "ids": "text"}},
    "flat": {"op": "pool", "in": ["deep"], "axis": "T"},
    "both": {"op": "concat", "in": ["flat", "row"]},
    "y": {"op": "head", "in": ["both"], "labels": ["no", "yes"]},
}
OUTER = {
    "message": {"op": "input", "type": "text.raw[B]:str"},
    "numbers": {"op": "input", "type": "vec.feat[B,D:2]:f32"},
    "spam": {"op": "load", "prior": "prior://ann/spam"},
    "guess": {"op": "net", "in": {"w": "spam", "text": "message", "row": "numbers"}, "tap": "y"},
    "tokens": {"op": "net", "in": {"w": "spam", "text": "message", "row": "numbers"}, "tap": "deep"},
    "mean": {"op": "pool", "in": ["tokens"], "axis": "T"},
    "all": {"op": "concat", "in": ["guess", "mean"]},
    "z": {"op": "head", "in": ["all"], "labels": ["a", "b", "c"]},
}


def build(library: LocalLibrary, nodes: dict[str, Any], outputs: dict[str, str], name: str) -> Lowered:
    document = {"composition": 1, "name": name, "adapt": "trainable", "nodes": nodes, "outputs": outputs}
    graph = Graph.from_dict(document)
    model = lower(Lock.of(check(graph, resolver(library))), library)
    fill(model)
    folder = Path(library.root) / "ann" / name
    Composition(graph, model.lock, model, {}).save(folder)
    return model


@pytest.fixture
def library(tmp_path: Path) -> LocalLibrary:
    library = tiny_library(tmp_path)
    build(library, INNER, {"y": "y", "deep": "deep"}, "spam")
    return library


def columns(count: int = 4) -> dict[str, Any]:
    return {"message": TEXTS[:count], "numbers": np.arange(8.0).reshape(4, 2)[:count]}


def test_what_is_inside_gives_the_same_numbers_as_alone(library):
    inner, outer = (
        build(library, INNER, {"y": "y", "deep": "deep"}, "again"),
        build(library, OUTER, {"z": "z"}, "outer"),
    )

    given = columns()
    ours = outer.features(given, ["guess", "mean"])
    theirs = inner.features({"text": given["message"], "row": given["numbers"]}, ["y", "flat"])

    np.testing.assert_allclose(ours["guess"], theirs["y"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(ours["mean"], theirs["flat"], rtol=1e-5, atol=1e-6)


def test_two_outputs_of_one_inner_composition_share_one_pass(library):
    outer = build(library, OUTER, {"z": "z"}, "outer")

    assert [step.source for step in outer.host] == ["numbers", "message"]
    assert sum("/deep" in slot for step in outer.steps for slot in step.gives) == 1


def test_an_inner_composition_is_frozen_and_not_saved_again(library):
    outer = build(library, OUTER, {"z": "z"}, "outer")

    assert sorted(outer.learned_state()) == ["z.bias", "z.temperature", "z.weight"]
    assert {name for name, p in outer.module.named_parameters() if p.requires_grad} == {
        name for name, p in outer.module.named_parameters() if any(p is q for q in outer.learned["z"].parameters())
    }


def test_a_composition_of_compositions_saves_loads_and_exports(library, tmp_path):
    build(library, OUTER, {"z": "z"}, "outer")
    third = {
        "m": {"op": "input", "type": "text.raw[B]:str"},
        "n": {"op": "input", "type": "vec.feat[B,D:2]:f32"},
        "o": {"op": "load", "prior": "prior://ann/outer"},
        "out": {"op": "net", "in": {"w": "o", "message": "m", "numbers": "n"}},
        "y": {"op": "head", "in": ["out"], "labels": ["p", "q"]},
    }
    model = build(library, third, {"y": "y"}, "third")

    found = Composition.load(library.root / "ann" / "third", library=library)

    given = {"m": TEXTS, "n": np.arange(8.0).reshape(4, 2)}
    ours = model.features(given, ["y"])["y"]
    assert np.array_equal(found.lowered.features(given, ["y"])["y"], ours)
    assert export(found, tmp_path / "third.pt2").max_abs_diff < 1e-4


def test_the_identity_inside_is_part_of_the_identity_outside(library):
    def structure() -> str:
        document = {"composition": 1, "adapt": "trainable", "nodes": OUTER, "outputs": {"z": "z"}}
        return check(Graph.from_dict(document), resolver(library)).structure

    before = structure()
    model = build(library, INNER, {"y": "y", "deep": "deep"}, "spam")
    assert structure() == before  # the same parameters again

    fill(model, seed=9)
    graph = Graph.load(library.root / "ann" / "spam" / "composition.json")
    Composition(graph, model.lock, model, {}).save(library.root / "ann" / "spam")

    assert structure() != before


def test_its_license_and_its_fee_are_those_of_all_its_parts(library):
    nodes = {**INNER, "w": {**INNER["w"], "license": "MIT OR Apache-2.0"}}
    nodes["v"] = {"op": "load", "prior": "prior://tiny/mlp", "license": "CC-BY-4.0", "fee_bp": 300}
    nodes["x3"] = {"op": "input", "type": "tab.num[B,C:3]:f32"}
    nodes["m"] = {"op": "net", "in": {"w": "v", "x": "x3"}}
    nodes["both"] = {"op": "concat", "in": ["flat", "row", "m"]}
    build(library, nodes, {"y": "y"}, "licensed")

    found = resolver(library)(PriorRef.parse("ann/licensed"))

    assert found.license.spdx == "(MIT OR Apache-2.0) AND CC-BY-4.0" and found.fee_bp == 300
    assert {name: str(t) for name, t in found.taps.items()} == {"y": "dist.logits[B,K:2]:f32"}


def test_priors_inside_are_paid_each_and_once_wherever_they_stand(library):
    nodes = {**INNER, "w": {**INNER["w"], "fee_bp": 200}}
    nodes["v"] = {"op": "load", "prior": "prior://tiny/mlp", "fee_bp": 300}
    nodes["x3"] = {"op": "input", "type": "tab.num[B,C:3]:f32"}
    nodes["m"] = {"op": "net", "in": {"w": "v", "x": "x3"}}
    nodes["both"] = {"op": "concat", "in": ["flat", "row", "m"]}
    build(library, nodes, {"y": "y"}, "paid")
    inner = {"op": "load", "prior": "prior://ann/paid"}
    outer = {
        **{name: node for name, node in nodes.items() if node["op"] == "input"},
        "inner": inner,
        "guess": {"op": "net", "in": {"w": "inner", "text": "text", "row": "row", "x3": "x3"}, "tap": "y"},
        "v": {**nodes["v"], "fee_bp": 250},
        "m": nodes["m"],
        "all": {"op": "concat", "in": ["guess", "m"]},
        "z": {"op": "head", "in": ["all"], "labels": ["a", "b", "c"]},
    }

    def shares(**more: Any) -> dict[str, int]:
        lock = build(library, {**outer, **more}, {"z": "z"}, "outer").lock
        assert judge(lock, resolve=resolver(library)).conflicts == ()
        found = split(Lock.from_json(lock.to_json()), 9_999)
        assert found.own + sum(share.cents for share in found.shares) == 9_999
        return {share.ref.partition("@")[0].removeprefix("prior://"): share.fee_bp for share in found.shares}

    assert shares() == {"tiny/mlp": 300, "tiny/words": 200}
    assert shares(inner={**inner, "fee_bp": 900}) == {"ann/paid": 400, "tiny/mlp": 300, "tiny/words": 200}
    assert shares(inner={**inner, "fees": {"fn:nobody": 1}}) == {"tiny/mlp": 300, "tiny/words": 200}
    deeper = {
        "text": outer["text"], "row": outer["row"], "x3": outer["x3"],
        "w": {"op": "load", "prior": "prior://ann/outer"},
        "y": {"op": "net", "in": {"w": "w", "text": "text", "row": "row", "x3": "x3"}, "tap": "z"},
    }  # fmt: skip
    build(library, deeper, {"y": "y"}, "deeper")
    assert resolver(library)(PriorRef.parse("ann/deeper")).fee_bp == 500


@pytest.mark.parametrize(
    ("changes", "kind", "says"),
    [
        ({"guess": {**OUTER["guess"], "train": "full"}}, BadGraph, "stays frozen"),
        ({"spam2": {"op": "delta", "in": ["spam"], "kind": "lora"}}, WeightsMismatch, "composition has many"),
        ({"guess": {**OUTER["guess"], "tap": "nothing"}}, Exception, "Nearest"),
        ({"guess": {"op": "net", "in": {"w": "spam", "text": "message"}}}, Exception, "'row' is not wired"),
        ({"spam": {"op": "load", "prior": "prior://ann/spam@sha256:" + "0" * 64}}, BadLock, "not sha256:0000"),
        ({"spam": {"op": "load", "prior": "prior://ann/nothing"}}, UnknownPrior, "no prior is called"),
    ],
)
def test_what_a_composition_inside_cannot_be_is_named(changes, kind, says, library):
    nodes = {**OUTER, **changes}
    if "spam2" in changes:
        nodes["guess"] = {**OUTER["guess"], "in": {**OUTER["guess"]["in"], "w": "spam2"}}

    with pytest.raises(kind) as caught:
        build(library, nodes, {"z": "z"}, "outer")

    assert says in str(caught.value)


def test_a_flipped_byte_inside_is_refused(library):
    build(library, OUTER, {"z": "z"}, "outer")
    path = library.root / "ann" / "spam" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)

    with pytest.raises(Exception, match="sha256"):
        Composition.load(library.root / "ann" / "outer", library=library)


def test_gradients_stop_at_what_is_inside(library):
    outer = build(library, OUTER, {"z": "z"}, "outer")

    outer.module(*outer.encode(columns()))[0].square().sum().backward()

    inner = [p for p in outer.module.parameters() if not any(p is q for q in outer.learned["z"].parameters())]
    assert inner and all(p.grad is None for p in inner)
    assert isinstance(outer.learned["z"].weight, torch.nn.Parameter)


def test_verifying_a_composition_verifies_those_inside_it(library):
    from composer.predictions import verify_folder

    build(library, OUTER, {"z": "z"}, "outer")
    assert any("ann/spam" in name for name in verify_folder(library.root / "ann" / "outer", lambda: library)["checked"])

    (library.root / "tiny" / "words" / "tokenizer.json").write_text("{}")
    with pytest.raises(Exception, match=r"tokenizer\.json"):
        verify_folder(library.root / "ann" / "outer", lambda: library)
