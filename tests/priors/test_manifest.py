"""prior.json: what is accepted comes back the same, and what is wrong is named."""

import copy
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from priors.errors import BadManifest, BadType, UnknownArchitecture, UnknownFunction, UnknownPrior
from priors.functions.signatures import find_signature
from priors.library import Entry, LocalLibrary, find, resolver
from priors.manifest import PriorRef, parse_manifest, read_manifest
from priors.registry import (
    ARCHITECTURE_IDS,
    FUNCTION_IDS,
    architecture,
    architectures,
    find_architecture,
    find_function,
    function_signature,
    functions,
)
from priors.types import parse

DIGEST = "a" * 64

NETWORK: dict[str, Any] = {
    "prior": 1,
    "name": "tiny-bert",
    "version": "1.0.0",
    "summary": "A sentence encoder for tests.",
    "kind": "network",
    "architecture": {"id": "bert", "config": {"hidden_size": 8, "layers": [1, 2]}},
    "inputs": {"ids": "text.ids[B,T]:i64{vocab=words,mask=ids_mask}"},
    "taps": {
        "layer_0": "text.tokens[B,T,D:8]:f32",
        "layer_1": "text.tokens[B,T,D:8]:f32",
        "mid": "text.tokens[B,T,D:8]:f32",
    },
    "averages": {"mid": ["layer_0", "layer_1"]},
    "default_tap": "layer_1",
    "host": {"encoder": "tokenizer", "file": "tokenizer.json", "max_tokens": 128},
    "files": {"model.safetensors": {"sha256": DIGEST, "size": 100}, "tokenizer.json": {"sha256": "b" * 64, "size": 7}},
    "parameters": 25,
    "license": {"spdx": "Apache-2.0", "file": "LICENSE"},
    "fee_bp": 0,
    "parents": [],
    "training_data": ["Sentences"],
    "citations": ["Somebody 2020"],
    "tags": ["text"],
    "origin": {"package": "p", "version": "1"},
}
FUNCTION: dict[str, Any] = {
    "prior": 1,
    "name": "char-ngrams",
    "version": "1.0.0",
    "summary": "Characters.",
    "kind": "function",
    "function": {"id": "char_ngrams", "config": {"dim": 64}},
    "inputs": {"x": "text.raw[B]:str"},
    "taps": {"out": "vec.feat[B,D:64]:f32"},
    "default_tap": "out",
    "license": {"spdx": "Apache-2.0"},
}


