"""With a bucket, what this project's own client pushes and gets goes there: the web process only hears of it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from priors.chunks import cut, to_hex, xorb_hash
from priors.client import Cache, Hub
from tests.bucket_world import FAR_LESS, World, noise, running, wait_for
from tests.factories import sha256

pytestmark = pytest.mark.slow
MB = 1_000_000


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with running(tmp_path_factory.mktemp("push")) as world:
        yield world


@pytest.fixture
def hub(world: World, tmp_path: Path) -> Iterator[Hub]:
    with Hub(world.counter.url, world.token, cache=Cache(tmp_path / "cache")) as hub:
        yield hub


def put_by_clients(world: World) -> int:
    return world.bucket.bytes_of("client", "PUT")


def forget_whole_files(world: World) -> None:
    """As `evict` does with what was not used for long."""
    lines = "from hub.xet import bucketed, models\nfor row in models.AssembledBlob.objects.all():\n"
    world.hub.manage("shell", "-c", f"{lines}    row.delete()\n    bucketed.delete(row.key)")


def test_a_push_goes_to_the_bucket_and_a_change_of_it_costs_what_it_is(world: World, hub: Hub, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    folder.mkdir()
    files = {"model.bin": noise(24 * MB, 1), "config.json": b"{}"}
    files |= {f"part{number}.bin": noise(200_000, 10 + number) for number in range(3)}
    for path, data in files.items():
        (folder / path).write_bytes(data)
    size = sum(map(len, files.values()))
    steps: list[tuple[int, int]] = []

    before, heard, sent = world.said(), world.counter.bytes, put_by_clients(world)
    hub.push(folder, "ann/pushed", report=lambda done, of, what: steps.append((done, of)))
    assert world.counter.bytes - heard < FAR_LESS / 5 * size
    assert world.said() - before < FAR_LESS * size  # with what the rules of a commit look at: of small files, all
    assert 0.99 * size < put_by_clients(world) - sent < 1.01 * size
    assert steps[-1] == (size, size)

    pulled = hub.pull("ann/pushed", to=tmp_path / "out")
    assert {path: (pulled / path).read_bytes() for path in files} == files

    files["model.bin"] = files["model.bin"][: 12 * MB] + noise(40_000, 2) + files["model.bin"][12 * MB + 40_000 :]
    (folder / "model.bin").write_bytes(files["model.bin"])
    before, sent = world.said(), put_by_clients(world)
    hub.push(folder, "ann/pushed")
    assert put_by_clients(world) - sent < 700_000
    assert world.said() - before < FAR_LESS * size / 4
    again = hub.pull("ann/pushed", to=tmp_path / "again")
    assert (again / "model.bin").read_bytes() == files["model.bin"]
    world.sound()


def test_a_push_that_was_killed_sends_only_the_rest(
    world: World, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = 500_000
    script = (
        f"import sys; from priors.client import Hub, _upload; _upload.RUN_BYTES = {run}\n"
        "Hub(sys.argv[1], sys.argv[2]).push(sys.argv[3], 'ann/killed')"
    )
    (tmp_path / "m").mkdir()
    data = noise(24 * MB, 3)
    (tmp_path / "m" / "model.bin").write_bytes(data)
    before = put_by_clients(world)
    process = subprocess.Popen(
        [sys.executable, "-c", script, world.counter.url, world.token, str(tmp_path / "m")], stderr=subprocess.DEVNULL
    )
    wait_for(lambda: put_by_clients(world) - before > 8 * MB or process.poll() is not None)
    process.send_signal(signal.SIGKILL)
    process.wait()
    arrived = put_by_clients(world) - before
    assert 8 * MB < arrived < 0.9 * len(data)
    assert world.http.get("/api/v1/repos/ann/killed/tree/main").status_code == 404  # nothing half a push

    monkeypatch.setattr("priors.client._upload.RUN_BYTES", run)
    said, sent = world.said(), put_by_clients(world)
    hub.push(tmp_path / "m", "ann/killed")

    most_under_way = 8 * run  # one a connection
    assert put_by_clients(world) - sent < len(data) - arrived + most_under_way
    assert world.said() - said < FAR_LESS * len(data)
    assert (hub.pull("ann/killed") / "model.bin").read_bytes() == data


def test_other_bytes_than_their_name_says_are_refused(world: World) -> None:
    world.create("ann/wrong")
    meant, sent = noise(300_000, 4), noise(300_000, 5)
    chunks = list(cut([meant]))
    xorb = to_hex(xorb_hash([(chunk.hash, len(chunk.data)) for chunk in chunks]))
    items = [
        {"kind": "blob", "name": sha256(meant), "size": len(meant)},
        {"kind": "xorb", "name": xorb, "size": len(sent)},
    ]
    where = "/api/v1/repos/ann/wrong/uploads"

    places = world.http.post(where, json={"items": items}).raise_for_status().json()["items"]
    for place in places:
        assert httpx.put(place["url"], content=sent).status_code == 200

    for place, refused in zip(places, ((422, "hash-mismatch"), (400, "bad-xorb")), strict=True):
        told = wait_for(lambda place=place: refusal(world, where, place["upload"]))
        assert (told.status_code, told.json()["code"]) == refused
    assert world.http.post("/api/v1/blobs/missing", json={"sha256": [sha256(meant)]}).json()["missing"]
    names = json.dumps(sorted(world.bucket.names()))
    assert sha256(meant) not in names and xorb not in names


def refusal(world: World, where: str, upload: str) -> httpx.Response | None:
    answer = world.http.post(f"{where}/arrived", json={"uploads": [upload]})
    return answer if answer.status_code != 200 or not answer.json()["waiting"] else None


def test_a_file_that_left_the_cache_of_whole_files_is_made_again_before_it_is_sent(world: World, hub: Hub) -> None:
    data = noise(12 * MB, 6)
    world.create("ann/evicted")
    world.push("ann/evicted", {"model.bin": data}, xet=True)
    where = "/ann/evicted/resolve/main/model.bin"

    forget_whole_files(world)
    before = world.said()
    answer = world.http.get(where, follow_redirects=True)
    assert answer.content == data
    assert str(answer.url).startswith(world.bucket.url)
    assert world.said() - before < FAR_LESS * len(data)

    forget_whole_files(world)
    before = world.said()
    part = world.http.get(where, headers={"Range": "bytes=1000-1999"}, follow_redirects=True)
    assert (part.status_code, part.content) == (206, data[1000:2000])
    assert str(part.url).startswith(world.counter.url)  # so few bytes are had sooner here

    forget_whole_files(world)
    before = world.said()
    assert (hub.pull("ann/evicted") / "model.bin").read_bytes() == data
    assert world.pull("ann/evicted", xet=False) == {"model.bin": data}
    assert world.said() - before < FAR_LESS * len(data)
    world.sound()
