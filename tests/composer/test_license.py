"""Licenses and royalties of whole compositions: by path, by edge, by choice; every cent is dealt out."""

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from composer.check import check
from composer.errors import BadGraph, BadLock
from composer.graph import Graph
from composer.license import Use, judge, mixed_license, notice
from composer.lock import Lock
from composer.parts import parts
from composer.royalty import split, split_fees
from tests.composer._placeholders import resolve

IR = Path(__file__).parent / "ir"
SELL = Use(sell=True)


def locked(name: str, **licenses: str) -> Lock:
    """A lock of an example, with the licenses of some nodes changed."""
    return of(Graph.load(IR / f"{name}.yaml").to_dict(), licenses)


def of(document: Mapping[str, Any], licenses: Mapping[str, str] | None = None) -> Lock:
    nodes = {name: dict(node) for name, node in document["nodes"].items()}
    for name, license in (licenses or {}).items():
        nodes[name]["license"] = license
    return Lock.of(check(Graph.from_dict({**document, "nodes": nodes}), resolve))


def two_images(train: Any = "frozen", **how: Any) -> dict[str, Any]:
    """Two image networks merged, or one of them, into one head."""
    return {
        "composition": 1,
        "name": "merged",
        "adapt": "lossy",
        "nodes": {
            "img": {"op": "input", "type": "image.raw[B]:u8"},
            "one": {"op": "load", "prior": "prior://vit-s", "license": "MIT"},
            "two": {"op": "load", "prior": "prior://vit-s-food", "license": "MIT"},
            "both": {"op": "merge", "in": ["one", "two"], "method": "linear", **how},
            "v": {"op": "net", "in": {"w": "both", "pixels": "img"}, "train": train},
            "y": {"op": "head", "in": ["v"], "labels": ["a", "b"]},
        },
        "outputs": {"y": "y"},
    }


def test_the_path_of_a_prior_says_whether_it_is_changed() -> None:
    paths = {part.node: part.path for part in parts(locked("ex1_two_text_encoders"))}
    assert paths == {"wa": "delta", "wb": "unchanged"}
    paths = {part.node: part.path for part in parts(locked("ex2_image_text"))}
    assert paths == {"wv1": "changed", "wv2": "changed", "wt": "unchanged"}
    assert {part.node: part.path for part in parts(locked("ex3_tabular_fourier_mlp"))}["wm"] == "changed"


def test_nothing_stands_in_the_way_of_free_licenses_and_what_to_keep_is_said() -> None:
    verdict = judge(locked("ex2_image_text"), SELL, resolve)
    assert verdict.allowed is True
    assert verdict.license == "Apache-2.0 AND CC-BY-4.0 AND MIT"
    assert {o.kind for o in verdict.obligations} == {"attribution", "patent"}


def test_a_prior_not_for_money_may_be_shared_but_not_sold_and_the_edge_is_named() -> None:
    lock = locked("ex1_two_text_encoders", wb="CC-BY-NC-4.0")
    assert judge(lock).allowed is True
    [conflict] = judge(lock, SELL).conflicts
    assert (conflict.code, conflict.edge, conflict.licenses) == ("noncommercial", ("wb", "eb"), ("CC-BY-NC-4.0",))
    assert "minilm" in str(conflict) and "Take another prior" in str(conflict)


@pytest.mark.parametrize(
    ("node", "allowed"),
    [("wb", True), ("wal", True), ("wb full", False)],
    ids=["frozen", "lora beside it", "trained"],
)
def test_what_may_not_be_changed_may_be_used_frozen_or_with_a_delta_beside_it(node: str, allowed: bool) -> None:
    document = Graph.load(IR / "ex1_two_text_encoders.yaml").to_dict()
    nodes = {name: dict(found) for name, found in document["nodes"].items()}
    leaf = "wa" if node == "wal" else "wb"
    nodes[leaf]["license"] = "CC-BY-ND-4.0"
    if node == "wb full":
        nodes["eb"]["train"] = "full"
    verdict = judge(of({**document, "nodes": nodes}))
    assert verdict.allowed is allowed
    if node == "wal":
        assert any(o.kind == "apart" and "bert-small" in o.priors for o in verdict.obligations)
    if not allowed:
        assert [(c.code, c.edge) for c in verdict.conflicts] == [("no-derivatives", ("wb", "eb"))]
        assert judge(of({**document, "nodes": nodes}), Use(share=False)).allowed is True


