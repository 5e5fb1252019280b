"""What may not be published: refused with a stable code, and neither commit nor repository content changes."""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import struct
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.test import Client
from PIL import Image
from pytest_django import Settings

from hub.repos.models import Commit, TreeEntry
from hub.repos.names import check_paths
from hub.safety.status import file_status
from tests.factories import bearer, function_manifest, make_blob, make_repository, make_user, sha256

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def own_home(home: Path) -> Path:
    return home


def commit(client: Client, kind: str, files: dict[str, bytes]) -> tuple[int, dict[str, Any]]:
    ann = make_user()
    repository = make_repository(ann, kind=kind)
    stored = [{"path": path, "sha256": make_blob(data, by=ann).sha256} for path, data in files.items()]
    response = client.post(
        f"/api/v1/repos/{repository}/commits", {"files": stored}, content_type="application/json", headers=bearer(ann)
    )
    return response.status_code, response.json()


def tensors(header: bytes, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header)) + header + data


ENTRY = b'{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'


def one_tensor(name: str) -> bytes:
    return tensors(json.dumps({name: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode(), bytes(4))


def prior(extra: dict[str, bytes], **changes: Any) -> dict[str, bytes]:
    return {"prior.json": json.dumps(function_manifest(**changes)).encode(), **extra}


class Exploit:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch /tmp/priorhub-was-here",)


NAMES = [
    "../x", "..\\x", "%2e%2e%2f", "%252e%252e%252f", "/abs", "C:\\x", "C:/x", "\\\\srv\\x", "file:///etc/passwd",
    "a\0b", "a\nb", "a ", "a.", "a./b", " a", "CON", "con.txt", "lpt1", ".git/config", "a/.GIT/x", "e\u0301.txt",
    "a" * 5000, "a/" * 300 + "b", "a\u202eb", "a\u200bb", "", ".", "a/../b", "a//b", "a/", "x?y", "a*b", 'a"b', "a|b",
    "b\ud800",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES, ids=[ascii(name)[:30] for name in NAMES])
def test_a_dangerous_file_name_is_refused(client: Client, home: Path, name: str) -> None:
    before = sorted(path for path in home.rglob("*") if "blobs" not in path.parts)

    status, problem = commit(client, "plain", {"fine.txt": b"1", name: b"2"})

    assert (status, problem["code"]) in {(422, "bad-name"), (422, "bad-request"), (400, "bad-request")}
    assert Commit.objects.count() == 0
    assert sorted(path for path in home.rglob("*") if "blobs" not in path.parts) == before


@pytest.mark.parametrize("pair", [("A", "a"), ("ﬁ", "fi"), ("a", "a/b"), ("A/x", "a"), ("ß", "ss")])
def test_two_names_that_are_one_file_on_some_systems_are_refused(client: Client, pair: tuple[str, str]) -> None:
    status, problem = commit(client, "plain", dict.fromkeys(pair, b"1"))

    assert (status, problem["code"]) == (422, "bad-name")


def test_ordinary_names_are_fine() -> None:
    check_paths(
        ["README.md", ".gitattributes", "ä/ö.txt", "weights-00001-of-00002.safetensors", "a b/c (1).csv", "數據"]
    )


@pytest.mark.parametrize(
    "name", ["model.safetensors", "weights.json", "notes.txt", "image.png", "model.bin", "LICENSE"]
)
def test_pickle_is_refused_under_any_name(client: Client, name: str) -> None:
    status, problem = commit(client, "prior", prior({name: pickle.dumps(Exploit(), protocol=4)}))

    assert status == 422
    assert problem["code"] in {"bad-weights", "file-refused"}
    assert TreeEntry.objects.count() == 0
    assert not Path("/tmp/priorhub-was-here").exists()


@pytest.mark.parametrize(
    "magic",
    [b"PK\x03\x04", b"\x1f\x8b\x08", b"BZh9", b"\xfd7zXZ\x00", b"7z\xbc\xaf\x27\x1c", b"\x28\xb5\x2f\xfd",
     b"Rar!\x1a\x07", bytes(257) + b"ustar\x0000", b"\x89HDF\r\n\x1a\n", b"GGUF", b"\x7fELF"],
)  # fmt: skip
def test_archives_and_programs_are_refused(client: Client, magic: bytes) -> None:
    status, problem = commit(client, "prior", prior({"data.bin": magic + bytes(600)}))

    assert (status, problem["code"]) == (422, "bad-weights")


@pytest.mark.parametrize(
    "content",
    [
        one_tensor("../../etc/passwd"),
        one_tensor("<script>"),
        tensors(b'{"a":%b,"a":%b}' % (ENTRY, ENTRY), bytes(4)),
        one_tensor("w")[:-1],
        one_tensor("w") + b"x",
        struct.pack("<Q", 1 << 63),
        b"\x00" * 7,
        b"",
        tensors(b'{"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}'),
    ],
    ids=["path", "html", "twice", "truncated", "trailing", "huge", "short", "empty", "zero"],
)  # fmt: skip
def test_hostile_safetensors_are_refused(client: Client, content: bytes) -> None:
    status, problem = commit(client, "prior", prior({"model.safetensors": content}))

    assert (status, problem["code"]) == (422, "bad-weights")
    assert Commit.objects.count() == 0


def test_a_header_of_a_million_tensors_is_refused_fast(client: Client) -> None:
    entry = '"t%d":{"dtype":"F32","shape":[1],"data_offsets":[%d,%d]}'
    header = ("{" + ",".join(entry % (n, 4 * n, 4 * n + 4) for n in range(1_000_000)) + "}").encode()
    ann = make_user()
    repository = make_repository(ann, kind="prior")
    files = {"model.safetensors": make_blob(tensors(header), by=ann), "prior.json": make_blob(b"{}", by=ann)}
    body = {"files": [{"path": path, "sha256": blob.sha256} for path, blob in files.items()]}
    headers = bearer(ann)

    began = time.process_time()
    response = client.post(
        f"/api/v1/repos/{repository}/commits", body, content_type="application/json", headers=headers
    )
    seconds = time.process_time() - began

    assert response.json()["code"] == "bad-weights"
    assert seconds < 0.5  # the check itself has 50 ms; a request and a slow machine have the rest


ARCHIVES = {
    "zip": b"PK\x03\x04" + bytes(60), "tar": bytes(257) + b"ustar\x0000" + bytes(300),
    "gz": b"\x1f\x8b\x08" + bytes(60),
    "bz2": b"BZh91AY" + bytes(60), "xz": b"\xfd7zXZ\x00" + bytes(60), "7z": b"7z\xbc\xaf\x27\x1c" + bytes(60),
    "zst": b"\x28\xb5\x2f\xfd" + bytes(60), "rar": b"Rar!\x1a\x07\x01\x00" + bytes(60), "cab": b"MSCF" + bytes(60),
    "iso": bytes(32769) + b"CD001" + bytes(60),
}  # fmt: skip


@pytest.mark.parametrize("name", ["data", "data.bin", "model.safetensors", "picture.png", "notes.txt", "rows.csv"])
@pytest.mark.parametrize("kind", ARCHIVES)
def test_no_archive_lies_in_a_prior_whatever_it_is_called(client: Client, kind: str, name: str) -> None:
    status, problem = commit(client, "prior", prior({name: ARCHIVES[kind], f"x.{kind}": ARCHIVES[kind]}))

    assert (status, problem["code"]) in {(422, "bad-weights"), (422, "file-refused")}
    assert Commit.objects.count() == 0


@pytest.mark.parametrize("name", ["model.safetensors", "picture.png", "notes.md", "a.json", "weights.pt", "x.gguf"])
def test_a_plain_repository_refuses_an_archive_only_under_a_name_that_says_otherwise(client: Client, name: str) -> None:
    disguised = commit(client, "plain", {name: ARCHIVES["7z"]})
    honest = commit(client, "plain", {"data.7z": ARCHIVES["7z"], "data.bin": ARCHIVES["7z"], "LICENSE": b"MIT"})

    assert (disguised[0], disguised[1]["code"]) == (422, "file-refused")
    assert honest[0] == 201


def torch_zip() -> bytes:
    """What torch.save writes: a zip whose data.pkl is the pickle; another entry first, to hide it."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("archive/version", "3")
        archive.writestr("archive/data.pkl", pickle.dumps(Exploit()))
    return out.getvalue()


def object_array() -> bytes:
    out = io.BytesIO()
    np.save(out, np.array([Exploit()], dtype=object), allow_pickle=True)
    return out.getvalue()


PICKLES = {
    "protocol 0": ("a.bin", pickle.dumps({"w": [1.0] * 50}, protocol=0)),
    "protocol 2": ("a.bin", pickle.dumps({"w": [1.0] * 50}, protocol=2)),
    "protocol 4": ("weights", pickle.dumps(Exploit(), protocol=4)),
    "protocol 5, long": ("a.dat", pickle.dumps(list(range(5000)), protocol=5)),
    "torch": ("pytorch_model.bin", torch_zip()),
    "torch named as an image": ("a.bin", torch_zip()),
    "legacy tar": ("model.pt", ARCHIVES["tar"]),
    "by name alone": ("model.joblib", b"\x78\x9c" + bytes(40)),
    "array of objects": ("a.npy", object_array()),
}


@pytest.mark.parametrize("kind", PICKLES)
def test_a_pickle_is_refused_on_plain_repositories_and_says_who_could_allow_it(client: Client, kind: str) -> None:
    name, content = PICKLES[kind]

    status, problem = commit(client, "plain", {name: content, "README.md": b"# hi"})

    assert (status, problem["code"]) == (422, "file-refused")
    if kind != "legacy tar":
        assert "ALLOW_PICKLE" in problem["detail"]
    assert not Path("/tmp/priorhub-was-here").exists()


@pytest.mark.parametrize("kind", sorted(PICKLES.keys() - {"legacy tar"}))
def test_where_the_operator_allows_pickles_they_are_marked_and_still_no_part_of_priors(
    client: Client, settings: Settings, kind: str
) -> None:
    settings.ALLOW_PICKLE = True
    name, content = PICKLES[kind]

    status, _ = commit(client, "plain", {name: content, "fine.txt": b"1"})
    made = Commit.objects.get()

    assert status == 201
    told = file_status(made, [sha256(content), sha256(b"1")])
    assert told[sha256(content)]["status"] == told[sha256(content)]["pickleImportScan"]["status"] == "suspicious"
    assert told[sha256(b"1")]["status"] == "safe"
    page = client.get(f"/{made.repository}").content.decode()
    assert "Look before you open" in page
    assert commit(client, "prior", prior({name: content}))[0] == 422
    assert not Path("/tmp/priorhub-was-here").exists()


def test_random_bytes_are_no_pickle_under_any_opaque_name(client: Client) -> None:
    files = {f"{n}.bin": bytes([0x80, 2 + n % 4]) + random.Random(n).randbytes(3000) for n in range(200)}

    status, problem = commit(client, "plain", files)

    assert status == 201, problem


def png(data: bytes = b"", width: int = 4, height: int = 4) -> bytes:
    out = io.BytesIO()
    Image.new("L", (4, 4)).save(out, "PNG")
    made = out.getvalue()
    return made[:16] + struct.pack(">II", width, height) + made[24:] + data


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("picture.png", png(torch_zip())),
        ("picture.png", png(b"<script>")),
        ("picture.png", png(width=50_000, height=50_000)),
        ("picture.jpg", b"\xff\xd8\xff\xe0" + bytes(100) + b"\xff\xd9" + torch_zip()),
        ("picture.webp", b"RIFF\x0c\x00\x00\x00WEBPVP8 " + bytes(4) + torch_zip()),
        ("model.safetensors", b"#!/bin/sh\nrm -rf /\n{" + bytes(80)),
        ("notes.txt", b"hello\n" + torch_zip()),
        ("model.keras", torch_zip()),
        ("model.h5", b"\x89HDF\r\n\x1a\n" + b"Lambda" * 20),
        ("data.npz", torch_zip()),
        ("model.gguf", b"GGUF" + b"{{ ''.__class__ }}" * 9),
        ("model.pt2", torch_zip()),
        ("page.html", b"<script>alert(1)</script>"),
        ("drawing.svg", b"<svg onload='alert(1)'/>"),
        ("data.npy", object_array()),
    ],
)  # fmt: skip
def test_polyglots_and_formats_that_can_run_code_are_refused(client: Client, name: str, content: bytes) -> None:
    status, problem = commit(client, "prior", prior({name: content}))

    assert status == 422
    assert problem["code"] in {"bad-weights", "file-refused"}


def test_ordinary_pictures_and_text_are_fine(client: Client) -> None:
    made = {}
    for kind, suffix in (("PNG", "png"), ("JPEG", "jpg"), ("WEBP", "webp")):
        out = io.BytesIO()
        Image.new("RGB", (40, 30), "red").save(out, kind)
        made[f"picture.{suffix}"] = out.getvalue()

    status, problem = commit(client, "prior", prior({**made, "a.yaml": b"a: 1\n", "NOTICE": b"all rights"}))

    assert status == 201, problem


def field(number: int, content: bytes | int) -> bytes:
    def varint(value: int) -> bytes:
        out = bytearray()
        while value > 0x7F:
            out.append(value & 0x7F | 0x80)
            value >>= 7
        return bytes([*out, value])

    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def onnx(*graph: bytes, opset: bytes = b"") -> bytes:
    return field(1, 8) + field(7, b"".join(graph)) + field(8, field(1, opset) + field(2, 17))


WEIGHTS = field(5, field(1, 4) + field(2, 1) + field(9, bytes(16)))
NODE = field(1, field(1, b"x") + field(4, b"Relu"))


def test_an_onnx_model_of_one_file_with_standard_operators_is_fine(client: Client) -> None:
    status, problem = commit(client, "prior", prior({"model.onnx": onnx(NODE, WEIGHTS)}))

    assert status == 201, problem


@pytest.mark.parametrize(
    "content",
    [
        onnx(field(5, field(1, 4) + field(13, field(1, b"location") + field(2, b"../../etc/passwd")) + field(14, 1))),
        onnx(field(5, field(14, 1))),
        onnx(field(1, field(4, b"Evil") + field(7, b"com.evil"))),
        onnx(field(1, field(4, b"If") + field(5, field(6, field(1, field(7, b"com.evil")))))),
        onnx(NODE, opset=b"com.evil"),
        onnx(NODE)[:-3],
        b"\x08" + b"\xff" * 40,
        b"",
    ],
    ids=["external file", "external flag", "operator", "operator in a branch", "opset", "cut off", "noise", "empty"],
)  # fmt: skip
def test_onnx_that_reads_other_files_or_needs_other_operators_is_refused(client: Client, content: bytes) -> None:
    status, problem = commit(client, "prior", prior({"model.onnx": content}))

    assert (status, problem["code"]) == (422, "file-refused")


def test_a_file_cut_off_anywhere_or_with_one_flipped_bit_is_refused(client: Client) -> None:
    whole, chance = one_tensor("w"), random.Random(3)
    flipped = bytearray(whole)
    at = chance.randrange(len(flipped) * 8)
    flipped[at // 8] ^= 1 << at % 8
    promise = {"w.safetensors": {"sha256": sha256(whole), "size": len(whole)}}
    manifest = json.dumps(function_manifest(files=promise)).encode()

    for content in [whole[: chance.randrange(len(whole))] for _ in range(8)] + [bytes(flipped)]:
        assert commit(client, "prior", {"prior.json": manifest, "w.safetensors": content})[0] == 422
    assert commit(client, "prior", {"prior.json": manifest, "w.safetensors": whole})[0] == 201


@pytest.mark.parametrize(
    ("name", "content"),
    [("data.parquet", b"PK\x03\x04"), ("a.wav", b"MZ" + bytes(60)), ("a.npy", object_array()),
     ("a.csv", b"a,b\n\x00\x01"), ("a.jsonl", pickle.dumps({"a": 1})), ("model.pt", torch_zip())],
)  # fmt: skip
def test_a_task_holds_rows_and_nothing_else(client: Client, name: str, content: bytes) -> None:
    status, _ = commit(client, "task", {"task.json": b"{}", name: content})

    assert status == 422


def test_a_table_may_begin_with_any_word(client: Client) -> None:
    document = {
        "task": 1, "name": "t", "target": "y", "kind": "binary", "metric": "accuracy", "group": None,
        "columns": [{"name": "PK", "modality": "text"}, {"name": "y", "modality": "target"}],
        "labels": ["a", "b"], "rows": 2, "unlabelled": 0, "splits": {}, "data": "data.csv",
    }  # fmt: skip
    files = {"task.json": json.dumps(document).encode(), "data.csv": b"PK,y\nMZ,a\n#!,b\n"}

    status, problem = commit(client, "task", files)

    assert status == 201, problem


def test_a_picture_that_is_none_is_refused_and_an_unknown_ending_is_only_bytes(client: Client) -> None:
    wrong = commit(client, "prior", prior({"figure.png": b"GIF89a" + bytes(100)}))
    unknown = commit(client, "prior", prior({"vocabulary.spm": b"\x0a\x0b words " * 50}))

    assert wrong[0] == 422
    assert "figure.png" in wrong[1]["detail"]
    assert unknown[0] == 201


@pytest.mark.parametrize(
    ("kind", "files", "code"),
    [
        ("prior", {"README.md": b"# no manifest"}, "file-refused"),
        ("prior", {"prior.json": b"{"}, "bad-manifest"),
        ("prior", prior({}, kind="network"), "bad-manifest"),
        ("prior", prior({}, function={"id": "magic", "config": {}}), "unknown-function"),
        ("prior", prior({"README.md": b"x" * 70_000}), "file-refused"),
        ("prior", prior({"README.md": b"\xff\xfe"}), "file-refused"),
        ("composition", {"composition.json": b"[]"}, "bad-graph"),
        ("composition", {"README.md": b"# none"}, "file-refused"),
        ("task", {"task.json": b"{}"}, "bad-task"),
        ("task", {"data.csv": b"a,b\n"}, "file-refused"),
    ],
)  # fmt: skip
def test_a_repository_that_is_not_what_its_kind_says_is_refused(
    client: Client, kind: str, files: dict[str, bytes], code: str
) -> None:
    status, problem = commit(client, kind, files)

    assert (status, problem["code"]) == (422, code)
    assert problem["detail"].count("\n") == 0


def test_a_manifest_that_promises_other_bytes_is_refused(client: Client) -> None:
    promise = {"NOTICE": {"sha256": sha256(b"promised"), "size": 8}}
    manifest = json.dumps(function_manifest(files=promise)).encode()

    status, problem = commit(client, "prior", {"prior.json": manifest, "NOTICE": b"tampered"})

    assert (status, problem["code"]) == (422, "file-refused")
    assert "promises" in problem["detail"]


@pytest.mark.parametrize(
    "name", ["ann", "ann/", "/x", "ann/..", "ann/a b", "ann/ä", "ann/x.git", "ann/" + "x" * 97, "ann/-x", "a/b/c"]
)
def test_a_bad_repository_name_is_refused(client: Client, name: str) -> None:
    ann = make_user("ann")

    response = client.post(
        "/api/v1/repos", {"name": name, "kind": "plain"}, content_type="application/json", headers=bearer(ann)
    )

    assert (response.status_code, response.json()["code"]) in {(422, "bad-name"), (404, "not-found")}
