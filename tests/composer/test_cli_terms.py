"""license, royalty, sbom and diff on the command line: specifications and locks, text and JSON, exit codes."""

import json
from pathlib import Path
from typing import Any

import pytest

from composer.check import check
from composer.graph import Graph
from composer.lock import Lock
from tests.composer._made_up import function_library
from tests.composer._placeholders import resolve

IR = Path(__file__).parent / "ir"


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    """The lock of an example with a part that is not for money."""
    document = Graph.load(IR / "ex1_two_text_encoders.yaml").to_dict()
    document["nodes"]["wb"]["license"] = "CC-BY-NC-4.0"
    path = tmp_path / "composition.lock.json"
    path.write_text(Lock.of(check(Graph.from_dict(document), resolve)).to_json())
    return path


def test_a_license_that_allows_it_is_exit_code_0_and_writes_a_notice(run: Any, lock: Path, tmp_path: Path) -> None:
    code, out, err = run("license", lock, "--notice", tmp_path / "NOTICE")
    assert (code, err) == (0, "") and "allowed" in out and "CC-BY-NC-4.0" in out
    assert "minilm" in (tmp_path / "NOTICE").read_text()


def test_a_license_that_forbids_it_is_exit_code_1_and_says_on_which_edge(run: Any, lock: Path) -> None:
    code, out, _ = run("license", lock, "--sell")
    assert code == 1 and "not allowed" in out and "edge 'wb' -> 'eb'" in out
    code, out, _ = run("license", lock, "--sell", "--json")
    found = json.loads(out)
    assert code == 1 and found["allowed"] is False and found["conflicts"][0]["code"] == "noncommercial"


def test_a_price_is_dealt_out_to_the_cent(run: Any, lock: Path) -> None:
    code, out, _ = run("royalty", lock, "--price", "19.99", "--json")
    found = json.loads(out)
    assert code == 0 and found["price_cents"] == 1999
    assert found["own_cents"] + sum(share["cents"] for share in found["shares"]) == 1999
    assert "whoever sells it" in run("royalty", lock, "--price", "19.99")[1]


def test_the_bill_of_materials_is_printed_or_written(run: Any, lock: Path, tmp_path: Path) -> None:
    printed = json.loads(run("sbom", lock)[1])
    assert printed["bomFormat"] == "CycloneDX" and len(printed["components"]) == 2
    assert run("sbom", lock, "--out", tmp_path / "bom.json")[0] == 0
    assert json.loads((tmp_path / "bom.json").read_text()) == printed


def test_a_difference_is_said_in_words(run: Any, lock: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text(Lock.of(check(Graph.load(IR / "ex1_two_text_encoders.yaml"), resolve)).to_json())
    assert "wb: license 'CC-BY-NC-4.0' -> 'MIT'" in run("diff", lock, other)[1]
    assert run("diff", lock, lock)[1] == "no difference\n"
    assert json.loads(run("diff", lock, lock, "--json")[1])["nothing"] is True


def test_what_is_no_lock_is_refused_in_one_line(refused: Any, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{}")
    assert "lock" in refused("license", tmp_path / "x.json")
    assert "cannot be read" in refused("royalty", tmp_path / "nothing.json", "--price", "1")


def test_a_specification_is_compared_with_the_lock_of_another_and_a_folder_is_checked(run: Any, tmp_path: Path) -> None:
    library = function_library(tmp_path / "priors", "char-ngrams", "word-ngrams")
    spec = """
composition: 1
name: one
nodes:
  text: {op: input, type: "text.raw[B]:str"}
  f: {op: fn, fn: char_ngrams, in: [text]}
  y: {op: head, in: [f], labels: [a, b]}
outputs: {y: y}
"""
    (tmp_path / "one.yaml").write_text(spec)
    (tmp_path / "two.yaml").write_text(spec.replace("char_ngrams", "word_ngrams"))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/composition.json").write_text(Graph.from_yaml(spec).to_json())
    where = ("--library", library.root)

    assert run("lock", tmp_path / "one.yaml", "--out", tmp_path / "folder/composition.lock.json", *where)[0] == 0
    assert run("diff", tmp_path / "one.yaml", tmp_path / "folder", *where)[1] == "no difference\n"
    assert run("diff", tmp_path / "one.yaml", tmp_path / "folder/composition.json", *where)[1] == "no difference\n"
    assert "fn 'char_ngrams' -> 'word_ngrams'" in run("diff", tmp_path / "folder", tmp_path / "two.yaml", *where)[1]
    assert "dist.logits[B,K:2]:f32" in run("check", tmp_path / "folder", *where)[1]
