"""A hub whose store is a bucket, with real workers and the stock client: bytes go between client, bucket and worker."""

from __future__ import annotations

import json
import random
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from tests.bucket_world import FAR_LESS, Files, World, noise, running, wait_for
from tests.factories import function_manifest, sha256

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with running(tmp_path_factory.mktemp("bucket")) as world:
        yield world


@pytest.mark.parametrize(
    ("way", "size"), [("xet", 12_000_000), ("lfs", 11_000_000), ("lfs", 70_000_000)], ids=["xet", "lfs", "lfs in parts"]
)
def test_what_the_stock_client_sends_and_gets_never_passes_through_the_web_process(
    world: World, way: str, size: int
) -> None:
    repo, xet = f"ann/{way}-{size}", way == "xet"
    files = {"model.bin": noise(size, size), "small.bin": noise(200_000, size + 1), "notes.txt": b"some notes\n"}
    world.create(repo)

    before, sent = world.said(), world.bucket.bytes_of("client", "PUT")
    world.push(repo, files, xet=xet)
    assert world.said() - before < FAR_LESS * size
    assert world.bucket.bytes_of("client", "PUT") - sent > 0.99 * size

    for by_chunks in (True, False) if size < 50_000_000 else (False,):
        before, got = world.said(), world.bucket.bytes_of("client", "GET")
        assert world.pull(repo, xet=by_chunks) == files
        assert world.said() - before < FAR_LESS * size
        assert world.bucket.bytes_of("client", "GET") - got > 0.99 * size
    assert {call.who for call in world.bucket.calls if call.method == "PUT" and call.size > 500_000} == {
        "client", "worker"
    }  # fmt: skip


def test_ranges_are_read_from_the_bucket(world: World) -> None:
    data = noise(3_000_000, 77)
    world.create("ann/ranges")
    world.push("ann/ranges", {"a.bin": data}, xet=True)
    where = "/ann/ranges/resolve/main/a.bin"

    told = world.http.get(where)
    before = world.said()
    for asked, expected in (("0-9", data[:10]), ("1000000-2000000", data[1_000_000:2_000_001]), ("-5", data[-5:])):
        answer = world.http.get(where, headers={"Range": f"bytes={asked}"}, follow_redirects=True)
        assert (answer.status_code, answer.content) == (206, expected)
        assert str(answer.url).startswith(world.bucket.url)

    assert told.status_code == 302
    assert told.headers["Location"].startswith(world.bucket.url)
    assert world.said() - before < 50_000


def test_a_web_process_killed_in_an_upload_loses_nothing(world: World) -> None:
    for way in ("xet", "lfs"):
        repo, chance = f"ann/killed-{way}", random.Random(time.time_ns())
        files = {"a.bin": noise(6_000_000, time.time_ns()), "b.bin": noise(2_000_000, time.time_ns())}
        world.create(repo)
        failed: list[BaseException] = []

        def send(repo: str = repo, files: Files = files, way: str = way, failed: list[BaseException] = failed) -> None:
            try:
                world.push(repo, files, xet=way == "xet")
            except (RuntimeError, subprocess.TimeoutExpired) as error:
                failed.append(error)

        sender = threading.Thread(target=send)
        sender.start()
        time.sleep(1.5 + 2.5 * chance.random())
        world.hub.kill()
        world.hub.start()
        sender.join()
        if failed:
            world.push(repo, files, xet=way == "xet")

        assert world.pull(repo, xet=True) == files
    world.sound()


