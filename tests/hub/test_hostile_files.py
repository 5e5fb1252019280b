"""What may not be published: refused with a stable code, and neither commit nor repository content changes."""

from __future__ import annotations

import json
import os
import pickle
import struct
import time
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from hub.repos.models import Commit, TreeEntry
from hub.repos.names import check_paths
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

    began = time.perf_counter()
    response = client.post(
        f"/api/v1/repos/{repository}/commits", body, content_type="application/json", headers=headers
    )
    seconds = time.perf_counter() - began

    assert response.json()["code"] == "bad-weights"
    assert seconds < 0.5  # the check itself has 50 ms; a request and a slow machine have the rest


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
