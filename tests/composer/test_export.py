"""Exported files: equal to eager at other sizes, complete beside what must run before them, and whole or absent."""

import hashlib
import json
import resource
import zipfile

import onnx
import pytest
import torch

from composer import _export_trace as tracing
from composer._export_onnx import runner
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


def unzipped(path):
    with zipfile.ZipFile(path) as archive:
        return [archive.read(name) for name in archive.namelist()]


@pytest.mark.parametrize("document", [TEXT, TABLE], ids=["text", "table"])
@pytest.mark.parametrize("format", ["pt2", "onnx"])
def test_an_exported_file_equals_eager_at_other_batches_and_lengths(document, format, library, tmp_path):
    model = lowered(library, document)
    fill(model)

    report = export(model, tmp_path / f"model.{format}", format)

    assert report.max_abs_diff <= 1e-4
    if format == "onnx":
        run = runner(report.path.read_bytes())
    else:
        program = torch.export.load(report.path).module()
        run = lambda inputs: program(*inputs)  # noqa: E731
    for rows in (1, 5):
        inputs = tracing.examples(model, rows, 23)
        for ours, theirs in zip(model.module(*inputs), run(inputs), strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-5)


def test_onnx_holds_standard_operators_named_axes_and_how_well_it_agrees(library, tmp_path):
    model = lowered(library, TEXT)
    fill(model)

    report = export(model, tmp_path / "model.onnx", "onnx")
    found = onnx.load(report.path, load_external_data=False)

    onnx.checker.check_model(found, full_check=True)
    assert [(given.domain, given.version) for given in found.opset_import] == [("", 20)]
    assert not any(node.domain for node in found.graph.node) and not found.functions
    assert all(tensor.data_location == onnx.TensorProto.DEFAULT for tensor in found.graph.initializer)
    ids, mask, char = (
        [dim.dim_param or dim.dim_value for dim in given.type.tensor_type.shape.dim] for given in found.graph.input
    )
    assert ids == mask == ["batch", "length_0"] and char == ["batch", 64]
    facts = {prop.key: prop.value for prop in found.metadata_props}
    assert json.loads(facts["priorhub.parity"])["max_abs_diff"] == report.max_abs_diff
    assert json.loads(facts["priorhub.parity"])["rows_and_lengths"] == [[1, 5], [2, 32], [7, 19]]
    assert facts["priorhub.structure"] == model.lock.structure


def test_onnx_says_nothing_of_the_machine_it_was_made_on_and_is_the_same_again(library, tmp_path):
    model = lowered(library, TABLE)

    first = export(model, tmp_path / "a.onnx", "onnx").path.read_bytes()
    second = export(lowered(library, TABLE), tmp_path / "b.onnx", "onnx").path.read_bytes()

    assert first == second
    assert b".py" not in first and b"composer" not in first.replace(b"priorhub.composition", b"")


def test_weights_beyond_two_gigabytes_are_refused_for_onnx(library, tmp_path, monkeypatch):
    monkeypatch.setattr("composer._export_onnx.MAX_BYTES", 100)

    with pytest.raises(UserError, match=r"an ONNX file without others beside it ends at 2 GB\. Export it as pt2"):
        export(lowered(library, TABLE), tmp_path / "model.onnx", "onnx")

    assert list(tmp_path.iterdir()) == []


def test_the_file_needs_nothing_of_this_program(library, tmp_path):
    model = lowered(library, TEXT)

    export(model, tmp_path / "model.pt2")

    operators = {
        str(node.target) for node in torch.export.load(tmp_path / "model.pt2").graph.nodes if node.op == "call_function"
    }
    assert all(name.startswith(("aten.", "<built-in")) for name in operators), operators
    assert not any(b"transformers_text" in content for content in unzipped(tmp_path / "model.pt2"))


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
    assert found["structure"] == model.lock.structure and found["license"] == "MIT"
    assert found["parity"]["max_abs_diff"] == report.max_abs_diff
    beside = tmp_path / found["steps"][0]["beside"]
    assert hashlib.sha256(beside.read_bytes()).hexdigest() == found["steps"][0]["encoder"]["sha256"]
    assert set(report.files) == set(tmp_path.iterdir())


@pytest.mark.slow
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

    for format in ("pt2", "onnx"):
        assert export(model, tmp_path / f"model.{format}", format).max_abs_diff <= 1e-4


def test_a_file_that_disagrees_with_eager_is_not_left_behind(library, tmp_path, monkeypatch):
    model = lowered(library, TABLE)
    monkeypatch.setattr(tracing, "TOLERANCE", -1.0)

    with pytest.raises(AppError, match="differs from eager"):
        export(model, tmp_path / "model.pt2")

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("format", ["pt2", "onnx"])
def test_a_disk_without_room_is_said_and_nothing_is_left(format, library, tmp_path):
    """torch's writer would end the process, so this is also a test that there is one."""
    model = lowered(library, TABLE)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        with pytest.raises(UserError, match=rf"x.{format} cannot be written: File too large"):
            export(model, tmp_path / f"x.{format}", format)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert list(tmp_path.iterdir()) == []


def test_an_older_file_stays_when_an_export_fails(library, tmp_path, monkeypatch):
    model = lowered(library, TABLE)
    export(model, tmp_path / "model.pt2")
    before = (tmp_path / "model.pt2").read_bytes()
    monkeypatch.setattr(tracing, "TOLERANCE", -1.0)

    with pytest.raises(AppError):
        export(model, tmp_path / "model.pt2")

    assert (tmp_path / "model.pt2").read_bytes() == before


def test_another_format_is_refused_in_one_line(library, tmp_path):
    with pytest.raises(UserError, match=r"'tflite' is not possible in this version\. Use format pt2 or onnx"):
        export(lowered(library, TABLE), tmp_path / "model.tflite", format="tflite")
