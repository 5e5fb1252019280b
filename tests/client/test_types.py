"""Datasets and spaces: repositories of other types, which may share a name with a model."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hub.accounts.models import User
from hub.accounts.services import create_token, create_user
from hub.repos.models import Repository
from priors.client import Cache, Hub, _parcels, _upload
from priors.errors import HubError, HubUnreachable, NotFound
from priors.tasks import Task

pytestmark = pytest.mark.django_db(transaction=True)

MODEL, ROWS, APP = {"config.json": b"{}"}, {"rows.csv": b"a,b\n1,2\n"}, {"app.py": b"print(1)\n"}
NAMES = {"ada/x": MODEL, "datasets/ada/x": ROWS, "spaces/ada/x": APP}


@pytest.fixture
def ada(home: Path) -> User:
    return create_user(name="ada")


@pytest.fixture
def live(live_server: Any, ada: User) -> Iterator[Hub]:
    text, _ = create_token(user=ada, name="test", role="write")
    with Hub(live_server.url, text) as hub:
        yield hub


def write(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_three_types_of_one_name_are_three_repositories_here_and_there(live: Hub, tmp_path: Path) -> None:
    for name, files in NAMES.items():
        live.push(write(tmp_path / name, files), name)

    assert {name: contents(live.pull(name)) for name in NAMES} == NAMES
    assert sorted(Repository.objects.values_list("type", "kind")) == [
        ("dataset", "plain"), ("model", "plain"), ("space", "plain")
    ]  # fmt: skip
    assert sorted(name for name, _ in live.cache.snapshots()) == sorted(NAMES)
    assert live.show("datasets/ada/x")["type"] == "dataset"
    assert not live.cache.audit().damaged


def test_a_dataset_is_changed_moved_tagged_and_deleted_as_one(live: Hub, tmp_path: Path) -> None:
    for name, files in NAMES.items():
        live.push(write(tmp_path / name, files), name)

    live.tag("datasets/ada/x", "v1")
    live.push(write(tmp_path / "datasets/ada/x", {"more.csv": b"c\n"}), "datasets/ada/x", branch="next")
    live.settings("datasets/ada/x", private=True)
    live.move("datasets/ada/x", "datasets/ada/y")

    assert [ref.name for ref in live.refs("datasets/ada/y")] == ["main", "next", "v1"]
    assert contents(live.pull("datasets/ada/y@v1")) == ROWS
    assert contents(live.pull("datasets/ada/x@next")) == ROWS | {"more.csv": b"c\n"}  # by its old name
    assert live.read("ada/x", "config.json") == b"{}"
    assert not live.show("ada/x")["private"]
    with pytest.raises(HubError, match="another type"):
        live.move("datasets/ada/y", "spaces/ada/y")
    live.delete("datasets/ada/y")
    with pytest.raises(NotFound):
        live.show("datasets/ada/y")
    assert contents(live.pull("spaces/ada/x")) == APP


def test_a_large_file_of_a_dataset_goes_up_in_chunks_and_is_resumed(
    live: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_upload, "CHUNKED_BYTES", 100_000)
    content = {"big.bin": os.urandom(3_000_000)}
    live.push(write(tmp_path / "model", MODEL), "ada/x")
    folder = write(tmp_path / "rows", content)
    sent: list[str] = []
    put = _parcels.Courier._put

    def breaks(courier: Any, address: str, *args: Any, **kwargs: Any) -> Any:
        sent.append(address)
        if len(sent) == 2:
            raise HubUnreachable("the line went dead")
        return put(courier, address, *args, **kwargs)

    monkeypatch.setattr(_parcels.Courier, "_put", breaks)
    monkeypatch.setattr(_parcels, "persistently", lambda call: call())
    with pytest.raises(HubUnreachable):
        live.push(folder, "datasets/ada/x")
    live.push(folder, "datasets/ada/x")

    assert any("/chunks/" in address and address.endswith("?type=dataset") for address in sent)
    assert contents(live.pull("datasets/ada/x")) == content
    assert contents(live.pull("ada/x")) == MODEL


def test_a_task_is_a_dataset_beside_a_model_of_the_same_name(live: Hub, tmp_path: Path) -> None:
    task = Task.from_table({"text": [f"text {i}" for i in range(8)], "y": ["a", "b"] * 4}, "y", name="t")
    live.push(write(tmp_path / "model", MODEL), "ada/x")
    live.push(task.save(tmp_path / "task", portable=True), "ada/x")

    assert contents(live.pull("ada/x")) == MODEL
    assert "task.json" in contents(live.pull("datasets/ada/x"))


def test_a_dataset_is_found_in_the_cache_while_the_hub_is_away(live: Hub, tmp_path: Path) -> None:
    live.push(write(tmp_path / "rows", ROWS), "datasets/ada/x")
    live.pull("datasets/ada/x")

    with Hub("http://127.0.0.1:9", cache=Cache(live.cache.root)) as away:
        assert contents(away.pull("datasets/ada/x")) == ROWS
        with pytest.raises(HubUnreachable):
            away.pull("ada/x")


@pytest.mark.parametrize("name", ["datasets/ada", "dataset/ada/x", "datasets/ada/x/y", "datasets//x", "kernels/ada/x"])
def test_what_is_no_name_is_refused_before_the_hub_is_asked(live: Hub, name: str) -> None:
    with pytest.raises(HubError, match="is no repository name"):
        live.pull(name)
