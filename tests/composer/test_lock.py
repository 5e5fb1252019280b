"""Locks: written and read they are the same, edited they do not load, and they are exactly their graph's."""

import copy
import json
import random
from pathlib import Path
from typing import Any

import pytest

from composer.check import check
from composer.errors import BadLock, NotReady
from composer.graph import Graph
from composer.lock import Lock
from priors.manifest import PriorRef
from tests.composer._placeholders import resolve
from tests.processor_time import within

IR = Path(__file__).parent / "ir"
EXAMPLES = ["ex1_two_text_encoders", "ex2_image_text", "ex3_tabular_fourier_mlp", "alpha"]
WEIGHTS = "a" * 64


def graph(name: str = "ex1_two_text_encoders") -> Graph:
    return Graph.load(IR / f"{name}.yaml")


def locked(name: str = "ex1_two_text_encoders") -> Lock:
    return Lock.of(check(graph(name), resolve))


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_lock_survives_its_own_json(name: str) -> None:
    lock = locked(name)

    assert Lock.from_json(lock.to_json()) == lock
    assert Lock.from_json(lock.fitted(WEIGHTS).to_json()) == lock.fitted(WEIGHTS)
    assert Lock.from_json(lock.to_json()).to_json() == lock.to_json()


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_lock_is_the_one_of_its_graph(name: str) -> None:
    lock = Lock.from_json(locked(name).to_json())

    lock.verify(graph(name), resolve)
    lock.fitted(WEIGHTS).verify(graph(name), resolve)


def test_a_lock_of_another_graph_names_the_first_difference() -> None:
    with pytest.raises(BadLock, match="'img'"):
        locked().verify(graph("ex2_image_text"), resolve)
    with pytest.raises(BadLock, match="'text~encode~q1'"):
        locked().verify(graph("alpha"), resolve)


def test_a_lock_of_another_seed_or_name_is_not_the_graphs() -> None:
    changed = graph().to_dict() | {"fit": {"seed": 8}}
    with pytest.raises(BadLock, match="'seed'"):
        locked().verify(Graph.from_dict(changed), resolve)

    changed = graph().to_dict() | {"name": "other"}
    with pytest.raises(BadLock, match="'name'"):
        locked().verify(Graph.from_dict(changed), resolve)


def test_a_lock_says_what_it_is() -> None:
    lock = locked()

    assert lock.seed == 7
    assert lock.opset == {"core": 1, "fn": 1, "arch": 1}
    assert lock.frontier == ("text~encode~ea", "eb~pool~fused")
    assert lock.node("fused").attrs["init"] == "first"
    assert set(lock.priors.values()) == {
        PriorRef.parse("prior://bert-small@sha256:aaaa"),
        PriorRef.parse("prior://minilm@sha256:bbbb"),
    }
    with pytest.raises(BadLock, match="no node 'nothing'"):
        lock.node("nothing")


def test_a_composition_is_ready_once_it_is_fitted() -> None:
    lock = locked()

    assert (lock.ready, lock.model) == (False, None)
    with pytest.raises(NotReady, match="Run fit first"):
        lock.require_ready()

    fitted = lock.fitted(WEIGHTS)
    fitted.require_ready()

    assert fitted.ready
    assert fitted.structure == lock.structure
    assert fitted.model != fitted.structure
    assert fitted.model != lock.fitted("b" * 64).model


def test_a_composition_that_learns_nothing_is_ready_at_once() -> None:
    document = {
        "composition": 1,
        "nodes": {
            "text": {"op": "input", "type": "text.raw[B]:str"},
            "chars": {"op": "fn", "fn": "char_ngrams", "in": ["text"]},
        },
        "outputs": {"y": "chars"},
    }

    lock = Lock.of(check(Graph.from_dict(document), resolve))

    assert lock.ready
    assert lock.frontier == ("chars",)
    assert lock.model is not None
    assert Lock.from_json(lock.to_json()) == lock


def test_the_same_graph_gives_the_same_bytes() -> None:
    assert locked().to_json() == locked().to_json()


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, dict):
        return [leaf for key, item in value.items() for leaf in leaves(item, (*path, key))]
    if isinstance(value, list):
        return [leaf for i, item in enumerate(value) for leaf in leaves(item, (*path, i))]
    return [path]


