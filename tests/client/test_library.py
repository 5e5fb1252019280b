"""HubLibrary: the catalogue as a library; what is named is what arrives, with or without the hub."""

import json
import subprocess
import sys

import pytest

from priors.client import Hub, HubLibrary
from priors.errors import HubUnreachable, NotAllowed, UnknownPrior
from priors.library import find
from priors.manifest import PriorRef, parse_manifest

from .conftest import problem, sha256

LICENSE = b"Apache License, Version 2.0\n"


def prior(name: str, features: int = 1024, **changes) -> dict[str, bytes]:
    manifest = {
        "prior": 1,
        "name": name,
        "version": "1.0.0",
        "summary": "Counts of character n-grams.",
        "kind": "function",
        "function": {"id": "char_ngrams", "config": {"dim": features}},
        "inputs": {"x": "text.raw[B]:str"},
        "taps": {"out": f"vec.feat[B,D:{features}]:f32"},
        "default_tap": "out",
        "files": {"LICENSE": {"sha256": sha256(LICENSE), "size": len(LICENSE)}},
        "license": {"spdx": "Apache-2.0", "file": "LICENSE"},
    }
    return {"prior.json": json.dumps(manifest | changes).encode(), "LICENSE": LICENSE}


def identity(files: dict[str, bytes]) -> str:
    return parse_manifest(files["prior.json"]).identity()


def test_the_catalogue_is_listed_with_full_references_and_asked_for_once(fake, hub):
    fake.commit("b/two", prior("two"))
    fake.commit("a/one", prior("one"))
    library = HubLibrary(hub)

    entries = library.entries()
    library.entries()

    assert [str(entry.ref) for entry in entries] == [
        f"prior://a/one@{identity(prior('one'))}",
        f"prior://b/two@{identity(prior('two'))}",
    ]
    assert sum(path.endswith("/priors") for _, path, _ in fake.requests) == 1


def test_manifests_are_asked_for_once_by_all_who_share_a_cache(fake, hub):
    fake.commit("a/one", prior("one"))
    HubLibrary(hub).entries()
    fake.requests.clear()

    assert len(HubLibrary(hub).entries()) == 1
    assert not any(path.endswith("/manifest") for _, path, _ in fake.requests)


def test_a_prior_is_fetched_when_its_folder_is_asked_for(fake, hub):
    fake.commit("a/one", prior("one"))
    library = HubLibrary(hub)
    ref = library.entries()[0].ref

    folder = library.directory(ref)

    assert (folder / "LICENSE").read_bytes() == LICENSE
    fake.before = lambda method, path, headers: problem(503, "hub-unreachable", "away. Wait.")
    assert library.directory(ref) == folder
    assert HubLibrary(None, hub.cache).directory(ref) == folder


def test_a_lock_that_names_an_older_prior_gets_that_one(fake, hub):
    old = prior("one", 1024)
    fake.commit("a/one", old)
    fake.commit("a/one", prior("one", 2048))
    wanted = PriorRef.parse("a/one").pinned(identity(old))

    folder = HubLibrary(hub).directory(wanted)

    assert parse_manifest((folder / "prior.json").read_bytes()).identity() == identity(old)
    with pytest.raises(UnknownPrior, match="among its last"):
        HubLibrary(hub).directory(PriorRef("a", "one", "0" * 64))


def test_without_the_hub_the_cache_is_the_library(fake, hub):
    fake.commit("a/one", prior("one"))
    fake.commit("b/two", prior("two"))
    HubLibrary(hub).directory("a/one")

    fake.before = lambda method, path, headers: problem(503, "hub-unreachable", "away. Wait.")

    assert [entry.ref.repo for entry in HubLibrary(hub).entries()] == ["a/one"]
    assert [entry.ref.repo for entry in HubLibrary(None, hub.cache).entries()] == ["a/one"]
    with pytest.raises(UnknownPrior, match="not in the cache"):
        HubLibrary(None, hub.cache).directory("b/two")


def test_with_neither_hub_nor_cache_the_error_is_the_hubs(fake, hub):
    fake.before = lambda method, path, headers: problem(503, "hub-unreachable", "away. Wait.")

    with pytest.raises(HubUnreachable):
        HubLibrary(hub).entries()


def test_priors_whose_files_are_not_given_out_are_left_out_and_said_to_be_there(fake, hub):
    for name in ("a/one", "b/gated", "c/gone"):
        fake.commit(name, prior(name.partition("/")[2]))
    listing = fake._listing
    fake._listing = lambda repo: listing(repo) | {"open": repo != "b/gated"}

    def before(method, path, headers):
        return problem(404, "not-found", "deleted a moment ago.") if "c/gone/manifest" in path else None

    fake.before = before
    library = HubLibrary(hub)

    assert [entry.ref.repo for entry in library.entries()] == ["a/one"]
    with pytest.raises(NotAllowed, match="files of b/gated are gated, or held back"):
        find(library, "b/gated")


def test_a_prior_of_a_newer_version_is_left_out_and_a_false_promise_too(fake, hub, caplog):
    fake.commit("a/one", prior("one"))
    fake.commit("a/lie", prior("lie"))
    listing = type(fake)._listing
    fake._listing = lambda repo: (
        listing(fake, repo) | ({"ref": f"prior://a/lie@sha256:{'1' * 64}"} if repo == "a/lie" else {})
    )

    assert [entry.ref.repo for entry in HubLibrary(hub).entries()] == ["a/one"]
    assert "prior left out" in caplog.text


def test_an_unknown_prior_is_answered_with_near_names(fake, hub):
    fake.commit("a/char-ngrams", prior("char-ngrams"))

    with pytest.raises(UnknownPrior, match="a/char-ngrams"):
        HubLibrary(hub).directory("a/char-ngram")


def test_the_client_imports_no_heavy_library(tmp_path):
    code = (
        "import sys; import priors.client.hub, priors.client.library; "
        "print(sorted({'torch', 'django', 'transformers', 'sklearn', 'scipy', 'numpy', 'pyarrow'} & set(sys.modules)))"
    )

    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert out.strip() == "[]"


def test_hub_and_task_are_one_import_away():
    from priors import Hub as Named

    assert Named is Hub