def test_two_licenses_that_each_want_their_own_do_not_merge_but_stand_side_by_side() -> None:
    lock = of(two_images(), {"one": "CC-BY-SA-4.0", "two": "ODbL-1.0"})
    [conflict] = judge(lock).conflicts
    assert conflict.code == "share-alike" and conflict.edge[1] == "both"
    assert "gate, sum or concat" in conflict.fix

    document = two_images()
    nodes: dict[str, Any] = {name: node for name, node in document["nodes"].items() if name != "both"}
    nodes["one"] |= {"license": "CC-BY-SA-4.0"}
    nodes["two"] |= {"license": "ODbL-1.0"}
    nodes["v"] = {"op": "net", "in": {"w": "one", "pixels": "img"}}
    nodes["w"] = {"op": "net", "in": {"w": "two", "pixels": "img"}}
    nodes["sum"] = {"op": "sum", "in": ["v", "w"]}
    nodes["y"] = {**nodes["y"], "in": ["sum"]}
    assert judge(of({**document, "nodes": nodes})).allowed is True


def test_share_alike_of_one_part_binds_the_merged_file_and_nothing_else() -> None:
    verdict = judge(of(two_images(), {"one": "MIT", "two": "CC-BY-SA-4.0"}))
    assert verdict.license == "CC-BY-SA-4.0"
    assert any(o.kind == "same license" and "'both' under CC-BY-SA-4.0" in o.text for o in verdict.obligations)
    frozen = judge(locked("ex1_two_text_encoders", wb="CC-BY-SA-4.0"))
    assert not any(o.kind == "same license" for o in frozen.obligations)


def test_of_a_choice_of_licenses_the_one_that_fits_is_taken() -> None:
    lock = of(two_images(), {"one": "GPL-2.0-only OR MIT", "two": "Apache-2.0"})
    assert judge(lock).conflicts == () and judge(lock).license == "Apache-2.0 AND MIT"
    lock = of(two_images(), {"one": "GPL-2.0-only AND MIT", "two": "Apache-2.0"})
    assert [c.code for c in judge(lock).conflicts] == ["further-restrictions"]


def test_an_unknown_license_is_neither_yes_nor_no() -> None:
    verdict = judge(locked("ex1_two_text_encoders", wb="LicenseRef-house-rules"), SELL)
    assert verdict.allowed is None and verdict.unknown == ("minilm",)
    asking = judge(locked("ex1_two_text_encoders", wb="LicenseRef-llama3.1"), SELL)
    assert asking.allowed is None and any(o.kind == "users" for o in asking.obligations)


def test_a_license_or_fee_that_the_graph_made_up_is_found_out() -> None:
    document = Graph.load(IR / "ex1_two_text_encoders.yaml").to_dict()
    nodes = {name: dict(node) for name, node in document["nodes"].items()}
    nodes["wa"] |= {"license": "MIT", "fee_bp": 1}
    codes = [(c.code, c.edge) for c in judge(of({**document, "nodes": nodes}), resolve=resolve).conflicts]
    assert codes == [("misstated", ("wal", "ea"))] * 2 or codes == [("misstated", ("wa", "wal"))] * 2
    assert judge(locked("ex1_two_text_encoders"), resolve=resolve).conflicts == ()


def test_the_notice_names_every_part_its_license_and_what_became_of_it() -> None:
    lock = locked("ex2_image_text")
    text = notice(lock.name, judge(lock), [("For them", "Copyright 2020 Somebody")])
    for wanted in ("vit-s-food", "CC-BY-4.0", "Changed", "Used unchanged.", "Copyright 2020 Somebody"):
        assert wanted in text
    assert notice(lock.name, judge(lock)) == notice(lock.name, judge(locked("ex2_image_text")))


def test_a_changed_license_or_price_breaks_the_seal_and_not_the_structure() -> None:
    lock = locked("ex1_two_text_encoders")
    other = locked("ex1_two_text_encoders", wb="Apache-2.0")
    assert lock.structure == other.structure and lock.seal != other.seal
    edited = lock.to_json().replace('"license": "MIT"', '"license": "CC0-1.0"')
    with pytest.raises(BadLock, match="seal"):
        Lock.from_json(edited)


# ---- royalties


@pytest.mark.parametrize(
    ("name", "total"), [("ex1_two_text_encoders", 500), ("ex2_image_text", 700), ("ex3_tabular_fourier_mlp", 200)]
)
def test_the_worked_examples_give_the_worked_sums(name: str, total: int) -> None:
    found = split(locked(name), 100_000)
    assert sum(share.fee_bp for share in found.shares) == total
    assert found.own == 100_000 - total * 10 and not found.capped


