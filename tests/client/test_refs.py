"""Branches, tags, settings and names, from Python and from the command line, against the hub itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from composer.cli import app
from hub.accounts.services import create_token, create_user
from priors.client import Cache, Hub
from priors.errors import Conflict, HubError, NotFound, UserError

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def hub(home: Path, live_server: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    text, _ = create_token(user=create_user(name="ada"), name="test", role="write")
    monkeypatch.setenv("PRIORHUB_URL", live_server.url)
    monkeypatch.setenv("PRIORHUB_TOKEN", text)
    with Hub() as hub:
        yield hub


def folder(path: Path, **files: str) -> Path:
    path.mkdir(exist_ok=True)
    for name, content in files.items():
        (path / name).write_text(content)
    return path


def cli(*words: str, code: int = 0) -> Any:
    result = CliRunner().invoke(app, [*words, "--json"])
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def test_a_push_to_a_branch_begins_at_main_and_leaves_main_alone(hub: Hub, tmp_path: Path) -> None:
    first = hub.push(folder(tmp_path / "d", a="1"), "ada/m")

    second = hub.push(folder(tmp_path / "d", a="2"), "ada/m", branch="next/try")
    third = hub.push(folder(tmp_path / "d", a="3"), "ada/m", branch="next/try")

    assert (hub.pull("ada/m") / "a").read_text() == "1"
    assert (hub.pull("ada/m", "next/try") / "a").read_text() == "3"
    assert (hub.pull(f"ada/m@{second}") / "a").read_text() == "2"
    assert [c["oid"] for c in hub.commits("ada/m", "next/try")] == [third, second, first]
    assert [c["oid"] for c in hub.commits("ada/m", "main")] == [first]
    assert {(ref.kind, ref.name, ref.commit) for ref in hub.refs("ada/m")} == {
        ("branch", "main", first), ("branch", "next/try", third),
    }  # fmt: skip


def test_the_first_push_may_go_to_any_branch(hub: Hub, tmp_path: Path) -> None:
    hub.push(folder(tmp_path / "d", a="1"), "ada/m", branch="draft")

    assert [ref.name for ref in hub.refs("ada/m")] == ["draft"]


def test_tags_stay_and_both_go(hub: Hub, tmp_path: Path) -> None:
    first = hub.push(folder(tmp_path / "d", a="1"), "ada/m")
    assert hub.tag("ada/m", "v1").commit == first
    assert hub.branch("ada/m", "old", "v1").commit == first
    second = hub.push(folder(tmp_path / "d", a="2"), "ada/m")

    assert (hub.pull("ada/m@v1") / "a").read_text() == "1"
    for again in (lambda: hub.tag("ada/m", "v1"), lambda: hub.branch("ada/m", "old")):
        with pytest.raises(Conflict):
            again()
    with pytest.raises(Conflict, match="needs its branch main"):
        hub.delete_branch("ada/m", "main")
    for name in ("-x", "a..b", "a" * 201, second):
        with pytest.raises(UserError):
            hub.branch("ada/m", name)
    hub.delete_tag("ada/m", "v1")
    hub.delete_branch("ada/m", "old")
    for gone in (lambda: hub.delete_tag("ada/m", "v1"), lambda: hub.delete_branch("ada/m", "old")):
        with pytest.raises(NotFound):
            gone()
    assert (hub.pull("ada/m", first) / "a").read_text() == "1"


def test_a_moved_repository_is_pulled_by_its_old_name_and_a_push_says_the_new_one(hub: Hub, tmp_path: Path) -> None:
    hub.push(folder(tmp_path / "d", a="1"), "ada/m")

    hub.move("ada/m", "ada/better")

    assert (hub.pull("ada/better") / "a").read_text() == "1"
    with Hub(cache=Cache(tmp_path / "empty")) as fresh:
        assert (fresh.pull("ada/m") / "a").read_text() == "1"
    with pytest.raises(HubError, match=r"ada/m is called ada/better now|names are given out once"):
        hub.push(folder(tmp_path / "d", a="2"), "ada/m")


def test_settings_change_what_is_given(hub: Hub, tmp_path: Path, live_server: Any) -> None:
    hub.push(folder(tmp_path / "d", a="1"), "ada/m")
    anybody = Hub(live_server.url, "ph_" + "0" * 38, cache=Cache(tmp_path / "c"))

    assert hub.settings("ada/m", private=True, description="Mine")["private"] is True
    shown = hub.settings("ada/m", gated="manual")

    assert (shown["private"], shown["gated"], shown["description"]) == (True, "manual", "Mine")
    assert hub.settings("ada/m", private=False, gated="")["gated"] == ""
    with pytest.raises(UserError):
        anybody.settings("ada/m", private=True)


def test_the_command_line_does_the_same(hub: Hub, tmp_path: Path) -> None:
    first = cli("push", str(folder(tmp_path / "d", a="1")), "ada/m")["commit"]
    second = cli("push", str(folder(tmp_path / "d", a="2")), "ada/m", "--branch", "next")["commit"]

    assert cli("tag", "ada/m", "v1")["commit"] == first
    assert cli("branch", "ada/m", "more", "--rev", "next")["commit"] == second
    assert {ref["name"] for ref in cli("refs", "ada/m")} == {"main", "next", "more", "v1"}
    assert cli("branch", "ada/m", "more", "--delete") == {"repo": "ada/m", "deleted": "more"}
    assert cli("tag", "ada/m", "v1", "--delete")["deleted"] == "v1"
    assert cli("settings", "ada/m", "--private", "--gated", "auto")["gated"] == "auto"
    assert cli("settings", "ada/m", "--public", "--gated", "off") | {"name": ""} == {
        "name": "", "kind": "plain", "private": False, "gated": "", "description": "",
    }  # fmt: skip
    assert cli("move", "ada/m", "ada/n") == {"repo": "ada/n", "was": "ada/m"}
    assert cli("delete", "ada/n", "--yes") == {"deleted": "ada/n"}
    with pytest.raises(NotFound):
        hub.tree("ada/n")
