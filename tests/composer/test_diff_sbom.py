"""Differences between compositions, by content; the bill of materials."""

import json
from pathlib import Path
from uuid import UUID

import pytest
import torch

from composer.check import check
from composer.diff import diff, diff_folders, diff_weights
from composer.graph import Graph
from composer.license import judge
from composer.lock import Lock
from composer.sbom import bill
from priors.errors import BadWeights
from priors.weights import save_weights
from tests.composer._placeholders import resolve

IR = Path(__file__).parent / "ir"
WEIGHTS = "a" * 64


def locked(name: str = "ex1_two_text_encoders", **changed: object) -> Lock:
    document = Graph.load(IR / f"{name}.yaml").to_dict()
    for node, attrs in changed.items():
        document["nodes"][node] |= attrs  # type: ignore[operator]
    return Lock.of(check(Graph.from_dict(document), resolve))


def test_a_composition_does_not_differ_from_itself() -> None:
    assert diff(locked(), locked()).nothing


def test_other_names_are_renamings_and_no_change_of_structure() -> None:
    found = diff(locked(), locked("alpha"))
    assert found.same_structure and not found.nothing
    assert (found.added == found.removed == () and ("text", "q0") in found.renamed) or found.renamed


def test_a_changed_attribute_price_or_wire_is_named_with_before_and_after() -> None:
    found = diff(locked(), locked(wb={"fee_bp": 900, "license": "CC0-1.0"}, y={"init": "random"}))
    assert {(change.node, key) for change in found.changed for key in change.what} == {
        ("wb", "fee_bp"),
        ("wb", "license"),
        ("y", "init"),
    }
    assert next(c for c in found.changed if c.node == "y").what["init"] == ("zero", "random")
    assert not found.same_structure


def test_learned_tensors_are_compared_one_by_one(tmp_path: Path) -> None:
    one = {"a": torch.tensor([3.0, 4.0]), "b": torch.zeros(2), "same": torch.ones(3), "mine": torch.ones(1)}
    two = {"a": torch.tensor([3.0, 4.5]), "b": torch.zeros(3), "same": torch.ones(3), "theirs": torch.ones(1)}
    for name, tensors in (("one", one), ("two", two)):
        (tmp_path / name).mkdir()
        sha = save_weights(tensors, tmp_path / name / "model.safetensors")
        (tmp_path / name / "composition.lock.json").write_text(locked().fitted(sha).to_json())

    drifts, mine, theirs = diff_weights(tmp_path / "one/model.safetensors", tmp_path / "two/model.safetensors")
    assert [(d.tensor, round(d.relative, 6), d.largest) for d in drifts] == [
        ("a", 0.1, 0.5),
        ("b", float("inf"), float("inf")),
    ]
    assert (mine, theirs) == (("mine",), ("theirs",))
    found = diff_folders(tmp_path / "one", tmp_path / "two")
    assert found.same_structure and not found.same_model and found.weights == drifts

    changed = bytearray((tmp_path / "two/model.safetensors").read_bytes())
    changed[-1] ^= 1
    (tmp_path / "two/model.safetensors").write_bytes(changed)
    with pytest.raises(BadWeights, match="it was changed"):
        diff_folders(tmp_path / "two", tmp_path / "two")


def test_the_bill_names_every_part_with_hash_and_license_and_is_the_same_every_time() -> None:
    lock = locked("ex2_image_text").fitted(WEIGHTS)
    document = bill(lock, judge(lock))
    assert document == bill(lock, judge(lock)) and json.loads(json.dumps(document)) == document
    by_name = {component["name"]: component for component in document["components"]}
    assert set(by_name) == {"vit-s", "vit-s-food", "minilm", "model.safetensors"}
    assert by_name["vit-s-food"]["licenses"] == [{"expression": "CC-BY-4.0"}]
    assert by_name["vit-s-food"]["hashes"][0]["content"] == "c2c2"
    assert by_name["model.safetensors"]["hashes"] == [{"alg": "SHA-256", "content": WEIGHTS}]
    refs = [component["bom-ref"] for component in document["components"]]
    assert len(set(refs)) == len(refs) and document["dependencies"][0]["dependsOn"] == refs
    UUID(document["serialNumber"].removeprefix("urn:uuid:"))
