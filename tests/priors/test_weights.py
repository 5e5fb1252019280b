"""Weight files: real ones open, hostile ones are refused quickly and by name of what is wrong."""

import hashlib
import io
import json
import os
import pickle
import random
import resource
import struct
import tarfile
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from priors.errors import BadWeights
from priors.weights import (
    MAX_HEADER,
    MAX_METADATA,
    MAX_TENSORS,
    SNIFF_BYTES,
    TensorInfo,
    check_header,
    load_weights,
    save_weights,
    sha256_file,
    sniff,
)

QUICK = 0.5
"""Seconds: ten times what a refusal may take, because the machine may be busy."""


def file_of(header: bytes | dict[str, Any], data: bytes = b"", *, length: int | None = None) -> bytes:
    """A safetensors file of a header and data; `length` writes another header length than is true."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


def tensor(begin: int = 0, end: int = 4, dtype: Any = "F32", shape: Any = (1,), **more: Any) -> dict[str, Any]:
    return {
        "dtype": dtype,
        "shape": list(shape) if isinstance(shape, tuple) else shape,
        "data_offsets": [begin, end],
        **more,
    }


def many(count: int) -> bytes:
    """The header of `count` tensors of one byte each."""
    parts = (f'"t{i}":{{"dtype":"U8","shape":[1],"data_offsets":[{i},{i + 1}]}}' for i in range(count))
    return b"{" + ",".join(parts).encode() + b"}"


STATE = {"layer.weight": torch.arange(12.0).reshape(3, 4), "layer.bias": torch.zeros(3), "steps": torch.tensor(7)}


def test_a_real_file_passes_and_its_header_says_what_is_in_it() -> None:
    header = check_header(save(STATE, metadata={"format": "pt"}))

    assert {name: info.shape for name, info in header.tensors.items()} == {
        "layer.weight": (3, 4),
        "layer.bias": (3,),
        "steps": (),
    }
    assert header.metadata == {"format": "pt"}
    assert header.parameters == 16
    assert all(isinstance(info, TensorInfo) for info in header.tensors.values())


def test_a_path_bytes_and_an_open_file_are_the_same(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(save(STATE))

    with path.open("rb") as file:
        headers = [check_header(path), check_header(str(path)), check_header(path.read_bytes()), check_header(file)]

    assert all(header == headers[0] for header in headers)


def test_as_many_tensors_as_are_allowed_pass_and_one_more_does_not() -> None:
    assert len(check_header(file_of(many(MAX_TENSORS), bytes(MAX_TENSORS))).tensors) == MAX_TENSORS
    with pytest.raises(BadWeights, match="more than 10,000 tensors"):
        check_header(file_of(many(MAX_TENSORS + 1), bytes(MAX_TENSORS + 1)))


def test_the_longest_allowed_header_passes_and_one_byte_more_does_not() -> None:
    raw = json.dumps({"w": tensor()}).encode()

    assert check_header(file_of(raw.ljust(MAX_HEADER), bytes(4))).parameters == 1
    with pytest.raises(BadWeights, match="limit is 4,194,304"):
        check_header(file_of(raw.ljust(MAX_HEADER + 1), bytes(4)))


HOSTILE: dict[str, bytes] = {
    "empty file": b"",
    "seven bytes": b"1234567",
    "header of length 0": file_of(b"", length=0),
    "header of length 1": file_of(b"{", length=1),
    "header longer than the file": file_of({"w": tensor()}, bytes(4), length=10_000),
    "header of 2^63 bytes": file_of({"w": tensor()}, bytes(4), length=2**63),
    "a million tensors": file_of(many(1_000_000), bytes(1_000_000)),
    "many tensors within 4 MiB": file_of(many(60_000), bytes(60_000)),
    "many tensors with escaped keys": file_of(
        many(60_000).replace(b"data_offsets", b"data_offset\\u0073"), bytes(60_000)
    ),
    "a shape of a million ones": file_of(b'{"w":{"dtype":"F32","shape":[' + b"1," * 1_000_000 + b"1]}}", bytes(4)),
    "rank 9": file_of({"w": tensor(shape=(1,) * 9)}, bytes(4)),
    "deep nesting": file_of(b'{"w":' + b"[" * 1_000_000, bytes(4)),
    "deep tables": file_of(b'{"w":' * 500_000, bytes(4)),
    "not JSON": file_of(b"{'w': 1}", bytes(4)),
    "a list": file_of(b"[1, 2, 3]", bytes(4)),
    "leading spaces": file_of(b"  " + json.dumps({"w": tensor()}).encode(), bytes(4)),
    "a script": b"#!/bin/sh\nrm -rf /\n" + bytes(100),
    "not UTF-8": file_of(b'{"\xff\xfe": 1}', bytes(4)),
    "UTF-16": file_of(json.dumps({"w": tensor()}).encode("utf-16-le"), bytes(4)),
    "a lone surrogate": file_of(b'{"\\ud800":' + json.dumps(tensor()).encode() + b"}", bytes(4)),
    "a byte order mark": file_of(b"\xef\xbb\xbf" + json.dumps({"w": tensor()}).encode(), bytes(4)),
    "a duplicate tensor": file_of(b'{"w":%b,"w":%b}' % ((json.dumps(tensor()).encode(),) * 2), bytes(4)),
    "a duplicate key in a tensor": file_of(
        b'{"w":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}', bytes(4)
    ),
    "duplicate metadata": file_of(b'{"__metadata__":{},"__metadata__":{}}'),
    "a path as a name": file_of({"../../etc/passwd": tensor()}, bytes(4)),
    "a parent inside a name": file_of({"a/../b": tensor()}, bytes(4)),
    "an absolute name": file_of({"/etc/passwd": tensor()}, bytes(4)),
    "an empty name": file_of({"": tensor()}, bytes(4)),
    "a name of HTML": file_of({"<script>": tensor()}, bytes(4)),
    "a name with NUL": file_of({"a\x00b": tensor()}, bytes(4)),
    "a name with an escape": file_of({"a\x1b[2J": tensor()}, bytes(4)),
    "a name with a newline": file_of({"weight\n": tensor()}, bytes(4)),
    "a name of 201 letters": file_of({"w" * 201: tensor()}, bytes(4)),
    "a Windows path": file_of({"..\\x": tensor()}, bytes(4)),
    "a zero length": file_of({"w": tensor(0, 0, shape=(0,))}),
    "zero by huge": file_of({"w": tensor(0, 0, shape=(0, 2**60))}),
    "a negative length": file_of({"w": tensor(shape=(-1, -1))}, bytes(4)),
    "a length as a float": file_of(b'{"w":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}}', bytes(4)),
    "a length of 1e400": file_of(b'{"w":{"dtype":"F32","shape":[1e400],"data_offsets":[0,4]}}', bytes(4)),
    "a length of NaN": file_of(b'{"w":{"dtype":"F32","shape":[NaN],"data_offsets":[0,4]}}', bytes(4)),
    "a length of true": file_of({"w": tensor(shape=[True])}, bytes(4)),
    "a length of 5,000 digits": file_of(
        b'{"w":{"dtype":"F32","shape":[%b],"data_offsets":[0,4]}}' % (b"9" * 5_000), bytes(4)
    ),
    "a size that overflows": file_of({"w": tensor(shape=(2**32, 2**32))}, bytes(4)),
    "a dtype that is not known": file_of({"w": tensor(dtype="F128")}, bytes(4)),
    "a dtype that is a list": file_of({"w": tensor(dtype=["F32"])}, bytes(4)),
    "a further key": file_of({"w": tensor(code="import os")}, bytes(4)),
    "a missing key": file_of({"w": {"dtype": "F32", "shape": [1]}}, bytes(4)),
    "a tensor that is a number": file_of({"w": 1}, bytes(4)),
    "three offsets": file_of({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4, 8]}}, bytes(4)),
    "offsets as floats": file_of(b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0.0,4.0]}}', bytes(4)),
    "an offset of 1e400": file_of(b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,1e400]}}', bytes(4)),
    "an offset of true": file_of({"w": {"dtype": "U8", "shape": [1], "data_offsets": [False, True]}}, bytes(1)),
    "offsets backwards": file_of({"w": tensor(4, 0)}, bytes(4)),
    "offsets beyond the end": file_of({"w": tensor(4, 8)}, bytes(4)),
    "overlapping tensors": file_of({"a": tensor(0, 4), "b": tensor(0, 4)}, bytes(4)),
    "a hole between tensors": file_of({"a": tensor(0, 4), "b": tensor(8, 12)}, bytes(12)),
    "a size other than the shape": file_of({"w": tensor(0, 8)}, bytes(8)),
    "truncated": file_of({"w": tensor(0, 400, shape=(100,))}, bytes(399)),
    "appended bytes": file_of({"w": tensor()}, bytes(5)),
    "metadata of 64 KiB": file_of({"__metadata__": {"a": "x" * (MAX_METADATA + 1)}}),
    "metadata that is no text": file_of({"__metadata__": {"a": 1}}),
    "metadata that is a list": file_of({"__metadata__": ["a"]}),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_at_once(name: str) -> None:
    content = HOSTILE[name]
    start = time.perf_counter()

    with pytest.raises(BadWeights) as caught:
        check_header(content)

    assert time.perf_counter() - start < QUICK
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


def test_a_file_cut_off_anywhere_is_refused() -> None:
    content = save(STATE)
    places = random.Random(0).sample(range(len(content)), 64)

    for place in places:
        with pytest.raises(BadWeights):
            check_header(content[:place])


def test_a_file_with_one_flipped_bit_is_refused_by_its_hash(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    digest = save_weights(STATE, path)
    content = path.read_bytes()
    generator = random.Random(0)

    for _ in range(64):
        changed = bytearray(content)
        changed[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
        path.write_bytes(changed)
        with pytest.raises(BadWeights):
            load_weights(path, digest)


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(BadWeights, match="No such file"):
        check_header(tmp_path / "model.safetensors")


def test_saved_weights_are_as_readable_as_any_other_file(tmp_path: Path) -> None:
    save_weights(STATE, tmp_path / "w.safetensors")
    (tmp_path / "other").touch()

    assert (tmp_path / "w.safetensors").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_weights_that_find_no_room_leave_nothing_and_say_where(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        with pytest.raises(OSError, match="File too large") as caught:
            save_weights({"w": torch.ones(10_000)}, tmp_path / "w.safetensors")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert caught.value.filename == str(tmp_path / "w.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_saved_weights_come_back_and_the_same_tensors_give_the_same_bytes(tmp_path: Path) -> None:
    tied = torch.arange(6.0).reshape(2, 3)
    state = {"b": tied.T, "a": tied, "half": torch.ones(2, dtype=torch.bfloat16)}

    first = save_weights(state, tmp_path / "one.safetensors")
    second = save_weights(dict(reversed(state.items())), tmp_path / "two.safetensors")
    back = load_weights(tmp_path / "one.safetensors", first)

    assert first == second == sha256_file(tmp_path / "two.safetensors")
    assert {name: value.dtype for name, value in back.items()} == {name: value.dtype for name, value in state.items()}
    assert all(torch.equal(back[name], state[name]) for name in state)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one.safetensors", "two.safetensors"]


def test_a_file_is_hashed_once_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, hashed = tmp_path / "model.safetensors", []
    digest = save_weights(STATE, path)
    monkeypatch.setattr(
        "priors.weights.sha256_file", lambda path: hashed.append(path) or hashlib.sha256(path.read_bytes()).hexdigest()
    )

    for settled in (60.0, -1.0, -1.0, -1.0):  # just written; then as if that were long ago
        monkeypatch.setattr("priors.weights.SETTLED_SECONDS", settled)
        load_weights(path, digest)
    assert len(hashed) == 2

    times = path.stat()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(BadWeights, match="it was changed"):
        load_weights(path, digest)


def test_what_would_be_refused_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    digest = save_weights(STATE, path)

    for state in ({"../x": torch.ones(1)}, {"w": torch.ones(0)}):
        with pytest.raises(BadWeights):
            save_weights(state, path)

    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]
    assert sha256_file(path) == digest


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(tmp_path: Path, value: float) -> None:
    path = tmp_path / "model.safetensors"
    save_weights({"layer.weight": torch.tensor([1.0, value])}, path)

    with pytest.raises(BadWeights, match=r"layer\.weight holds NaN or infinity"):
        load_weights(path)


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("code ran",))


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("data.pkl", pickle.dumps(Evil()))
    return buffer.getvalue()


def tarred() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo("data.pkl")
        info.size = 4
        archive.addfile(info, io.BytesIO(b"data"))
    return buffer.getvalue()


def torch_file() -> bytes:
    buffer = io.BytesIO()
    torch.save({"w": torch.ones(2)}, buffer)
    return buffer.getvalue()


FOREIGN = {
    **{f"pickle of protocol {protocol}": pickle.dumps({"a": Evil()}, protocol=protocol) for protocol in range(6)},
    **{f"pickled object of protocol {protocol}": pickle.dumps(Evil(), protocol=protocol) for protocol in range(6)},
    **{f"pickled list of protocol {protocol}": pickle.dumps([1, 2], protocol=protocol) for protocol in range(6)},
    "a hand-written pickle": b"cos\nsystem\n(S'id'\ntR.",
    "zip": zipped(),
    "tar": tarred(),
    "a torch file": torch_file(),
    "7z": b"7z\xbc\xaf\x27\x1c" + bytes(40),
    "gzip": b"\x1f\x8b\x08" + bytes(40),
    "bzip2": b"BZh9" + bytes(40),
    "xz": b"\xfd7zXZ\x00" + bytes(40),
    "zstd": b"\x28\xb5\x2f\xfd" + bytes(40),
    "rar": b"Rar!\x1a\x07\x01\x00" + bytes(40),
    "cab": b"MSCF" + bytes(40),
    "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(40),
    "NumPy": b"\x93NUMPY\x01\x00" + bytes(40),
    "GGUF": b"GGUF\x03\x00\x00\x00" + bytes(40),
    "ELF": b"\x7fELF" + bytes(40),
    "a script": b"#!/usr/bin/env python\nimport os\n",
}


@pytest.mark.parametrize(
    "name", ["model.safetensors", "config.json", "README.md", "photo.png", "weights.bin", "x", "MODEL.SAFETENSORS"]
)
@pytest.mark.parametrize("kind", FOREIGN)
def test_pickle_archives_and_programs_are_refused_under_any_name(kind: str, name: str) -> None:
    with pytest.raises(BadWeights, match="convert it"):
        sniff(FOREIGN[kind][:SNIFF_BYTES], name)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("model.safetensors", save(STATE)),
        ("prior.json", b'\n {"prior": 1}'),
        ("prior.json", b""),
        ("card.md", "# Über\n\nPriors für Text.".encode()),
        ("vocab.txt", b"(hello\nworld\n"),
        ("photo.png", b"\x89PNG\r\n\x1a\n" + bytes(40)),
        ("photo.JPG", b"\xff\xd8\xff\xe0" + bytes(40)),
        ("unknown.extension", bytes(range(200, 256))),
        ("LICENSE", b"Apache License\nVersion 2.0"),
        ("cut.txt", ("é" * SNIFF_BYTES).encode()[1 - 1 : SNIFF_BYTES - 1]),
    ],
)
def test_what_priors_hold_passes(name: str, content: bytes) -> None:
    sniff(content[:SNIFF_BYTES], name)


def test_a_safetensors_file_whose_length_looks_like_a_pickle_passes() -> None:
    raw = json.dumps({"w": tensor()}).encode().ljust(0x0280)
    content = file_of(raw, bytes(4))

    assert content[:2] == b"\x80\x02"  # what a pickle of protocol 2 starts with
    sniff(content, "model.safetensors")
    sniff(content, "copy.bin")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("model.safetensors", b'{"prior": 1}' + bytes(100)),
        ("prior.json", b"<html></html>"),
        ("prior.json", b"{\x00}"),
        ("photo.png", b"GIF89a" + bytes(40)),
        ("photo.webp", b"<svg></svg>"),
        ("card.md", b"\xff\xfe\x00\x01" * 20),
    ],
)
def test_a_known_extension_with_other_content_is_refused(name: str, content: bytes) -> None:
    with pytest.raises(BadWeights):
        sniff(content, name)
