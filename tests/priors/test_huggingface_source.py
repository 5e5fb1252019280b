"""Reading a repository of another hub: what it lists, its bytes, and what it may do wrong."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from priors.errors import AddressRefused, NotAllowed, NotFound, RemoteFailed
from priors.sources import huggingface
from priors.sources.huggingface import Source
from tests.fake_source import COMMIT, FakeSource, serving

FILES = {"config.json": b"{}", "model.safetensors": os.urandom(3_000_000), "a b/ü.txt": b"text", "README.md": b"# x"}


@pytest.fixture
def fake() -> Iterator[FakeSource]:
    with serving(FakeSource()) as fake:
        fake.add("org/name", FILES)
        yield fake


@pytest.fixture
def source(fake: FakeSource, monkeypatch: pytest.MonkeyPatch) -> Iterator[Source]:
    monkeypatch.setattr(huggingface.time, "sleep", lambda seconds: None)
    with Source(fake.url, allow_private=True) as source:
        yield source


def test_a_repository_is_listed_over_all_pages_with_its_commit_and_license(source: Source) -> None:
    found = source.look("org/name")

    assert {file.path: file.size for file in found.files} == {path: len(data) for path, data in FILES.items()}
    assert [file.path for file in found.files if file.sha256] == ["model.safetensors"]
    assert (found.commit, found.license, found.size) == (COMMIT, "apache-2.0", sum(map(len, FILES.values())))


@pytest.mark.parametrize("path", FILES)
def test_files_come_byte_for_byte(source: Source, tmp_path: Path, path: str) -> None:
    found = source.look("org/name")
    steps: list[int] = []

    source.fetch(found, next(f for f in found.files if f.path == path), tmp_path / "part", progress=steps.append)

    assert (tmp_path / "part").read_bytes() == FILES[path]
    assert steps == sorted(steps)
    assert steps[-1] == len(FILES[path])


def test_an_empty_file_and_a_dataset_come_too(fake: FakeSource, source: Source, tmp_path: Path) -> None:
    fake.add("org/data", {"empty.txt": b""}, type="dataset")
    found = source.look("org/data", type="dataset")

    source.fetch(found, found.files[0], tmp_path / "part")

    assert (tmp_path / "part").read_bytes() == b""


def test_a_file_goes_on_where_it_stopped(fake: FakeSource, source: Source, tmp_path: Path) -> None:
    found = source.look("org/name")
    large = next(file for file in found.files if file.sha256)

    class Enough(Exception):
        pass

    def stop(size: int) -> None:
        if size > 1_500_000:
            raise Enough

    with pytest.raises(Enough):
        source.fetch(found, large, tmp_path / "part", progress=stop)
    have = (tmp_path / "part").stat().st_size
    fake.asked.clear()
    source.fetch(found, large, tmp_path / "part")

    assert have > 1_500_000
    assert fake.asked == [("model.safetensors", f"bytes={have}-")]
    assert (tmp_path / "part").read_bytes() == FILES["model.safetensors"]


def test_a_line_that_breaks_again_and_again_is_taken_up_while_it_moves(
    fake: FakeSource, source: Source, tmp_path: Path
) -> None:
    found = source.look("org/name")
    large = next(file for file in found.files if file.sha256)
    fake.breaks_after = 300_000

    source.fetch(found, large, tmp_path / "part")

    assert len(fake.asked) == 10
    assert (tmp_path / "part").read_bytes() == FILES["model.safetensors"]
    fake.breaks_after = 0
    (tmp_path / "part").unlink()
    with pytest.raises(RemoteFailed, match="stopped sending"):
        source.fetch(found, large, tmp_path / "part")


@pytest.mark.parametrize(
    ("path", "tamper"),
    [
        ("model.safetensors", lambda data: data[:-1] + bytes([data[-1] ^ 1])),
        ("README.md", lambda data: b"# y"),
        ("README.md", lambda data: data + b"more"),
        ("model.safetensors", lambda data: data + b"more"),
    ],
)
def test_other_bytes_than_listed_are_refused(
    fake: FakeSource, source: Source, tmp_path: Path, path: str, tamper: Any
) -> None:
    found = source.look("org/name")
    fake.tamper = tamper

    with pytest.raises(RemoteFailed, match="sends"):
        source.fetch(found, next(file for file in found.files if file.path == path), tmp_path / "part")


def test_what_is_not_there_or_gated_says_so(fake: FakeSource, source: Source, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no such public repository: org/none"):
        source.look("org/none")
    with pytest.raises(NotFound, match="no such revision"):
        source.look("org/name", rev="v9")
    found = source.look("org/name")
    fake.gated = True
    with pytest.raises(NotAllowed, match="gated"):
        source.fetch(found, found.files[0], tmp_path / "part")


@pytest.mark.parametrize(
    "listing",
    [
        lambda items: {"not": "a list"},
        lambda items: [{"type": "file"}],
        lambda items: [{**items[0], "size": -1}],
        lambda items: [{**items[0], "size": "many"}],
        lambda items: "words",
    ],
)
def test_nonsense_is_one_clear_line(fake: FakeSource, source: Source, listing: Any) -> None:
    fake.listing = listing

    with pytest.raises(RemoteFailed) as told:
        source.look("org/name")
    assert "\n" not in str(told.value)


def test_a_machine_of_this_network_is_refused_unless_the_operator_allows_it(fake: FakeSource) -> None:
    with Source(fake.url) as source, pytest.raises(AddressRefused, match="not a public address"):
        source.look("org/name")
    assert fake.asked == []


def test_an_endpoint_that_is_away_is_one_clear_line() -> None:
    with (
        Source("http://127.0.0.1:9", allow_private=True) as source,
        pytest.raises(RemoteFailed, match="cannot be read"),
    ):
        source.look("org/name")
