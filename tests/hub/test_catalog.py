from __future__ import annotations

import json
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser

from hub.catalog import cards
from hub.catalog.library import HubStorage
from hub.catalog.models import Item
from hub.catalog.query import Query
from hub.catalog.search import search
from hub.jobs.cleanup import delete_repository
from priors.errors import UnknownPrior
from priors.manifest import PriorRef, read_manifest
from tests.factories import (
    function_manifest,
    make_commit,
    make_organisation,
    make_prior,
    make_repository,
    make_user,
)

ATTACKS = [
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "[a](javascript:alert(1))", "[a](data:text/html,x)",
    "[a](vbscript:x)", "![t](http://evil.example/t.png)", "<iframe src=//evil.example>", "<form action=//evil.example>",
    "<svg onload=alert(1)>", "<style>*{display:none}</style>", '<a href="http://x" onclick="alert(1)">a</a>',
    "<math><mtext><script>1</script>", "[a](ssh://x)", "[a](magnet:x)", "<area href=//evil.example>", "<base href=//x>",
    "<meta http-equiv=refresh content=0>", "<object data=x>", "`</code><script>`", "<details open ontoggle=alert(1)>",
    "[a]( java\tscript:alert(1))", "<p style=x id=y class=z>",
]  # fmt: skip


class Markup(HTMLParser):
    """The tags and attributes a browser would see."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]


@pytest.mark.parametrize("markdown", ATTACKS)
def test_a_card_cannot_run_track_or_disguise(markdown: str) -> None:
    html = cards.render(f"# Title\n\n{markdown}\n")

    found = Markup()
    found.feed(html)
    assert found.tags <= {"h2", "p", "a", "code"}
    assert {name for name, _ in found.attributes} <= {"href", "title", "rel"}
    assert all(
        value.startswith(("http://", "https://", "mailto:")) for name, value in found.attributes if name == "href"
    )
    assert "<h2>Title</h2>" in html


def test_front_matter_and_reordering_marks_are_dropped_and_tables_stay() -> None:
    html = cards.render("---\nlicense: mit\n---\n# A\u202eB\n\n|a|b|\n|-|-|\n|1|2|\n\n[x](https://example.org)\n")

    assert "license" not in html
    assert "AB" in html
    assert "<td>1</td>" in html
    assert 'rel="nofollow noopener noreferrer"' in html


@pytest.mark.parametrize("text", ["|" * 64_000, "[" * 50_000, "*a " * 21_000, "> " * 30_000])
def test_the_worst_card_that_is_accepted_renders_within_seconds(text: str) -> None:
    began = time.process_time()
    cards.render(text[:65_536])

    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    "text", ["|a" * 100_000, "> " * 50_000 + "|", "[" * 70_000], ids=["tables", "quotes", "brackets"]
)
def test_a_card_over_the_limit_is_not_rendered_at_all(text: str) -> None:
    assert cards.render_apart(text) == ""


def test_a_card_that_takes_too_long_is_given_up_with_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "<h2>Title</h2>" in cards.render_apart("# Title")
    monkeypatch.setattr(cards, "LIMIT_S", 0.001)

    assert cards.render_apart("# Title") == ""


@pytest.fixture
def ann(db: None, home: Path) -> Any:
    return make_user("ann")


def names(**options: Any) -> list[str]:
    who = options.pop("who", AnonymousUser())
    query = Query(q=options.pop("q", ""), facets={key: (value,) for key, value in options.items()})
    return [item.name for item in search(query, visible_to=who).page().items]


def test_words_are_found_by_stem_beginning_and_together(ann: Any) -> None:
    make_prior(ann, "sounds", summary="Statistics of spoken recordings.")
    make_prior(ann, "letters", summary="Counts of short runs of letters.")

    assert names(q="recording") == ["sounds"]
    assert names(q="stat spok") == ["sounds"]
    assert names(q="counts recordings") == []
    assert set(names()) == {"sounds", "letters"}
    assert names(q="letters", modality="image") == []


@pytest.mark.parametrize("q", ['"', "a OR b", "NEAR(", "*", "x" * 5000, "' -- ;", "\0", "col:x", "ä ö", "(((("])
def test_no_question_breaks_the_search(ann: Any, q: str) -> None:
    make_prior(ann)

    assert names(q=q) in ([], ["char-ngrams"])


def test_a_changed_prior_is_found_by_its_new_words_only_and_a_deleted_one_by_none(ann: Any) -> None:
    commit = make_prior(ann, "letters", summary="Counts of short runs.")
    changed = json.dumps(function_manifest("letters", summary="Sums of long walks.")).encode()
    make_commit(commit.repository, {"prior.json": changed}, by=ann)

    assert (names(q="runs"), names(q="walks")) == ([], ["letters"])
    delete_repository(commit.repository)
    assert names(q="walks") == []


def test_a_private_prior_is_found_by_its_owner_alone(ann: Any) -> None:
    make_prior(ann, "hidden", private=True)

    assert names(q="ngrams") == []
    assert names(q="ngrams", who=make_user()) == []
    assert names(q="ngrams", who=ann) == ["hidden"]


def test_searching_costs_the_same_queries_for_one_and_for_many(ann: Any, django_assert_num_queries: Any) -> None:
    for few_or_many in (2, 30):
        for number in range(few_or_many):
            make_prior(ann, f"p{few_or_many}-{number}")
        names()  # what changed is read once

        with django_assert_num_queries(3):  # the revision, the word, the page
            found = search(Query(q="ngrams", facets={"modality": ("text",)}), visible_to=AnonymousUser())
            assert [item.ref for item in found.page(limit=2).items if item.takes and item.gives]
            assert found.counts["kind"] == {"function": found.count}


def test_the_hub_is_a_library_that_unpacks_a_prior_once(ann: Any, home: Path) -> None:
    commit = make_prior(ann, "letters", card="# Card")
    library = HubStorage(ann)

    [entry] = library.entries()
    folder = library.directory(entry.ref)
    again = HubStorage(ann).directory(PriorRef.parse("ann/letters"))

    assert str(entry.ref) == Item.objects.get().ref
    assert folder == again == home / "cache" / "priors" / commit.oid
    assert read_manifest(folder).identity() == f"sha256:{entry.ref.sha256}"
    assert [path.name for path in (home / "cache" / "priors").iterdir()] == [commit.oid]
    with pytest.raises(UnknownPrior):
        library.directory(PriorRef.parse("ann/unknown"))


def test_a_library_shows_only_what_its_user_may_see(ann: Any) -> None:
    make_prior(ann, "hidden", private=True)

    assert HubStorage(make_user()).entries() == []
    assert len(HubStorage(ann).entries()) == 1
    assert HubStorage(ann, published=True).entries() == []


def test_beside_a_private_task_a_library_shows_what_all_its_readers_see(ann: Any) -> None:
    lab = make_organisation("lab", admin=ann)
    task = make_repository(lab, "rows", kind="task", private=True)
    for owner, name, private in ((ann, "own", True), (ann, "open", False), (lab, "ours", True)):
        make_prior(owner, name, private=private)

    def shown(beside: Any) -> list[str]:
        return [entry.ref.repo for entry in HubStorage(ann, published=True, beside=beside).entries()]

    assert shown(task) == ["ann/open", "lab/ours"]
    task.private = False
    assert shown(task) == shown(None) == ["ann/open"]
