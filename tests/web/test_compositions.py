"""A composition's page: the graph with its table, what licenses say, who gets what of a price; whatever the lock is."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from django.test import Client

from composer.check import check
from composer.graph import Graph
from composer.lock import Lock
from hub.accounts.models import User
from hub.catalog.models import Item
from hub.compose import terms
from hub.repos.models import Repository
from hub.safety import holds
from priors.manifest import parse_manifest
from tests.factories import function_manifest, make_commit, make_prior, make_repository, make_user
from tests.web.test_svg import HOSTILE
from tests.web.world import World, body

WORDS = HOSTILE.replace("\x00", "").replace("\x1b", "")


def spec(**nodes: dict[str, Any]) -> dict[str, Any]:
    """Character n-grams of a text and whatever else, under a head."""
    middle = {"chars": {"op": "fn", "in": ["text"], "fn": "char_ngrams"}, **nodes}
    return {
        "composition": 1,
        "name": "mixed",
        "adapt": "trainable",
        "nodes": {
            "text": {"op": "input", "type": "text.raw[B]:str", "column": "text"},
            **middle,
            "both": {"op": "concat", "in": list(middle)},
            "y": {"op": "head", "in": ["both"], "labels": ["a", "b"]},
        },
        "outputs": {"y": "y"},
    }


def lock_of(document: dict[str, Any]) -> Lock:
    manifests = {item.repository.full_name: parse_manifest(item.manifest) for item in Item.objects.priors()}
    return Lock.of(check(Graph.from_dict(document), lambda ref: manifests[ref.repo]))


def publish(owner: User, document: dict[str, Any], name: str = "mixed", *, private: bool = False) -> Repository:
    repository = make_repository(owner, name, kind=Repository.Kind.COMPOSITION, private=private)
    files = {
        "composition.json": json.dumps(document).encode(),
        "composition.lock.json": lock_of(document).to_json().encode(),
    }
    make_commit(repository, files, by=owner)
    return repository


def page_of(client: Client, address: str = "/ada/mixed") -> str:
    response = client.get(address)
    assert response.status_code == 200
    return re.sub(r"\s+", " ", body(response))  # type: ignore[arg-type]


def fn(prior: str, **more: Any) -> dict[str, Any]:
    return {"op": "fn", "in": ["text"], "fn": "char_ngrams", "prior": f"prior://{prior}", **more}


# ── the graph ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_graph_is_drawn_and_says_the_same_as_a_table(client: Client, world: World) -> None:
    html = page_of(client, "/ada/topics-model")

    table = re.findall(r'<th scope="row"><bdi>([\w~]+)</bdi>', html)
    assert table[:2] == ["text", "chars"] and table[-1] == "y"
    assert "vec.feat[B,D:4096]:f32" in html
    drawn = html[html.index("<svg xmlns") : html.index("</svg>", html.index("<svg xmlns"))]
    assert '<a href="/ada/char-ngrams">' in drawn and 'role="group"' in drawn
    assert '<a href="/ada/char-ngrams">ada/char-ngrams</a>' in html


def test_what_the_check_put_in_and_what_is_trained_is_marked(client: Client, ada: User) -> None:
    document = spec(words={"op": "fn", "in": ["text"], "fn": "word_ngrams"})
    document["nodes"]["both"] = {"op": "gate", "in": ["chars", "words"], "type": "vec.feat[B,D:64]:f32"}
    publish(ada, document)

    html = page_of(client)

    assert re.search(r"<bdi>chars~proj~both</bdi> <span class=\"chip\">inserted</span>", html)
    assert "2 inserted" in html
    assert re.search(r"<bdi>chars</bdi></th>.*?<td>frozen</td>", html)
    assert re.search(r"<bdi>y</bdi></th>.*?<td>trained</td>", html)


def test_a_prior_the_visitor_may_not_see_is_a_name_and_no_link(client: Client, signed_in: Client, ada: User) -> None:
    make_prior(ada, "secret", private=True)
    publish(ada, spec(one=fn("ada/secret")))

    assert 'href="/ada/secret"' in page_of(signed_in)
    html = page_of(Client())
    assert 'href="/ada/secret"' not in html and "ada/secret" in html


def test_a_large_graph_has_a_page_of_its_own_and_a_larger_one_only_the_table(client: Client, ada: User) -> None:
    def many(number: int) -> dict[str, Any]:
        chain = {f"c{i}": {"op": "cast", "in": [f"c{i - 1}" if i else "chars"], "dtype": "f32"} for i in range(number)}
        document = spec()
        document["nodes"] |= {**chain, "both": {"op": "concat", "in": [f"c{number - 1}"]}}
        return document

    publish(ada, many(120), "large")
    publish(ada, many(600), "huge")

    assert "<svg xmlns" not in page_of(client, "/ada/large") and "Too large to draw beside" in page_of(
        client, "/ada/large"
    )
    whole = page_of(client, "/ada/large/graph")
    assert "<svg xmlns" in whole and len(re.findall("graph-box", whole)) == 124
    assert "<svg xmlns" not in page_of(client, "/ada/huge/graph")
    last = page_of(client, "/ada/huge/graph?page=4")
    assert "Page 4 of 4" in last and "<bdi>y</bdi>" in last
    assert len(page_of(client, "/ada/huge")) < 150_000


def test_pages_of_what_is_no_composition_are_not_there(client: Client, world: World) -> None:
    for page in ("graph", "notice", "sbom"):
        assert client.get(f"/ada/char-ngrams/{page}").status_code == 404
        assert client.get(f"/ada/topics-model/{page}?rev=none").status_code == 404


# ── licenses ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_licenses_say_to_sharing_and_to_selling(client: Client, ada: User) -> None:
    make_prior(ada, "free")
    make_prior(ada, "research", license={"spdx": "CC-BY-NC-4.0", "file": None})
    publish(ada, spec(one=fn("ada/free"), two=fn("ada/research")))

    html = page_of(client)

    assert "Sharing: allowed" in html and "Selling: not allowed" in html
    assert re.search(r"<bdi>two</bdi> → <bdi>both</bdi></strong> <code>noncommercial</code>", html)
    assert "<code>Apache-2.0 AND CC-BY-NC-4.0</code>" in html
    assert "Keep the notices and the text of Apache-2.0" in html


def test_a_license_that_the_prior_does_not_have_is_told(client: Client, ada: User) -> None:
    make_prior(ada, "research", license={"spdx": "CC-BY-NC-4.0", "file": None}, fee_bp=500)
    publish(ada, spec(one=fn("ada/research", license="MIT", fee_bp=0)))

    html = page_of(client)

    assert "ada/research is under CC-BY-NC-4.0, the lock says MIT." in html
    assert "ada/research asks for 500 bp, the lock says 0." in html


def test_what_a_private_prior_says_is_not_held_against_the_lock(client: Client, ada: User) -> None:
    make_prior(ada, "research", license={"spdx": "CC-BY-NC-4.0", "file": None}, private=True)
    publish(ada, spec(one=fn("ada/research", license="MIT")))

    assert "CC-BY-NC-4.0" not in page_of(client)


def test_notice_and_sbom_are_files(client: Client, ada: User) -> None:
    make_prior(ada, "free")
    publish(ada, spec(one=fn("ada/free")))

    notice, sbom = client.get("/ada/mixed/notice"), client.get("/ada/mixed/sbom?rev=main")

    assert notice["Content-Disposition"].startswith("attachment") and "Apache-2.0" in body(notice)  # type: ignore[arg-type]
    document = json.loads(body(sbom))  # type: ignore[arg-type]
    assert document["bomFormat"] == "CycloneDX" and "mixed.cdx.json" in sbom["Content-Disposition"]
    assert [each["name"] for each in document["components"]] == ["ada/free"]


def test_notice_holds_license_texts_of_those_who_may_have_them(client: Client, ada: User) -> None:
    make_prior(ada, "own", license={"spdx": "MIT", "file": "LICENSE"})
    repository = Repository.objects.get(name="own")
    manifest = json.dumps(function_manifest("own", license={"spdx": "MIT", "file": "LICENSE"})).encode()
    make_commit(repository, {"prior.json": manifest, "LICENSE": b"Copyright 1999 Somebody"}, by=ada)
    publish(ada, spec(one=fn("ada/own")))

    assert "Copyright 1999 Somebody" in body(client.get("/ada/mixed/notice"))  # type: ignore[arg-type]
    Repository.objects.filter(pk=repository.pk).update(private=True)
    notice = body(client.get("/ada/mixed/notice"))  # type: ignore[arg-type]
    assert "Somebody" not in notice and "Permission is hereby granted" in notice


def test_files_follow_the_gate_and_holds_of_the_lock(client: Client, ada: User) -> None:
    repository = publish(ada, spec())
    Repository.objects.filter(pk=repository.pk).update(gated="manual")
    assert client.get("/ada/mixed/notice").status_code == 403

    Repository.objects.filter(pk=repository.pk).update(gated="")
    holds.quarantine(repository, reason="suspicious", by=make_user("root", admin=True))
    assert client.get("/ada/mixed/sbom").status_code == 403
    assert client.get("/ada/mixed").status_code == 200


# ── royalty ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_price_is_dealt_out(client: Client, ada: User) -> None:
    make_prior(ada, "paid", fee_bp=250)
    publish(ada, spec(one=fn("ada/paid")))

    html = page_of(client, "/ada/mixed?price=19.99")

    assert re.search(r'ada/paid</th><td class="number">2.5 %</td><td class="number">EUR 0.50</td>', html)
    assert re.search(r"whoever sells it</th>.*?EUR 19.49</td>", html)


@pytest.mark.parametrize("price", ["-1", "1e9", "nan", "", "99999999999", "1.234", "٣", "<script>", "1" * 5_000])
def test_what_is_no_price_is_said_so(client: Client, ada: User, price: str) -> None:
    publish(ada, spec())

    html = body(client.get("/ada/mixed", {"price": price}))  # type: ignore[arg-type]

    assert "is no price" in html and "<script>" not in html


# ── hostile locks ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_words_of_strangers_are_only_shown(client: Client, ada: User) -> None:
    document = spec()
    document["name"] = "<script>alert(1)</script>"
    document["nodes"]["text"]["column"] = WORDS
    document["nodes"]["y"]["labels"] = [WORDS, "b"]
    publish(ada, document)

    for address in ("/ada/mixed", "/ada/mixed/graph"):
        html = page_of(client, address)
        assert "<script>alert" not in html and "\u202e" not in html
    notice = client.get("/ada/mixed/notice")
    assert notice["Content-Type"].startswith("text/plain") and notice["X-Content-Type-Options"] == "nosniff"


def test_an_unreadable_lock_leaves_the_page_standing(client: Client, ada: User) -> None:
    repository = publish(ada, spec())
    make_plain_lock(repository, ada, {"lock": 1, "nodes": {"x": {"op": ["?"], "in": {"a": 3}, "attrs": 7, "type": {}}}})

    html = page_of(client)

    assert "the lock is not valid" in html
    assert client.get("/ada/mixed/graph").status_code == 200
    assert client.get("/ada/mixed/notice").status_code == client.get("/ada/mixed/sbom").status_code == 422


def make_plain_lock(repository: Repository, ada: User, document: Any) -> None:
    """A revision whose lock was never checked, as one committed while the repository was a plain one."""
    Repository.objects.filter(pk=repository.pk).update(kind="plain")
    repository.refresh_from_db()
    make_commit(repository, {"composition.lock.json": json.dumps(document).encode()}, by=ada)
    Repository.objects.filter(pk=repository.pk).update(kind="composition")


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"{", b"\xff\xfe", b'{"nodes": []}', b"[" * 100_000, b'{"nodes": {"a": 1}}']
)
def test_terms_of_what_is_no_lock_are_refused(text: bytes) -> None:
    with pytest.raises(terms.BadLock):
        terms.read_terms(text)


def test_a_lock_with_too_many_parts_is_not_judged_while_a_page_waits(ada: User, db: None) -> None:
    many = {f"p{i}": fn(f"ada/p{i}", license="MIT OR Apache-2.0") for i in range(60)}
    for number in range(60):
        make_prior(ada, f"p{number}", function={"id": "char_ngrams", "config": {"seed": number}})
    assert terms.terms_of(lock_of(spec(**many))).sell.allowed

    with pytest.MonkeyPatch.context() as patch, pytest.raises(terms.BadLock, match="priorhub license"):
        patch.setattr(terms, "MAX_PARTS", 59)
        terms.terms_of(lock_of(spec(**many)))


# ── what differs ────────────────────────────────────────────────────────────────────────────────────────────────────


def republish(repository: Repository, owner: User, document: dict[str, Any]) -> str:
    """A second revision; the address of its commit."""
    lock = lock_of(document).to_json().encode()
    made = make_commit(
        repository, {"composition.json": json.dumps(document).encode(), "composition.lock.json": lock}, by=owner
    )
    return f"/ada/mixed/commit/{made.oid}"


def test_a_commit_says_what_changed_in_the_graph(client: Client, ada: User) -> None:
    repository = publish(ada, spec(words={"op": "fn", "in": ["text"], "fn": "word_ngrams"}))
    document = spec(other={"op": "fn", "in": ["text"], "fn": "word_ngrams"})
    document["nodes"]["y"]["labels"] = ["a", "b", "<b>c</b>"]

    html = page_of(client, republish(repository, ada, document))

    assert "The node <bdi>words</bdi> is now called <bdi>other</bdi>" in html
    assert "Changed <bdi>y</bdi>: <code>labels</code>" in html and "<b>c</b>" not in html
    assert "It computes something else." in html


def test_a_node_that_came_and_one_that_went(client: Client, ada: User) -> None:
    repository = publish(ada, spec(words={"op": "fn", "in": ["text"], "fn": "word_ngrams"}))

    html = page_of(client, republish(repository, ada, spec()))
    assert "Removed <bdi>words</bdi>" in html
    renamed = spec()
    renamed["name"] = "other"
    assert "It computes the same" in page_of(client, republish(repository, ada, renamed))


def test_the_first_revision_and_an_unreadable_one_have_no_words(client: Client, ada: User) -> None:
    repository = publish(ada, spec())
    assert "In the graph" not in page_of(client, f"/ada/mixed/commit/{repository.commits.get().oid}")

    make_plain_lock(repository, ada, {"lock": 1})
    assert "In the graph" not in page_of(client, f"/ada/mixed/commit/{repository.commits.order_by('-pk')[0].oid}")


def test_the_words_follow_the_gate(client: Client, ada: User) -> None:
    repository = publish(ada, spec(words={"op": "fn", "in": ["text"], "fn": "word_ngrams"}))
    address = republish(repository, ada, spec())
    Repository.objects.filter(pk=repository.pk).update(gated="manual")

    assert "In the graph" not in page_of(client, address)
    client.force_login(ada)
    assert "In the graph" in page_of(client, address)