def test_a_prior_that_stands_twice_is_paid_once() -> None:
    document = two_images()
    document["nodes"]["two"] = {**document["nodes"]["two"], "prior": "prior://vit-s"}
    for leaf in ("one", "two"):
        document["nodes"][leaf]["fee_bp"] = 250
    assert [share.fee_bp for share in split(of(document), 10_000).shares] == [250]


def test_above_the_cap_all_are_scaled_alike_and_the_largest_remainder_gets_the_cent() -> None:
    found = split_fees({"a": 6_000, "b": 3_000}, 100, cap_bp=5_000)
    assert found.capped and [(s.ref, s.cents) for s in found.shares] == [("a", 33), ("b", 17)] and found.own == 50
    assert [s.cents for s in split_fees({"a": 3_333, "b": 3_333, "c": 3_334}, 1, 10_000).shares] == [0, 0, 1]


@given(
    st.lists(st.integers(0, 10_000), max_size=20).map(lambda all_bp: {f"p{i}": bp for i, bp in enumerate(all_bp)}),
    st.integers(0, 10**9),
    st.integers(0, 10_000),
)
def test_every_cent_is_dealt_out_and_nobody_is_a_cent_off(fees: dict[str, int], price: int, cap: int) -> None:
    found = split_fees(fees, price, cap)
    assert found.own + sum(share.cents for share in found.shares) == price
    assert found.own >= 0
    for share in found.shares:
        assert abs(share.cents - price * share.due_bp / 10_000) < 1
    assert sum(share.due_bp for share in found.shares) <= cap


@pytest.mark.parametrize("seed", range(20))
def test_random_graphs_conserve_the_price_and_do_not_depend_on_names(seed: int) -> None:
    draw = random.Random(seed)
    document, renamed = _random_graph(draw, "n"), _random_graph(random.Random(seed), "m")
    price = draw.randrange(10**6)
    found, other = split(of(document), price), split(of(renamed), price)
    assert found.own + sum(share.cents for share in found.shares) == price
    assert found == other
    assert len(found.shares) == len({node["prior"] for node in document["nodes"].values() if node["op"] == "load"})


def _random_graph(draw: random.Random, stem: str) -> dict[str, Any]:
    """Image networks merged and summed at random, with fees that may exceed the cap."""
    nodes: dict[str, Any] = {"img": {"op": "input", "type": "image.raw[B]:u8"}}
    values, weights = [], []
    fee = {"vit-s": draw.randrange(6_000), "vit-s-food": draw.randrange(6_000)}
    for number in range(draw.randrange(2, 7)):
        name = f"{stem}{number}"
        prior = draw.choice(sorted(fee))
        nodes[name] = {"op": "load", "prior": f"prior://{prior}", "fee_bp": fee[prior]}
        if weights and draw.random() < 0.5:
            nodes[f"{name}m"] = {"op": "merge", "in": [name, draw.choice(weights)], "method": "linear"}
            name = f"{name}m"
        weights.append(name)
        nodes[f"{name}v"] = {"op": "net", "in": {"w": name, "pixels": "img"}}
        values.append(f"{name}v")
    nodes["sum"] = {"op": "sum", "in": values}
    nodes["y"] = {"op": "head", "in": ["sum"], "labels": ["a", "b"]}
    return {"composition": 1, "name": "random", "adapt": "lossy", "nodes": nodes, "outputs": {"y": "y"}}


def test_a_price_or_cap_that_cannot_be_is_refused() -> None:
    for price, cap in ((-1, 5_000), (1, 10_001), (1, -1)):
        with pytest.raises(BadGraph, match="cannot be"):
            split_fees({"a": 1}, price, cap)


# ---- one file made of several


@pytest.mark.parametrize(
    ("licenses", "whole", "why"),
    [
        (["MIT", "Apache-2.0"], "Apache-2.0 AND MIT", ""),
        (["MIT", "GPL-3.0-only"], "GPL-3.0-only", ""),
        (["MIT OR GPL-2.0-only", "GPL-3.0-only"], "GPL-3.0-only", ""),
        (["GPL-2.0-only", "GPL-3.0-only"], "GPL-2.0-only AND GPL-3.0-only", "both ask for their own license"),
        (["MIT", "CC-BY-ND-4.0"], "MIT AND CC-BY-ND-4.0", "does not permit publishing"),
        (["LicenseRef-own", "MIT OR ISC", ""], "LicenseRef-own AND (MIT OR ISC) AND NOASSERTION", ""),
    ],
)
def test_what_merged_parameters_may_be_published_under(licenses: list[str], whole: str, why: str) -> None:
    found, said = mixed_license(licenses)

    assert found == whole and why in said and bool(why) == bool(said)
