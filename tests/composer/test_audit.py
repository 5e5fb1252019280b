"""`priorhub pull --lock` and `verify --audit`: the same bytes on another machine, and what became of them since."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save
from typer.testing import CliRunner

from composer.cli import app
from hub.accounts.services import create_token, create_user
from hub.repos.models import Repository
from hub.safety.holds import yank
from priors.client import Cache, Hub
from tests.factories import function_manifest, sha256

pytestmark = pytest.mark.django_db(transaction=True)

SPEC = """
composition: 1
nodes:
  text: {op: input, type: "text.raw[B]:str"}
  grams: {op: fn, in: [text], fn: char_ngrams, prior: "prior://ada/grams"}
  y: {op: head, in: [grams], labels: [a, b]}
outputs: {y: y}
"""


@pytest.fixture
def ada(home: Path) -> Any:
    return create_user(name="ada")


@pytest.fixture
def hub(ada: Any, live_server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    token = create_token(user=ada, name="t", role="write")[0]
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("PRIORHUB_CACHE", str(tmp_path / "a"))
    monkeypatch.setenv("PRIORHUB_URL", live_server.url)
    monkeypatch.setenv("PRIORHUB_TOKEN", token)
    with Hub() as hub:
        yield hub


def publish(hub: Hub, folder: Path, **changes: Any) -> None:
    """A function prior with a file beside it that its manifest names."""
    folder.mkdir(exist_ok=True)
    words = save({"w": np.arange(4, dtype=np.float32)})
    (folder / "words.safetensors").write_bytes(words)
    files = {"words.safetensors": {"sha256": sha256(words), "size": len(words)}}
    (folder / "prior.json").write_text(json.dumps(function_manifest("grams", files=files, **changes)))
    hub.push(folder, "ada/grams")


@pytest.fixture
def lock(hub: Hub, tmp_path: Path) -> Path:
    publish(hub, tmp_path / "prior")
    (tmp_path / "composition.yaml").write_text(SPEC)
    run("lock", str(tmp_path / "composition.yaml"))
    return tmp_path / "composition.lock.json"


def run(*words: str, code: int = 0) -> Any:
    result = CliRunner().invoke(app, [*words, "--json"])
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def test_a_lock_of_one_machine_brings_the_same_bytes_to_another(
    hub: Hub, lock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here,) = run("pull", "--lock", str(lock))
    publish(hub, tmp_path / "prior", version="2.0.0", function={"id": "char_ngrams", "config": {"capitals": False}})
    monkeypatch.setenv("PRIORHUB_CACHE", str(tmp_path / "b"))

    (there,) = run("pull", "--lock", str(lock))

    assert there["folder"] != here["folder"] and there["ref"] == here["ref"]
    for name in ("prior.json", "words.safetensors"):
        assert (Path(here["folder"]) / name).read_bytes() == (Path(there["folder"]) / name).read_bytes()


def test_the_audit_tells_what_became_of_each_prior(hub: Hub, ada: Any, lock: Path, tmp_path: Path) -> None:
    run("pull", "--lock", str(lock))
    (same,) = run("verify", str(lock), "--audit")
    (offline,) = run("verify", str(lock), "--audit", "--offline")
    publish(hub, tmp_path / "prior", version="2.0.0", function={"id": "char_ngrams", "config": {"capitals": False}})
    (newer,) = run("verify", str(lock), "--audit")
    yank(Repository.objects.named("ada/grams").get(), reason="It was wrong", by=ada)
    (held,) = run("verify", str(lock), "--audit", code=1)
    hub.delete("ada/grams")
    (gone,) = run("verify", str(lock), "--audit", code=1)

    assert [each["state"] for each in (same, offline, newer, held, gone)] == ["same", "same", "newer", "held", "gone"]
    assert "It was wrong" in held["detail"]


def test_one_flipped_byte_is_damage_and_what_was_never_pulled_is_missing(
    hub: Hub, lock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (found,) = run("pull", "--lock", str(lock))
    assert run("verify", "--audit")["damaged"] == []
    path = Path(found["folder"]) / "words.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)

    (damaged,) = run("verify", str(lock), "--audit", code=1)
    cache = run("verify", "--audit", code=1)
    monkeypatch.setenv("PRIORHUB_CACHE", str(tmp_path / "empty"))
    (missing,) = run("verify", str(lock), "--audit", "--offline", code=1)

    assert (damaged["state"], missing["state"]) == ("damaged", "missing")
    assert "words.safetensors" in damaged["detail"]
    assert len(cache["damaged"]) == 2  # the blob and the snapshot are one file
    monkeypatch.setenv("PRIORHUB_CACHE", str(tmp_path / "a"))
    assert CliRunner().invoke(app, ["pull", "--lock", str(lock)]).exit_code == 1
    run("pull", "ada/grams")
    assert run("verify", "--audit")["damaged"] == []
    assert Cache().audit().damaged == ()


@pytest.mark.parametrize("words", [["pull"], ["verify"], ["pull", "a/b", "--lock", "x"]])
def test_what_to_pull_or_verify_has_to_be_named(words: list[str]) -> None:
    assert CliRunner().invoke(app, words).exit_code == 2
