"""Exported files: equal to eager at other sizes, complete beside what must run before them, and whole or absent."""

import json

import pytest
import torch

from composer import export as exporting
from composer.export import export
from priors.errors import AppError, UnknownPrior, UserError
from priors.library import LocalLibrary
from priors.sources.starter import write_starter
from tests.composer._tiny import fill, lowered, tiny_library

TEXT = """
composition: 1
name: topics
adapt: trainable
nodes:
  text: {op: input, type: "text.raw[B]:str", column: message}
  w: {op: load, prior: "prior://tiny/words"}
  shallow: {op: net, in: {w: w, ids: text}, tap: layer_1}
  deep: {op: net, in: {w: w, ids: text}, tap: layer_3}
  char: {op: fn, fn: char_ngrams, in: [text], dim: 64}
  both: {op: concat, in: [shallow, deep, char]}
  y: {op: head, in: [both], labels: [no, yes, maybe]}
outputs: {y: y}
"""
TABLE = """
composition: 1
name: numbers
adapt: trainable
nodes:
  row: {op: input, type: "tab.num[B,C:3]:f32"}
  w: {op: load, prior: "prior://tiny/mlp"}
  m: {op: net, in: {w: w, x: row}, tap: output}
  p: {op: net, in: {w: w, x: row}, tap: penultimate}
  both: {op: gate, in: [m, p]}
  y: {op: head, in: [both], target: price}
outputs: {y: y, m: m}
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return tiny_library(tmp_path_factory.mktemp("library"))


@pytest.fixture(scope="module")
def starter(tmp_path_factory):
    root = tmp_path_factory.mktemp("starter")
    try:
        write_starter(root)
    except UnknownPrior as error:
        pytest.skip(f"starter packages are not installed: {error}")
    return LocalLibrary(root)


@pytest.mark.parametrize("document", [TEXT, TABLE], ids=["text", "table"])
def test_an_exported_file_equals_eager_at_other_batches_and_lengths(document, library, tmp_path):
    model = lowered(library, document)
    fill(model)

    report = export(model, tmp_path / "model.pt2")

    assert report.max_abs_diff <= 1e-4
    program = torch.export.load(report.path).module()
    for rows in (1, 5):
        inputs = exporting._examples(model, rows, 23)
        for ours, theirs in zip(model.module(*inputs), program(*inputs), strict=True):
            torch.testing.assert_close(ours, theirs)


def test_the_file_needs_nothing_of_this_program(library, tmp_path):
    model = lowered(library, TEXT)

    export(model, tmp_path / "model.pt2")

    operators = {
        str(node.target) for node in torch.export.load(tmp_path / "model.pt2").graph.nodes if node.op == "call_function"
    }
    assert all(name.startswith(("aten.", "<built-in")) for name in operators), operators


def test_the_description_tells_another_program_all_it_needs(library, tmp_path):
    model = lowered(library, TEXT)
    fill(model)

    report = export(model, tmp_path / "model.pt2")
    found = json.loads(report.preprocessing.read_text())

    assert report.preprocessing == tmp_path / "model.preprocessing.json"
    assert [step["column"] for step in found["steps"]] == ["message", "message"]
    assert found["steps"][0]["encoder"]["encoder"] == "tokenizer" and len(found["steps"][0]["encoder"]["sha256"]) == 64
    assert found["steps"][1]["function"] == "char_ngrams" and found["steps"][1]["config"] == {"dim": 64}
    assert [given["mask"] for given in found["inputs"]] == [False, True, False]
    assert [given["name"] for given in found["inputs"]] == list(report.inputs)
    assert found["outputs"][0]["labels"] == ["no", "yes", "maybe"]
    assert found["outputs"][0]["temperature"] == pytest.approx(float(model.learned["y"].temperature))
    assert found["structure"] == model.lock.structure


@pytest.mark.starter
@pytest.mark.parametrize(
    ("prior", "raw", "port", "tap", "function"),
    [
        ("all-minilm-l6-v2", "text.raw[B]:str", "ids", "layer_3", "char_ngrams"),
        ("efficientnet-lite0", "image.raw[B]:u8", "pixels", "features", "pixels"),
    ],
)
def test_the_starter_networks_export(prior, raw, port, tap, function, starter, tmp_path):
    document = f"""
composition: 1
name: starter
adapt: trainable
nodes:
  x: {{op: input, type: "{raw}"}}
  w: {{op: load, prior: "prior://priorhub/{prior}"}}
  n: {{op: net, in: {{w: w, {port}: x}}, tap: {tap}}}
  f: {{op: fn, fn: {function}, in: [x]}}
  c: {{op: concat, in: [n, f]}}
  z: {{op: fn, fn: standardize, in: [c]}}
  y: {{op: head, in: [z], labels: [a, b]}}
outputs: {{y: y, n: n}}
"""
    model = lowered(starter, document)

    assert export(model, tmp_path / "model.pt2").max_abs_diff <= 1e-4


def test_a_file_that_disagrees_with_eager_is_not_left_behind(library, tmp_path, monkeypatch):
    model = lowered(library, TABLE)
    monkeypatch.setattr(exporting, "TOLERANCE", -1.0)

    with pytest.raises(AppError, match="differs from eager"):
        export(model, tmp_path / "model.pt2")

    assert list(tmp_path.iterdir()) == []


def test_an_older_file_stays_when_an_export_fails(library, tmp_path, monkeypatch):
    model = lowered(library, TABLE)
    export(model, tmp_path / "model.pt2")
    before = (tmp_path / "model.pt2").read_bytes()
    monkeypatch.setattr(exporting, "TOLERANCE", -1.0)

    with pytest.raises(AppError):
        export(model, tmp_path / "model.pt2")

    assert (tmp_path / "model.pt2").read_bytes() == before


def test_another_format_is_refused_in_one_line(library, tmp_path):
    with pytest.raises(UserError, match=r"'onnx' is not possible in this version\. Use format pt2"):
        export(lowered(library, TABLE), tmp_path / "model.onnx", format="onnx")
