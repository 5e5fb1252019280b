"""Compositions inside compositions across a hub: pushed, used from Python under their name, pushed and pulled again."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from composer.check import check
from composer.composition import Composition
from composer.graph import Graph
from composer.lock import Lock
from composer.lower import Lowered, lower
from composer.nested import resolver
from hub.accounts.models import User
from hub.accounts.services import create_token, create_user
from hub.catalog.library import HubStorage
from priors.client import Cache, Hub, HubLibrary
from priors.errors import UnknownPrior
from priors.manifest import PriorRef
from tests.composer._tiny import fill

pytestmark = pytest.mark.django_db(transaction=True)

TEXTS = ["the cat sat", "", "a very big dog"]
INNER = {
    "text": {"op": "input", "type": "text.raw[B]:str"},
    "chars": {"op": "fn", "fn": "char_ngrams", "in": ["text"]},
    "y": {"op": "head", "in": ["chars"], "labels": ["no", "yes"]},
}
OUTER = {
    "said": {"op": "input", "type": "text.raw[B]:str"},
    "w": {"op": "load", "prior": "prior://ada/spam"},
    "guess": {"op": "net", "in": {"w": "w", "text": "said"}, "tap": "y"},
    "z": {"op": "head", "in": ["guess"], "labels": ["a", "b", "c"]},
}


@pytest.fixture
def ada(home: Path) -> User:
    return create_user(name="ada")


def push(hub: Hub, nodes: dict[str, Any], output: str, folder: Path, repo: str, **options: Any) -> Lowered:
    graph = Graph.from_dict({"composition": 1, "adapt": "trainable", "nodes": nodes, "outputs": {output: output}})
    library = HubLibrary(hub)
    model = lower(Lock.of(check(graph, resolver(library))), library)
    fill(model)
    Composition(graph, model.lock, model, {}).save(folder)
    hub.push(folder, repo, **options)
    return model


def test_a_pushed_composition_is_a_prior_of_the_next(live_server: Any, ada: User, tmp_path: Path) -> None:
    with Hub(live_server.url, create_token(user=ada, name="test", role="write")[0]) as hub:
        inner = push(hub, INNER, "y", tmp_path / "inner", "ada/spam")
        outer = push(hub, OUTER, "z", tmp_path / "outer", "ada/outer")

    with Hub(live_server.url, cache=Cache(tmp_path / "elsewhere")) as stranger:
        found = Composition.load(stranger.pull("ada/outer"), hub=stranger)

        ours = found.lowered.features({"said": TEXTS}, ["guess", "z"])
        np.testing.assert_array_equal(ours["guess"], inner.features({"text": TEXTS}, ["y"])["y"])
        np.testing.assert_array_equal(ours["z"], outer.features({"said": TEXTS}, ["z"])["z"])
        with pytest.raises(UnknownPrior, match="no composition is called"):
            HubLibrary(stranger).composition(PriorRef.parse("ada/absent"))

    there = HubStorage(ada).composition(PriorRef.parse("ada/spam"))  # as a job of the hub finds it
    assert (there / "model.safetensors").read_bytes() == (tmp_path / "inner/model.safetensors").read_bytes()


def test_a_private_composition_is_unknown_to_a_stranger(live_server: Any, ada: User, tmp_path: Path) -> None:
    with Hub(live_server.url, create_token(user=ada, name="test", role="write")[0]) as hub:
        push(hub, INNER, "y", tmp_path / "inner", "ada/spam", private=True)

    with Hub(live_server.url, cache=Cache(tmp_path / "elsewhere")) as stranger, pytest.raises(UnknownPrior):
        resolver(HubLibrary(stranger))(PriorRef.parse("ada/spam"))
    with pytest.raises(UnknownPrior):
        HubStorage(create_user(name="bob")).composition(PriorRef.parse("ada/spam"))
