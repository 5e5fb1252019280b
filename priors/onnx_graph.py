"""ONNX files, looked at before any library opens them: one file, standard operators, nothing nested without end."""

from __future__ import annotations

import struct
from typing import BinaryIO

from priors.errors import BadWeights

_MAX_FIELDS_IN_ALL = 500_000

# Fields that lead to tensors and operators: onnx/onnx.proto. `domain` and `external` end the walk.
_FIELDS = {
    ("model", 7): "graph", ("model", 8): "opset", ("model", 25): "function", ("model", 20): "training",
    ("training", 1): "graph", ("training", 2): "graph",
    ("graph", 1): "node", ("graph", 5): "tensor", ("graph", 15): "sparse",
    ("node", 5): "attribute", ("node", 7): "domain",
    ("attribute", 5): "tensor", ("attribute", 6): "graph", ("attribute", 10): "tensor", ("attribute", 11): "graph",
    ("attribute", 22): "sparse", ("attribute", 23): "sparse",
    ("sparse", 1): "tensor", ("sparse", 2): "tensor",
    ("function", 7): "node", ("function", 9): "opset",
    ("opset", 1): "domain", ("tensor", 13): "external",
}  # fmt: skip
_DOMAINS = {b"", b"ai.onnx", b"ai.onnx.ml"}


def check_graph(path: str, file: BinaryIO, size: int) -> None:
    """Refuses ONNX models that read other files or need operators from elsewhere; walks the protobuf, loads nothing.

    Raises BadWeights naming `path`.
    """
    if size == 0:
        raise BadWeights(f"{path!r} is empty. Export the model again.")
    try:
        _walk(path, file, 0, size, "model", [_MAX_FIELDS_IN_ALL])
    except (IndexError, struct.error) as err:
        raise BadWeights(f"{path!r} is not an ONNX model, or is cut off. Export it again.") from err


def _walk(path: str, file: BinaryIO, start: int, stop: int, kind: str, left: list[int], depth: int = 0) -> None:
    if depth > 16:
        raise BadWeights(f"{path!r} nests graphs more than 16 deep. Export it flatter.")
    file.seek(start)
    at = start
    while at < stop:
        left[0] -= 1
        if left[0] < 0:
            raise BadWeights(f"{path!r} has more than {_MAX_FIELDS_IN_ALL:,} fields. Export a smaller model.")
        key, at = _varint(file, at)
        field, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(file, at)
            if kind == "tensor" and field == 14 and value == 1:
                raise BadWeights(f"{path!r} keeps tensors in other files. Save it as one file, without external data.")
        elif wire in (1, 5):
            at += 8 if wire == 1 else 4
            file.seek(at)
        elif wire == 2:
            length, at = _varint(file, at)
            if at + length > stop:
                raise IndexError
            inside = _FIELDS.get((kind, field))
            if inside == "domain":
                domain = file.read(length) if length <= 200 else b"?"
                if domain not in _DOMAINS:
                    raise BadWeights(
                        f"{path!r} uses operators of {domain.decode(errors='replace')!a}. Only standard ones."
                    )
            elif inside == "external":
                raise BadWeights(f"{path!r} keeps tensors in other files. Save it as one file, without external data.")
            elif inside is not None:
                _walk(path, file, at, at + length, inside, left, depth + 1)
            at += length
            file.seek(at)
        else:
            raise IndexError
    if at != stop:
        raise IndexError


def _varint(file: BinaryIO, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)[0]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise IndexError