def changed(base: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of `base` with the value at a dotted path replaced, or removed when it is `...`."""
    document = copy.deepcopy(base)
    *parents, last = path.split("/")
    place = document
    for key in parents:
        place = place[key]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return document


@pytest.mark.parametrize("document", [NETWORK, FUNCTION])
def test_a_manifest_survives_its_own_json(document: dict[str, Any]) -> None:
    manifest = parse_manifest(document)

    assert parse_manifest(manifest.to_json()) == manifest
    assert parse_manifest(manifest.to_json().encode()) == manifest
    assert parse_manifest(manifest.to_dict()).identity() == manifest.identity()


def test_a_manifest_knows_its_facts() -> None:
    manifest = parse_manifest(NETWORK)

    assert manifest.modality == "text"
    assert manifest.weight_files == ("model.safetensors",)
    assert manifest.size_bytes == 107
    assert manifest.tap() == manifest.tap("layer_1") == parse("text.tokens[B,T,D:8]:f32")
    assert manifest.definition.id == "bert"
    with pytest.raises(BadManifest, match="Nearest: layer_"):
        manifest.tap("layer_9")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("name", "other"),
        ("version", "2.0.0"),
        ("summary", "Other words."),
        ("license", {"spdx": "MIT", "file": None}),
        ("fee_bp", 500),
        ("tags", ["image"]),
        ("citations", []),
        ("origin", None),
        ("default_tap", "layer_0"),
        ("parameters", 26),
    ],
)
def test_words_license_and_price_do_not_change_the_identity(path: str, value: Any) -> None:
    assert parse_manifest(changed(NETWORK, path, value)).identity() == parse_manifest(NETWORK).identity()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("architecture/config/hidden_size", 16),
        ("architecture/id", "mlp"),
        ("inputs/ids", "text.ids[B,T]:i64{vocab=other}"),
        ("taps/layer_0", ...),
        ("host/max_tokens", 64),
        ("host", None),
        ("files/model.safetensors/sha256", "c" * 64),
        ("files/tokenizer.json/sha256", "c" * 64),
    ],
)
def test_what_decides_outputs_changes_the_identity(path: str, value: Any) -> None:
    document = changed(NETWORK, path, value)
    if path.startswith("taps"):
        document["averages"] = {}

    assert parse_manifest(document).identity() != parse_manifest(NETWORK).identity()


def test_the_order_of_keys_and_of_attributes_does_not_change_the_identity() -> None:
    document = dict(reversed(NETWORK.items())) | {"inputs": {"ids": "text.ids[B, T]:i64{mask=ids_mask, vocab=words}"}}

    assert parse_manifest(document).identity() == parse_manifest(NETWORK).identity()


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("prior", 2, "prior"),
        ("name", "../../etc", "name"),
        ("name", "Tiny", "name"),
        ("name", "x" * 97, "name"),
        ("summary", "two\nlines", "summary"),
        ("kind", "code", "kind"),
        ("architecture", ..., "architecture"),
        ("function", {"id": "char_ngrams", "config": {}}, "architecture"),
        ("architecture/code", "import os", "architecture.code"),
        ("architecture/config/hidden_size", float("nan"), "NaN"),
        ("inputs", {}, "inputs"),
        ("inputs/ids", "text.ids[B,T", "inputs.ids"),
        ("taps/layer_0", "vec.feat[B,D:99999999999]:f32", "out of range"),
        ("default_tap", "layer_7", "layer_7"),
        ("averages/mid", ["layer_7"], "layer_7"),
        ("taps/mid", "text.tokens[B,T,D:9]:f32", "other types"),
        ("files/..%2fx", {"sha256": DIGEST, "size": 1}, "files"),
        ("files/model.safetensors/sha256", "A" * 64, "sha256"),
        ("files/model.safetensors/size", -1, "size"),
        ("files/model.safetensors", ..., "safetensors"),
        ("host/file", "other.json", "other.json"),
        ("license", {"spdx": "<script>"}, "spdx"),
        ("fee_bp", 10_001, "fee_bp"),
        ("fee_bp", True, "fee_bp"),
        ("tags", ["UPPER"], "tags"),
        ("python", "os.system('x')", "python"),
    ],
)
def test_a_wrong_key_is_named(path: str, value: Any, named: str) -> None:
    with pytest.raises(BadManifest) as caught:
        parse_manifest(changed(NETWORK, path, value))

    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "path", ["../x", "/etc/passwd", "a/../b", "a//b", ".git/config", "a\\b", "a b", "a\nb", "é", "x."]
)
def test_a_file_name_that_could_leave_the_folder_is_refused(path: str) -> None:
    document = copy.deepcopy(NETWORK)
    document["files"][path] = {"sha256": DIGEST, "size": 1}

    with pytest.raises(BadManifest):
        parse_manifest(document)


def test_unknown_ids_name_the_nearest_known_ones() -> None:
    with pytest.raises(UnknownArchitecture, match="Nearest: bert"):
        parse_manifest(changed(NETWORK, "architecture/id", "berd"))
    with pytest.raises(UnknownFunction, match="char_ngrams"):
        parse_manifest(changed(FUNCTION, "function/id", "char_ngram"))


def test_a_function_may_not_declare_another_length_than_it_gives() -> None:
    with pytest.raises(BadManifest, match="D:64"):
        parse_manifest(changed(FUNCTION, "taps/out", "vec.feat[B,D:65]:f32"))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b'{"prior": 1, "prior": 1}',
        b'{"prior": NaN}',
        b'{"prior": ' + b"[" * 100_000,
        b'{"prior": ' + b"9" * 100_000 + b"}",
        b'{"prior": "' + b"x" * (1 << 20) + b'"}',
        json.dumps(NETWORK | {"origin": {"a": {"b": {"c": {"d": {"e": {"f": {"g": {"h": {"i": {}}}}}}}}}}}).encode(),
    ],
)
def test_hostile_json_is_refused_at_once(text: bytes) -> None:
    start = time.perf_counter()

    with pytest.raises(BadManifest):
        parse_manifest(text)

    assert time.perf_counter() - start < 0.5


names = st.from_regex(r"[a-z0-9]([a-z0-9._-]{0,20}[a-z0-9])?", fullmatch=True)


@given(st.none() | names, names, st.none() | st.from_regex(r"[0-9a-f]{4,64}", fullmatch=True))
def test_a_reference_survives_its_own_text(namespace: str | None, name: str, digest: str | None) -> None:
    ref = PriorRef(namespace, name, digest)

    assert PriorRef.parse(str(ref)) == ref
    assert PriorRef.parse(str(ref).removeprefix("prior://")) == ref
    assert str(ref).startswith("prior://")


@pytest.mark.parametrize(
    "text", ["", "a/b/c", "prior://A/b", "http://a/b", "a@sha256:xyz", "a@md5:aaaa", "../b", "a/" + "b" * 500]
)
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(BadManifest, match="prior://namespace/name"):
        PriorRef.parse(text)


def test_a_reference_matches_by_the_part_of_the_hash_it_gives() -> None:
    ref = PriorRef.parse("priorhub/x@sha256:aaaa")

    assert ref.matches(f"sha256:{DIGEST}")
    assert not ref.matches(f"sha256:{'b' * 64}")
    assert str(ref.pinned(f"sha256:{DIGEST}")) == f"prior://priorhub/x@sha256:{DIGEST}"


def write(root, namespace: str, document: dict[str, Any]) -> None:
    folder = root / namespace / document["name"]
    folder.mkdir(parents=True)
    (folder / "prior.json").write_text(json.dumps(document))


def test_a_local_library_lists_finds_and_resolves(tmp_path) -> None:
    write(tmp_path, "priorhub", NETWORK)
    write(tmp_path, "priorhub", FUNCTION)
    library = LocalLibrary(tmp_path)

    function, network = library.entries()

    assert isinstance(function, Entry)
    assert (function.ref.repo, network.ref.repo) == ("priorhub/char-ngrams", "priorhub/tiny-bert")
    assert (
        find(library, "tiny-bert") == find(library, "priorhub/tiny-bert") == find(library, str(network.ref)) == network
    )
    assert library.directory(network.ref) == tmp_path / "priorhub" / "tiny-bert"
    assert resolver(library)(network.ref) == parse_manifest(NETWORK)


def test_a_prior_is_found_by_content_under_another_name(tmp_path) -> None:
    write(tmp_path, "priorhub", NETWORK | {"name": "renamed"})
    identity = parse_manifest(NETWORK).identity()

    assert find(LocalLibrary(tmp_path), PriorRef("old", "tiny-bert").pinned(identity)).ref.repo == "priorhub/renamed"


def test_a_prior_that_is_not_there_names_the_nearest(tmp_path) -> None:
    write(tmp_path, "priorhub", NETWORK)
    write(tmp_path, "me", NETWORK)
    library = LocalLibrary(tmp_path)

    with pytest.raises(UnknownPrior, match=r"Nearest: .*tiny-bert"):
        find(library, "priorhub/tiny-brt")
    with pytest.raises(UnknownPrior, match="not sha256:cccc"):
        find(library, "priorhub/tiny-bert@sha256:cccc")
    with pytest.raises(UnknownPrior, match="me/tiny-bert, priorhub/tiny-bert"):
        find(library, "tiny-bert")
    with pytest.raises(UnknownPrior, match="0 priors"):
        find(LocalLibrary(tmp_path / "nothing"), "a/b")


def test_a_version_that_is_no_longer_listed_is_resolved_by_its_hash(tmp_path) -> None:
    write(tmp_path, "old", NETWORK)
    old = parse_manifest(NETWORK)

    class Moved(LocalLibrary):
        def directory(self, ref: PriorRef):
            return self.root / "old" / "tiny-bert" if ref.matches(old.identity()) else super().directory(ref)

        def entries(self) -> list[Entry]:
            return []

    assert resolver(Moved(tmp_path))(PriorRef("new", "tiny-bert").pinned(old.identity())) == old
    with pytest.raises(UnknownPrior):
        resolver(Moved(tmp_path))(PriorRef("new", "tiny-bert"))
    with pytest.raises(UnknownPrior):
        resolver(Moved(tmp_path))(PriorRef("new", "tiny-bert", "c" * 64))


def test_a_changed_or_broken_folder_is_noticed(tmp_path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, "priorhub", NETWORK)
    library = LocalLibrary(tmp_path)
    before = library.entries()[0].ref
    path = tmp_path / "priorhub" / "tiny-bert" / "prior.json"

    path.write_text(json.dumps(changed(NETWORK, "architecture/config/hidden_size", 16)))
    after = library.entries()[0].ref
    path.write_text("{}")

    assert before != after
    assert library.entries() == []
    assert "prior left out" in caplog.text
    with pytest.raises(BadManifest, match=r"prior\.json"):
        read_manifest(tmp_path)


def test_the_ids_known_without_torch_are_those_registered() -> None:
    assert set(ARCHITECTURE_IDS) == set(architectures())
    assert set(functions()) == set(FUNCTION_IDS)
    assert find_architecture("mlp") is architectures()["mlp"]
    assert find_function("char_ngrams") is functions()["char_ngrams"]
    with pytest.raises(UnknownArchitecture):
        find_architecture("gpt")
    with pytest.raises(UnknownFunction):
        find_function("python_eval")


def test_two_classes_of_one_id_are_a_mistake() -> None:
    class Mlp2:
        pass

    architectures()
    with pytest.raises(RuntimeError, match="registered twice"):
        architecture("mlp")(Mlp2)


GIVEN = {
    "spherical_harmonics": "tab.num[B,C:3]:f32",
    "formula": "tab.num[B,C:1]:f32{cols=x}",
    "ode_step": "tab.num[B,C:1]:f32{cols=x}",
    "wavelet_scattering": "image.pixels[B,C:1,H:16,W:16]:f32",
    "group_average": "vec.feat[B,D:4]:f32",
    "canonicalize": "vec.feat[B,D:4]:f32",
    "series_statistics": "series.num[B,T:20,C:2]:f32",
    "rocket": "series.num[B,T:20,C:2]:f32",
}
"""What a function is given that does not read just any five features."""


@pytest.mark.parametrize("name", sorted(FUNCTION_IDS))
def test_a_signature_says_what_the_function_says(name: str) -> None:
    kind: Any = functions()[name]
    function, signature = kind({}), find_signature(name)
    given_type = parse(kind.input_type) if kind.host else parse(GIVEN.get(name, "vec.feat[B,D:5]:f32"))
    declared = function.output_type if kind.host else function.output_type_for(str(given_type))

    assert (signature.host, signature.fitted) == (kind.host, kind.fitted)
    assert str(function_signature(name, {}, given_type)) == declared
    assert str(function_signature(name, function.config.model_dump(mode="json"), given_type)) == declared


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("char_ngrams", {"dim": 0}),
        ("char_ngrams", {"dim": "64"}),
        ("pixels", {"size": 10**6}),
        ("oriented_gradients", {"size": 8, "cell": 8}),
        ("color_histogram", {"bins": [10**6, 10**6, 10**6]}),
        ("color_histogram", {"bins": "many"}),
        ("fourier_features", {"m": 2**24}),
        ("formula", {}),
    ],
)
def test_a_config_without_a_sensible_length_is_refused(name: str, config: dict[str, Any]) -> None:
    raw = {"char_ngrams": "text.raw[B]:str", "fourier_features": "vec.feat[B,D:5]:f32", "formula": "tab.num[B,C:3]:f32"}

    with pytest.raises(BadManifest):
        function_signature(name, config, parse(raw.get(name, "image.raw[B]:u8")))


def test_a_function_refuses_what_it_cannot_read() -> None:
    with pytest.raises(BadType, match="text column"):
        function_signature("char_ngrams", {}, parse("image.raw[B]:u8"))
    with pytest.raises(BadType, match="reads numbers"):
        find_signature("standardize").takes(parse("text.raw[B]:str"))
