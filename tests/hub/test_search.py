"""The search: facets, ranges, permissions, mistyped words, and what fits what; alike on SQLite and PostgreSQL."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser
from django.test import Client

from composer.answers import Answers
from composer.check import check
from composer.composition import card
from composer.graph import Graph
from composer.license import judge
from composer.lock import Lock
from hub.catalog import columns
from hub.catalog import services as catalog
from hub.catalog.columns import Keeper
from hub.catalog.fits import connects
from hub.catalog.models import Item
from hub.catalog.query import Partner, Query
from hub.catalog.search import Found, removals, search
from hub.catalog.words import distance
from hub.errors import BadRequest
from priors.manifest import PriorManifest, PriorRef
from tests.factories import make_commit, make_prior, make_repository, make_user

NOBODY = AnonymousUser()


@pytest.fixture
def ann(db: None, home: Any) -> Any:
    return make_user("ann")


def ask(who: Any = NOBODY, **query: Any) -> Found:
    return search(Query(**query), visible_to=who)


def names(found: Found, **options: Any) -> list[str]:
    return [item.name for item in found.page(**options).items]


def plain(owner: Any, name: str, *, private: bool = False, **front: str) -> Item:
    lines = "".join(f"{key}: {value}\n" for key, value in front.items())
    repository = make_repository(owner, name, private=private)
    make_commit(repository, {"README.md": f"---\n{lines}---\n".encode()}, by=owner)
    return Item.objects.get(repository=repository)


@pytest.fixture
def few(ann: Any) -> Any:
    plain(ann, "a", license="mit", pipeline_tag="fill-mask", library_name="one")
    plain(ann, "b", license="cc-by-nc-4.0", pipeline_tag="fill-mask", library_name="two")
    plain(ann, "c", license="mit", pipeline_tag="summarization", library_name="two")
    plain(ann, "d", license="homemade", pipeline_tag="translation", library_name="one")
    return ann


def test_values_of_a_facet_are_alternatives_and_facets_all_hold(few: Any) -> None:
    either = ask(facets={"task": ("fill-mask", "summarization")})
    assert sorted(names(either)) == ["a", "b", "c"]
    assert sorted(names(ask(facets={"task": ("fill-mask", "summarization"), "license": ("MIT",)}))) == ["a", "c"]


def test_a_facet_counts_as_if_it_had_no_choice_of_its_own(few: Any) -> None:
    found = ask(facets={"task": ("fill-mask",), "library": ("two",)})

    assert found.count == 1
    assert found.counts["task"] == {"fill-mask": 1, "summarization": 1}  # of library two
    assert found.counts["library"] == {"one": 1, "two": 1}  # of fill-mask
    assert found.counts["license"] == {"CC-BY-NC-4.0": 1}  # of both


def test_counts_are_the_same_by_either_way_of_counting(few: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    few_rows = ask().counts
    monkeypatch.setattr("hub.catalog.columns._FEW", 0)

    assert ask().counts == few_rows


def test_what_a_license_permits_leaves_out_what_is_unknown(few: Any) -> None:
    assert sorted(names(ask(facets={"may": ("sell",)}))) == ["a", "c"]
    assert sorted(names(ask(facets={"may": ("fine-tune",)}))) == ["a", "b", "c"]


def test_ranges_include_their_ends_and_leave_out_what_is_unknown(few: Any) -> None:
    for name, number in (("a", 5), ("b", 10)):
        catalog.recount({Item.objects.get(repository__name=name).pk: {"parameters": number, "score": number}})

    assert sorted(names(ask(ranges={"parameters": (5, 10)}))) == ["a", "b"]
    assert names(ask(ranges={"parameters": (None, 9.9)})) == ["a"]
    assert names(ask(ranges={"score": (6, None)})) == ["b"]
    assert names(ask(), sort="score")[:2] == ["b", "a"]
    assert ask().known("parameters") == (5.0, 10.0)
    assert ask(facets={"task": ("translation",)}).known("parameters") is None


@pytest.mark.parametrize(
    ("typed", "finds"), [("wordz", "words"), ("wrods", "words"), ("sentense", "sentence"), ("setnence", "sentence")]
)
def test_a_mistyped_word_finds_what_was_meant_and_says_so(ann: Any, typed: str, finds: str) -> None:
    make_prior(ann, "p", summary="Counts words of a sentence.")

    found = ask(q=typed)

    assert names(found) == ["p"]
    assert found.corrected == {typed: (finds,)}
    assert names(ask(q="xylophones")) == []


def test_words_of_private_repositories_correct_nobody_else(ann: Any) -> None:
    make_prior(ann, "p", private=True, summary="Codename thunderstorm.")

    assert ask(q="thunderstrom").corrected == {}
    assert ask(ann, q="thunderstrom").corrected == {"thunderstrom": ("thunderstorm",)}


def test_an_accent_a_case_or_a_hyphen_hides_nothing(ann: Any) -> None:
    make_prior(ann, "p", summary="Größe of n-gram Tables.")

    for typed in ("größe", "GROSSE", "ngram", "n-gram", "tables"):
        assert names(ask(q=typed)) == ["p"], typed


def test_what_fits_is_told_by_ports_and_how(ann: Any) -> None:
    make_prior(ann, "text")
    standardize = {"id": "standardize", "config": {}}
    make_prior(ann, "numbers", function=standardize, inputs={"x": "tab.num[B,C]:f32"}, taps={"out": "tab.num[B,C]:f32"})
    make_prior(ann, "other-text")
    partner = Partner.of(Item.objects.get(repository__name="text"))

    found = ask(partner=partner)
    assert found.way_counts == {"after": 1, "before": 0, "beside": 2}
    assert names(ask(partner=partner, ways=("after",))) == ["numbers"]
    assert sorted(names(ask(partner=partner, ways=("beside",)))) == ["other-text", "text"]


def test_ports_connect_through_adapters_and_never_by_guessing() -> None:
    assert connects("text.tokens[B,T,D:8]:f32", "vec.feat[B,D:8]:f32")  # pooled
    assert connects("text.raw[B]:str", "text.ids[B,T]:i64{vocab=a}")  # tokenized
    assert not connects("vec.feat[B,D:8]:f32", "text.ids[B,T]:i64{vocab=a}")
    assert not connects("nonsense", "vec.feat[B,D:8]:f32")


def test_what_to_drop_is_counted_for_a_search_that_finds_nothing(few: Any) -> None:
    query = Query(facets={"task": ("translation",), "license": ("MIT",)})

    assert search(query, visible_to=NOBODY).count == 0
    assert removals(query, visible_to=NOBODY) == [("task", "translation", 2), ("license", "MIT", 1)]


@pytest.mark.parametrize("cursor", ["x", "WzFd", "W251bGwsIDFd", "é", "WzEsICJhIl0"])
def test_a_foreign_cursor_is_refused(few: Any, cursor: str) -> None:
    with pytest.raises(BadRequest):
        ask().page(after=cursor)


def test_pages_by_worth_hold_each_once(ann: Any) -> None:
    for number in range(5):
        make_prior(ann, f"p{number}", summary="words " * (number + 1))

    seen, after = [], ""
    while True:
        page = ask(q="words").page(after=after, limit=2)
        seen += [item.name for item in page.items]
        if page.next is None:
            break
        after = page.next

    assert sorted(seen) == [f"p{number}" for number in range(5)]


def test_a_distance_counts_a_swap_once() -> None:
    assert [distance("bert", other, 2) for other in ("bert", "brt", "bret", "bart", "berts", "xxxx")] == [
        0,
        1,
        1,
        1,
        1,
        3,
    ]


# ── the page ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_page_works_by_links_alone_and_stays_small(few: Any, client: Client) -> None:
    for number in range(30):
        plain(few, f"many{number}", license="mit", tags="[x, y]")
    first = client.get("/priors?may=sell&parameters_max=nonsense")
    html = first.content.decode()

    assert "32 found<" in html and 'rel="next nofollow"' in html
    assert len(first.content) < 100_000
    following = html.split('rel="next nofollow" href="')[1].split('"')[0].replace("&amp;", "&")
    second = client.get(f"/priors{following}").content.decode()
    assert second.count('<article class="card card-link">') == 8
    assert "First page" in second


def test_the_page_costs_the_same_queries_for_few_and_for_many(
    few: Any, client: Client, django_assert_num_queries: Any
) -> None:
    for size in (1, 40):
        for number in range(size):
            plain(few, f"n{size}-{number}", tags="[zebra]")
        client.get("/priors?q=nothing")
        with django_assert_num_queries(3):  # the revision, the word, the page
            assert client.get("/priors?q=zebra&type=model&type=dataset&form=plain").status_code == 200
        with django_assert_num_queries(2):
            assert client.get("/priors?may=sell").status_code == 200


def test_a_large_catalogue_takes_changes_in_now_and_then_and_a_small_one_at_once(
    few: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = Keeper()
    assert len(keeper.columns()) == 4
    plain(few, "e")
    assert len(keeper.columns()) == 5

    monkeypatch.setattr("hub.catalog.columns._QUICK", -1.0)  # as if every reading took long
    monkeypatch.setattr("hub.catalog.columns._MAX_REST", 1e9)
    plain(few, "f")
    assert len(keeper.columns()) == 6  # and from here it rests for ten times as long as that took
    monkeypatch.setattr("time.monotonic", lambda: 0.0)
    plain(few, "g")
    assert len(keeper.columns()) == 6
    monkeypatch.setattr("time.monotonic", lambda: 1e9)
    assert len(keeper.columns()) == 7


def test_the_name_comes_before_the_text_the_whole_word_before_its_beginning_and_then_what_people_use(ann: Any) -> None:
    make_prior(ann, "begun", summary="Wording of many")
    make_prior(ann, "whole", summary="A word of many")
    make_prior(ann, "used", summary="A word of many")
    make_prior(ann, "word-lists", summary="Some of many")
    catalog.recount({Item.objects.get(repository__name="used").pk: {"downloads": 50}})

    assert names(ask(q="word")) == ["word-lists", "used", "whole", "begun"]
    assert names(ask(q="many word"))[0] == "word-lists"


def test_who_asks_while_the_catalogue_is_first_read_waits_for_it(few: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    keeper, now, read = Keeper(), columns._now(), columns._refresh
    answers: list[int] = []
    other = threading.Thread(target=lambda: answers.append(len(keeper.columns())))

    def slowly(held: columns.Columns, revision: int) -> columns.Columns:
        other.start()
        other.join(0.2)  # it must not have an answer yet
        return read(held, revision)

    monkeypatch.setattr(columns, "_now", lambda: now)
    monkeypatch.setattr(columns, "_refresh", slowly)
    assert len(keeper.columns()) == 4
    other.join()

    assert answers == [4]


@pytest.mark.parametrize(
    ("licenses", "may"),
    [
        (("MIT", "Apache-2.0"), {"sell", "fine-tune"}),
        (("MIT", "CC-BY-NC-4.0"), {"fine-tune"}),
        (("MIT", "CC-BY-ND-4.0"), {"sell"}),
        (("MIT", "LicenseRef-homemade"), set()),
        (("MIT OR CC-BY-NC-4.0", "Apache-2.0"), {"sell", "fine-tune"}),
    ],
)
def test_a_composition_may_what_all_its_parts_may(ann: Any, licenses: tuple[str, str], may: set[str]) -> None:
    nodes: dict[str, Any] = {"text": {"op": "input", "type": "text.raw[B]:str"}}
    for number, license in enumerate(licenses):
        nodes[f"f{number}"] = {"op": "fn", "fn": "char_ngrams", "in": ["text"], "license": license}
    nodes["both"] = {"op": "concat", "in": ["f0", "f1"]}
    nodes["y"] = {"op": "head", "in": ["both"], "labels": ["a", "b"]}
    graph = Graph.from_dict({"composition": 1, "nodes": nodes, "outputs": {"y": "y"}})
    lock = Lock.of(check(graph, find_none))
    answers = Answers.of("whole", lock.node("y").attrs, {})
    written = card(SimpleNamespace(lock=lock, report={}, answers=answers))  # type: ignore[arg-type]
    repository = make_repository(ann, "whole", kind="composition")
    files = {"composition.json": graph.to_json(), "composition.lock.json": lock.to_json(), "README.md": written}
    make_commit(repository, {path: text.encode() for path, text in files.items()}, by=ann)

    assert Item.objects.get(repository=repository).license == judge(lock).license
    for wish in ("sell", "fine-tune"):
        found = names(ask(facets={"may": (wish,), "form": ("composition",)}))
        assert found == (["whole"] if wish in may else []), wish


def find_none(ref: PriorRef) -> PriorManifest:
    raise AssertionError(f"nothing here names a prior: {ref}")
