"""Where repositories come from: edges of cards and manifests, to what is here and to what the asker may see."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser
from django.test import Client

from hub.catalog.lineage import children, parents
from tests.factories import make_commit, make_prior, make_repository, make_user

NOBODY = AnonymousUser()


@pytest.fixture
def ann(db: None, home: Any) -> Any:
    return make_user("ann")


def card(base: str, **more: str) -> dict[str, bytes]:
    lines = "".join(f"{key}: {value}\n" for key, value in {"base_model": base, **more}.items())
    return {"README.md": f"---\n{lines}---\n".encode()}


def test_edges_know_their_kind_and_whether_the_parent_is_here(ann: Any) -> None:
    base = make_repository(ann, "base")
    child = make_repository(ann, "child")
    make_commit(child, card("[ann/base, elsewhere/x]", base_model_relation="adapter"), by=ann)

    found = {(edge.kind, edge.name): edge.parent for edge in parents(child, visible_to=NOBODY)}
    assert found == {("adapter", "ann/base"): base, ("adapter", "elsewhere/x"): None}
    assert [edge.item.repository for edge in children(base, visible_to=NOBODY)] == [child]

    make_commit(child, card("elsewhere/x"), by=ann)
    assert children(base, visible_to=NOBODY) == []


def test_a_parent_that_comes_later_is_found_and_one_that_goes_is_a_name_again(ann: Any) -> None:
    from hub.jobs.cleanup import delete_repository

    child = make_repository(ann, "child")
    make_commit(child, card("ann/later"), by=ann)
    later = make_repository(ann, "later")
    make_commit(later, {"a.txt": b"1"}, by=ann)
    assert parents(child, visible_to=NOBODY)[0].parent == later

    delete_repository(later)
    assert parents(child, visible_to=NOBODY)[0].parent is None


def test_private_relatives_are_names_to_others(ann: Any, client: Client) -> None:
    secret = make_repository(ann, "secret", private=True)
    child, hidden = make_repository(ann, "child"), make_repository(ann, "hidden", private=True)
    make_commit(child, card("ann/secret"), by=ann)
    make_commit(hidden, card("ann/child"), by=ann)

    assert parents(child, visible_to=NOBODY)[0].parent is None
    assert children(child, visible_to=NOBODY) == []
    assert parents(child, visible_to=ann)[0].parent == secret
    assert len(children(child, visible_to=ann)) == 1
    html = client.get("/ann/child").content.decode()
    assert "not on this hub" in html and "ann/hidden" not in html


def test_parents_of_a_manifest_count_too(ann: Any) -> None:
    make_prior(ann, "part")
    whole = make_prior(ann, "whole", parents=["ann/part"]).repository

    assert [(edge.kind, edge.parent.name) for edge in parents(whole, visible_to=NOBODY) if edge.parent] == [
        ("parent", "part")
    ]
