"""Networks that are an ONNX file: refused or run, with onnxruntime where it is installed."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from priors.errors import BadManifest, BadWeights
from priors.load import load
from priors.registry import find_architecture


def field(number: int, value: bytes | int) -> bytes:
    """One field of a protobuf."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(n: int) -> bytes:
    out = b""
    while n > 0x7F:
        out, n = out + bytes([n & 0x7F | 0x80]), n >> 7
    return out + bytes([n])


def _value(name: bytes, *dims: int) -> bytes:
    shape = b"".join(field(1, field(1, n) if n else field(2, b"B")) for n in dims)
    return field(1, name) + field(2, field(1, field(1, 1) + field(2, shape)))


def model(weight: np.ndarray[Any, Any], domain: bytes = b"") -> bytes:
    """y = x @ weight and z = relu(y), of float32."""
    tensor = b"".join(field(1, n) for n in weight.shape) + field(2, 1) + field(8, b"w") + field(9, weight.tobytes())
    product = field(1, b"x") + field(1, b"w") + field(2, b"y") + field(4, b"MatMul") + field(7, domain)
    relu = field(1, b"y") + field(2, b"z") + field(4, b"Relu")
    graph = field(1, product) + field(1, relu) + field(2, b"g") + field(5, tensor)
    graph += field(11, _value(b"x", 0, weight.shape[0]))
    graph += field(12, _value(b"y", 0, weight.shape[1])) + field(12, _value(b"z", 0, weight.shape[1]))
    return field(1, 8) + field(7, graph) + field(8, field(1, b"") + field(2, 17))


WEIGHT = np.arange(6, dtype="<f4").reshape(3, 2) - 2
CONFIG: dict[str, Any] = {
    "file": "model.onnx",
    "inputs": {"x": {"onnx": "x", "type": "tab.num[B,C:3]:f32"}},
    "outputs": {
        "product": {"onnx": "y", "type": "vec.feat[B,D:2]:f32"},
        "positive": {"onnx": "z", "type": "vec.feat[B,D:2]:f32"},
    },
}
COLUMNS = [{"name": name, "kind": "num", "mean": 0.0} for name in "abc"]


def folder(root: Path, content: bytes, config: dict[str, Any] = CONFIG) -> Path:
    root.mkdir(exist_ok=True)
    (root / "model.onnx").write_bytes(content)
    family = find_architecture("onnx")(config)
    manifest = {
        "prior": 1, "name": "graph", "version": "1", "summary": "A graph.", "kind": "network",
        "architecture": {"id": "onnx", "config": config}, "inputs": family.inputs(), "taps": family.taps(),
        "default_tap": "product", "host": {"encoder": "table", "columns": COLUMNS}, "license": {"spdx": "MIT"},
        "files": {"model.onnx": {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}},
    }  # fmt: skip
    (root / "prior.json").write_text(json.dumps(manifest))
    return root


def test_the_outputs_of_a_file_are_the_taps_of_a_prior(tmp_path: Path) -> None:
    rows = [[1.0, 2.0, 3.0], [-1.0, 0.5, 0.0]]
    found = load(folder(tmp_path, model(WEIGHT))).features(rows, ["product", "positive"])
    expected = np.array(rows, np.float32) @ WEIGHT
    np.testing.assert_allclose(found["product"], expected)
    np.testing.assert_allclose(found["positive"], np.maximum(expected, 0))


@pytest.mark.parametrize(
    "change",
    [
        {"outputs": {"product": {"onnx": "q", "type": "vec.feat[B,D:2]:f32"}}},
        {"inputs": {"x": {"onnx": "q", "type": "tab.num[B,C:3]:f32"}}},
        {"outputs": {"product": {"onnx": "y", "type": "vec.feat[B,D:3]:f32"}}},
    ],
)
def test_a_manifest_that_the_file_does_not_bear_out_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(BadWeights, match="manifest"):
        load(folder(tmp_path, model(WEIGHT), {**CONFIG, **change})).features([[1.0, 2.0, 3.0]], ["product"])


def test_operators_from_elsewhere_are_refused_before_a_library_opens_the_file(tmp_path: Path) -> None:
    with pytest.raises(BadWeights, match=r"com\.evil"):
        load(folder(tmp_path, model(WEIGHT, domain=b"com.evil")))
    with pytest.raises(BadWeights, match="cut off"):
        load(folder(tmp_path / "cut", model(WEIGHT)[:-2]))


def test_without_the_extra_the_error_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(BadManifest, match=r"pip install priorhub\[onnx\]"):
        load(folder(tmp_path, model(WEIGHT))).module(["product"])


def test_the_content_of_the_file_is_part_of_the_identity(tmp_path: Path) -> None:
    one, two = (load(folder(tmp_path / str(i), model(WEIGHT + i))).manifest.identity() for i in range(2))
    assert one != two


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"file": "../model.onnx"}, "file"),
        ({"inputs": {"x": {"onnx": "x", "type": "nonsense"}}}, "x"),
        ({"inputs": {"x": {"onnx": "x", "type": "tab.num[B,C:3]:f32", "mask": "m"}}}, "mask"),
    ],
)
def test_a_config_that_is_none_is_refused(change: dict[str, Any], cause: str) -> None:
    with pytest.raises(BadManifest, match=cause):
        find_architecture("onnx")({**CONFIG, **change})


def test_it_cannot_be_built_to_be_trained() -> None:
    with pytest.raises(BadManifest, match="no layers of ours"):
        find_architecture("onnx")(CONFIG).build(("product",))