def test_what_nobody_needs_leaves_the_bucket(world: World) -> None:
    world.create("ann/kept")
    world.push("ann/kept", {"a.bin": noise(1_000_000, 5)}, xet=True)
    world.create("ann/gone")
    kept = noise(1_000_000, 5)
    world.push("ann/gone", {"a.bin": kept + noise(4_000_000, 6), "small.bin": noise(100_000, 8)}, xet=False)
    gone = sha256(kept + noise(4_000_000, 6))
    assert any(gone in key for key in world.bucket.names())

    world.client("api.delete_repo(sys.argv[3])", "ann/gone", xet=False)
    world.hub.manage("sweep", "--grace", "0")

    assert not any(name in key for key in world.bucket.names() for name in (gone, sha256(noise(100_000, 8))))
    assert not any(key.startswith("blobs/arriving/") for key in world.bucket.names())
    assert world.pull("ann/kept", xet=True) == world.pull("ann/kept", xet=False) == {"a.bin": kept}
    world.sound()


def test_workers_read_weights_from_the_bucket(world: World) -> None:
    config = {
        "architectures": ["BertModel"], "model_type": "bert", "hidden_size": 32, "num_hidden_layers": 1,
        "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 3000,
    }  # fmt: skip
    tensors = {"embeddings.word_embeddings.weight": np.random.default_rng(1).random((3000, 32), np.float32)}
    world.create("ann/weights")

    before = world.bucket.bytes_of("worker", "GET")
    world.push(
        "ann/weights", {"config.json": json.dumps(config).encode(), "model.safetensors": save(tensors)}, xet=True
    )

    def numbers() -> Any:
        info = world.http.get("/api/models/ann/weights", params={"expand": "safetensors"}).raise_for_status()
        return info.json().get("safetensors")

    assert wait_for(numbers)["total"] == 96_000
    assert world.bucket.bytes_of("worker", "GET") > before


def test_a_job_fits_on_rows_and_predicts_with_weights_in_the_bucket(world: World) -> None:
    rows = "text,label\n" + "".join(
        f"{verb} {word} {end},{label}\n"
        for verb, label in (("eat", "food"), ("say", "talk"))
        for word in ("soup", "bread", "rice", "beans", "hello", "thanks", "cheers", "please")
        for end in ("today", "again")
    )
    document = {
        "task": 1, "name": "rows", "target": "label", "kind": "binary", "metric": "accuracy", "group": None,
        "columns": [{"name": "text", "modality": "text"}, {"name": "label", "modality": "target"}],
        "labels": ["food", "talk"], "rows": 32, "unlabelled": 0, "splits": {}, "data": "data.csv",
    }  # fmt: skip
    for name in ("char-ngrams", "word-ngrams"):
        manifest = function_manifest(name, function={"id": name.replace("-", "_"), "config": {}})
        world.create(f"ann/{name}", kind="prior")
        world.push(f"ann/{name}", {"prior.json": json.dumps(manifest).encode()}, xet=True)
    world.create("ann/rows", kind="task")
    files = {"task.json": json.dumps(document).encode(), "data.csv": rows.encode()}
    world.push("ann/rows", files, xet=True, type="dataset")

    def done(kind: str, spec: dict[str, Any]) -> Any:
        job = world.http.post("/api/v1/jobs", json={"kind": kind, "spec": spec})
        assert job.status_code in (200, 201, 202), job.text
        where = f"/api/v1/jobs/{job.json()['id']}"
        wait_for(lambda: world.http.get(where).json()["status"] in ("done", "failed"), 300)
        ended = world.http.get(where).json()
        assert ended["status"] == "done", ended["error"]
        return where

    done("fit", {"task": "ann/rows", "push_to": "ann/model"})
    weights = world.http.get("/api/v1/repos/ann/model/tree/main").json()["files"]
    [sha] = [each["sha256"] for each in weights if each["path"] == "model.safetensors"]
    read = len(world.bucket.calls)
    where = done("predict", {"model": "ann/model", "data": "ann/rows"})

    assert any(call.who == "worker" and call.method == "GET" for call in world.bucket.calls[read:])
    assert (
        any(sha in key for key in world.bucket.names())
        or world.http.get("/ann/model/resolve/main/model.safetensors").is_redirect
    )
    answer = world.http.get(f"{where}/file", follow_redirects=True)
    assert answer.text.count("\n") >= 32
    world.sound()
