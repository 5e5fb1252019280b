"""Two revisions on one page: graphs, tensors, terms, cards; of one repository and of two, for whoever may see what."""

from __future__ import annotations

import json
import re
import struct
from typing import Any

import pytest
from django.test import Client

from hub.accounts.models import User
from hub.repos import services as repos
from hub.repos.models import Commit, Repository
from hub.safety import holds
from tests.factories import make_commit, make_prior, make_repository, make_user
from tests.web.test_compositions import fn, lock_of, publish, spec
from tests.web.world import body


def weights(**tensors: list[float]) -> bytes:
    header, data = {}, b""
    for name, values in tensors.items():
        packed = struct.pack(f"<{len(values)}f", *values)
        header[name] = {
            "dtype": "F32", "shape": [len(values)], "data_offsets": [len(data), len(data) + len(packed)],
        }  # fmt: skip
        data += packed
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def again(repository: Repository, owner: User, document: dict[str, Any], **files: bytes) -> Commit:
    lock = lock_of(document).to_json().encode()
    both = {"composition.json": json.dumps(document).encode(), "composition.lock.json": lock}
    return make_commit(repository, both | {name.replace("__", "."): data for name, data in files.items()}, by=owner)


def seen(client: Client, address: str, status: int = 200) -> str:
    response = client.get(address)
    assert response.status_code == status
    html: str = body(response)  # type: ignore[arg-type]
    return re.sub(r"\s+", " ", re.sub(r'name="csrfmiddlewaretoken" value="\w+"', "", html))


def test_nodes_tensors_terms_and_the_card_of_two_revisions(client: Client, ada: User) -> None:
    make_prior(ada, "free", fee_bp=0)
    words = {"id": "word_ngrams", "config": {}}
    make_prior(ada, "paid", fee_bp=500, license={"spdx": "CC-BY-NC-4.0", "file": None}, function=words)
    repository = publish(ada, spec(one=fn("ada/free")))
    first = again(
        repository, ada, spec(one=fn("ada/free")),
        model__safetensors=weights(kept=[1, 2], moved=[1, 2], gone=[0]), README__md=b"# Old words\n",
    )  # fmt: skip
    repos.create_tag(repository=repository, name="v1", rev=first.oid)
    document = spec(two=fn("ada/paid", fn="word_ngrams"))
    document["nodes"]["y"]["labels"] = ["a", "b", "c"]
    again(
        repository, ada, document,
        model__safetensors=weights(kept=[1, 2], moved=[1, 3], came=[0]), README__md=b"# New words\n",
    )  # fmt: skip

    html = seen(client, "/ada/mixed/compare?from=v1&to=main")

    drawn = html[html.index("<svg xmlns") : html.index("</svg>", html.index("<svg xmlns"))]
    marks = re.findall(r"<title>(\w+): (added|removed|changed)", drawn)
    assert set(marks) == {("one", "removed"), ("two", "added"), ("both", "changed"), ("y", "changed")}
    assert drawn.count("stroke-dasharray") >= 2  # the box that went and its wires
    assert "Removed <bdi>one</bdi>" in html and "Added <bdi>two</bdi>" in html
    rows = dict(re.findall(r"<bdi>(\w+)</bdi></th><td>(\w+)", html))
    assert rows == {"came": "added", "gone": "removed", "moved": "values"} and "1 is the same" in html
    assert "<code>CC-BY-NC-4.0</code>" in html and "Selling: allowed before, now not allowed" in html
    assert re.search(r'ada/paid</th><td class="number">nothing</td><td class="number">5.00', html)
    assert re.search(r'whoever sells it</th><td class="number">100.00</td><td class="number">95.00', html)
    assert html.index('id="card-head"') < html.index("-# Old words") < html.index("+# New words")


def test_without_revisions_it_is_the_last_commit_against_its_parent(client: Client, ada: User) -> None:
    repository = publish(ada, spec())
    assert "This is the first commit" in seen(client, "/ada/mixed/compare")
    again(repository, ada, spec(words={"op": "fn", "in": ["text"], "fn": "word_ngrams"}))

    assert "Added <bdi>words</bdi>" in seen(client, "/ada/mixed/compare")
    assert "Both have the same files" in seen(client, "/ada/mixed/compare?from=main&to=main")
    history = seen(client, "/ada/mixed/commits/main")
    assert "/ada/mixed/compare?to=main" in history and "/ada/mixed/compare?" in seen(client, "/ada/mixed")


def test_two_compositions_are_compared_and_other_kinds_are_not(client: Client, ada: User) -> None:
    publish(ada, spec())
    publish(ada, spec(words={"op": "fn", "in": ["text"], "fn": "word_ngrams"}), "wordy")
    make_prior(ada, "grams")

    html = seen(client, "/ada/wordy/compare?with=ada/mixed")

    assert "Added <bdi>words</bdi>" in html and 'href="/ada/mixed"' in html
    assert "Compare two of one kind" in seen(client, "/ada/wordy/compare?with=ada/grams", 400)
    assert "Write it as namespace/name" in seen(client, "/ada/wordy/compare?with=a", 400)
    assert "no branch, tag or commit" in seen(client, "/ada/wordy/compare?from=%3Cb%3E", 404)


def test_what_is_not_to_be_seen_is_not_there_to_compare_with(client: Client, signed_in: Client, ada: User) -> None:
    publish(ada, spec())
    publish(ada, spec(words={"op": "fn", "in": ["text"], "fn": "word_ngrams"}), "secret", private=True)

    private = seen(Client(), "/ada/mixed/compare?with=ada/secret", 404)
    absent = seen(Client(), "/ada/mixed/compare?with=ada/absent", 404)

    assert private.replace("secret", "absent") == absent and "words" not in private
    assert "Removed <bdi>words</bdi>" in seen(signed_in, "/ada/mixed/compare?with=ada/secret")


@pytest.mark.parametrize("how", ["gated", "held"])
def test_of_files_that_are_gated_or_held_only_the_names_are_told(client: Client, ada: User, how: str) -> None:
    publish(ada, spec())
    other = publish(ada, spec(words={"op": "fn", "in": ["text"], "fn": "word_ngrams"}), "other")
    if how == "gated":
        Repository.objects.filter(pk=other.pk).update(gated="manual")
    else:
        holds.quarantine(other, reason="suspicious", by=make_user("root", admin=True))

    for address in ("/ada/mixed/compare?with=ada/other", "/ada/other/compare?with=ada/mixed"):
        html = seen(client, address)
        assert "word_ngrams" not in html and "The graphs are not compared" in html


def test_plain_files_and_locks_that_cannot_be_read_are_compared_as_files(client: Client, ada: User) -> None:
    repository = make_repository(ada, "notes")
    make_commit(repository, {"README.md": b"one\n", "model.safetensors": weights(a=[1])}, by=ada)
    make_commit(repository, {"README.md": b"two\n", "composition.lock.json": b"{", "model.safetensors": b"x"}, by=ada)

    html = seen(client, "/ada/notes/compare")

    assert "+two" in html and "header is" in html
    Repository.objects.filter(pk=repository.pk).update(kind="composition")
    assert "no composition.lock.json to compare with" in seen(client, "/ada/notes/compare")