HARMLESS = {"name", "seed", "adapt", "strict", "dims", "fit"}
"""Sections that decide no output; `verify` compares them with the graph."""

UNHASHED = {"license", "fee_bp", "train", "column", "arch"}


def test_any_edit_of_what_decides_outputs_is_noticed_on_reading() -> None:
    document = locked().fitted(WEIGHTS).to_dict()
    places = [path for path in leaves(document) if path[0] not in HARMLESS and not UNHASHED.intersection(path)]
    encoder = [path for path in places if path[-1] == "prior" and document["nodes"][path[1]]["op"] == "encode"]

    assert len(places) > 100
    for path in places:
        if path in encoder or path[-1] == "auto":
            continue  # where the encoder's files come from is checked against its graph, its content by `spec`
        changed = copy.deepcopy(document)
        place = changed
        for key in path[:-1]:
            place = place[key]
        value = place[path[-1]]
        place[path[-1]] = not value if isinstance(value, bool) else f"{value}0" if isinstance(value, str) else 3
        with pytest.raises(BadLock):
            Lock.from_dict(changed)


def test_edits_that_decide_no_output_are_noticed_against_the_graph() -> None:
    cheaper = graph().to_dict()
    cheaper["nodes"]["wa"]["fee_bp"] = 0

    lock = Lock.from_dict(Lock.of(check(Graph.from_dict(cheaper), resolve)).to_dict())

    assert lock.structure == locked().structure
    with pytest.raises(BadLock, match="'wa'"):
        lock.verify(graph(), resolve)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("lock",), 2),
        (("weights",), {"file": "../../etc/passwd", "sha256": WEIGHTS}),
        (("weights",), {"file": "model.safetensors", "sha256": "x"}),
        (("outputs",), {"y": "nothing"}),
        (("outputs",), {"y": "wa"}),
        (("outputs",), {}),
        (("nodes",), {}),
        (("frontier",), []),
        (("opset", "core"), 2),
        (("seed",), -1),
        (("code",), "import os"),
        (("nodes", "ea", "op"), "python_eval"),
        (("nodes", "ea", "in"), ["wal", "text~encode~ea"]),
        (("nodes", "ea", "in"), {"w": "wal", "ids": "y"}),
        (("nodes", "ea", "type"), "text.tokens[B,T"),
        (("nodes", "ea", "type"), "wt[bert-small]"),
        (("nodes", "ea", "attrs"), {}),
        (("nodes", "ea", "attrs", "tap"), ["last_hidden"]),
        (("nodes", "wa", "attrs", "prior"), "../x"),
        (("nodes", "wa", "type"), "wt[../x]"),
    ],
)
def test_a_lock_that_is_not_one_is_refused(path: tuple[str, ...], value: Any) -> None:
    document = locked().to_dict()
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value

    with pytest.raises(BadLock) as caught:
        Lock.from_dict(document)

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", "null", '{"lock": 1', '{"lock": ' + "[" * 100_000, '{"lock": 1, "lock": 1}', '{"lock": NaN}'],
)
def test_hostile_texts_are_refused_quickly(text: str) -> None:
    with within(0.5), pytest.raises(BadLock):
        Lock.from_json(text)


def test_a_lock_with_a_flipped_character_never_loads_as_another_composition() -> None:
    lock = locked()
    text = lock.to_json()
    generator = random.Random(0)

    for _ in range(200):
        at = generator.randrange(len(text))
        changed = text[:at] + chr(generator.randrange(32, 127)) + text[at + 1 :]
        try:
            found = Lock.from_json(changed)
        except BadLock:
            continue
        assert found.structure == lock.structure


def test_a_lock_is_plain_json_with_every_node_and_its_hash() -> None:
    document = json.loads(locked().to_json())

    assert document["nodes"]["text~encode~ea"]["auto"] is True
    assert document["nodes"]["ea"]["in"] == {"w": "wal", "ids": "text~encode~ea"}
    assert all(len(node["hash"]) == 64 for node in document["nodes"].values())
    assert document["structure"].startswith("sha256:")
