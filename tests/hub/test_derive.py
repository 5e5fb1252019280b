"""What a worker reads out of files: parameters, dtypes, a manifest for families the loader knows; never a guess."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from hub.catalog import derive as module
from hub.catalog import tasks
from hub.catalog.derive import derive
from hub.catalog.library import HubStorage
from hub.catalog.models import Item
from hub.catalog.query import Query
from hub.catalog.search import search
from hub.home import prior_cache
from hub.repos.models import Repository
from priors.errors import BadWeights
from tests.factories import make_commit, make_repository, make_user


@pytest.fixture
def ann(db: None, home: Any) -> Any:
    return make_user("ann")


def item_of(owner: Any, files: dict[str, bytes], name: str = "model") -> Item:
    repository = make_repository(owner, name)
    make_commit(repository, files, by=owner)
    derive(Item.objects.get(repository=repository).pk)
    return Item.objects.get(repository=repository)


def weights(**shapes: tuple[int, ...]) -> bytes:
    return save({name: np.zeros(shape, np.float32) for name, shape in shapes.items()})


def test_parameters_and_dtypes_are_counted_from_the_header(ann: Any) -> None:
    mixed = save({"a": np.zeros((3, 4), np.float32), "b": np.zeros(5, np.float16)})
    item = item_of(
        ann, {"model.safetensors": mixed, "config.json": b'{"model_type": "t5", "architectures": ["T5Model"]}'}
    )

    assert (item.parameters, item.dtypes) == (17, {"F32": 12, "F16": 5})
    assert (item.architecture, item.library, item.manifest) == ("t5", "transformers", None)
    assert item.facts == {"parameters": {"F32": 12, "F16": 5}, "total": 17}


def test_shards_count_together_and_only_those_of_the_index(ann: Any) -> None:
    index = {"weight_map": {"a": "m-1.safetensors", "b": "m-2.safetensors"}}
    files = {"m-1.safetensors": weights(a=(2, 2)), "m-2.safetensors": weights(b=(3,)), "x.safetensors": weights(c=(9,))}

    item = item_of(ann, {**files, "model.safetensors.index.json": json.dumps(index).encode()})

    assert item.parameters == 7


@pytest.mark.parametrize(
    "files",
    [
        {"a.safetensors": weights(a=(2,)), "b.safetensors": weights(b=(2,))},
        {"model.safetensors.index.json": b'{"weight_map": {"a": "gone.safetensors"}}'},
        {"model.safetensors.index.json": b"[[[["},
        {"pytorch_model.weights": b"whatever"},
        {"config.json": b"[" * 5000},
    ],
)
def test_what_is_not_clear_is_unknown_and_not_zero(ann: Any, files: dict[str, bytes]) -> None:
    item = item_of(ann, files)

    assert (item.parameters, item.dtypes, item.manifest) == (None, {}, None)
    assert item.derivation == Item.DERIVATION


def test_a_bad_header_is_told_and_the_rest_is_kept(ann: Any) -> None:
    item = item_of(ann, {"model.safetensors": b"\xff" * 64, "README.md": b"# Hello"})

    assert item.parameters is None
    assert "header" in item.problem
    assert "<h2>Hello</h2>" in item.card_html


def test_numbers_of_old_weights_go_with_them_and_stay_when_only_words_change(ann: Any) -> None:
    item = item_of(ann, {"model.safetensors": weights(a=(4,))})
    make_commit(item.repository, {"README.md": b"# Words"}, by=ann, replace=False)
    assert Item.objects.get().parameters == 4

    make_commit(item.repository, {"model.safetensors": weights(a=(5,))}, by=ann, replace=False)
    assert Item.objects.get().parameters is None  # until a worker has looked
    derive(item.pk)
    assert Item.objects.get().parameters == 5
    assert not derive(item.pk)


def test_a_worker_that_was_overtaken_writes_nothing(ann: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = make_repository(ann)
    make_commit(repository, {"model.safetensors": weights(a=(4,))}, by=ann)

    def overtaken(files: Any, blobs: Any) -> Any:
        monkeypatch.undo()
        make_commit(repository, {"model.safetensors": weights(a=(6,))}, by=ann)
        return module.read_weights(files, blobs)

    monkeypatch.setattr(module, "read_weights", overtaken)
    assert not derive(Item.objects.get().pk)
    assert Item.objects.get().parameters is None
    assert derive(Item.objects.get().pk)
    assert Item.objects.get().parameters == 6


def test_a_failing_worker_leaves_the_cause_and_is_tried_three_times(ann: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = make_repository(ann)
    make_commit(repository, {"a.txt": b"1"}, by=ann)
    item = Item.objects.get()

    def broken(files: Any, blobs: Any) -> Any:
        raise OSError("the disk is gone")

    monkeypatch.setattr(module, "read_weights", broken)
    sent: list[int] = []
    monkeypatch.setattr(tasks, "announce", lambda task, item_id: sent.append(item_id))
    for _ in range(4):
        tasks.derive_item(item.pk)
        Item.objects.update(woken_at="2026-01-01T00:00:00Z")
        tasks.sweep()

    assert "the disk is gone" in Item.objects.get().problem
    assert sent == [item.pk, item.pk]  # a third attempt was the last


BERT = {
    "model_type": "bert", "architectures": ["BertModel"], "vocab_size": 9, "hidden_size": 8, "num_hidden_layers": 3,
    "num_attention_heads": 2, "intermediate_size": 16, "max_position_embeddings": 12, "type_vocab_size": 2,
    "hidden_act": "gelu", "pad_token_id": 0,
}  # fmt: skip


@pytest.fixture
def bert(tmp_path: Path) -> dict[str, bytes]:
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models, pre_tokenizers

    network = transformers.BertModel(transformers.BertConfig(**BERT))
    network.save_pretrained(tmp_path)
    tokenizer = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(["[UNK]", "a", "b", "c", "d", "e", "f", "g", "h"])}, "[UNK]")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}


def test_a_plain_bert_becomes_a_prior_that_gives_features(ann: Any, bert: dict[str, bytes]) -> None:
    item = item_of(ann, bert, "tiny-bert")
    assert item.kind == "network" and item.modality == "text" and item.architecture == "bert"
    assert item.repository.kind == Repository.Kind.PLAIN
    assert [one.id for one in search(Query(facets={"takes": ("text.ids",)}), visible_to=ann).page().items] == [item.pk]

    from priors.load import load

    library = HubStorage(ann)
    [entry] = library.entries()
    folder = library.directory(entry.ref)
    features = load(folder).features(["a b c", "d"], ["layers_2_3"])["layers_2_3"]

    assert folder.parent == prior_cache()
    assert features.shape[0] == 2 and np.isfinite(features).all()


@pytest.mark.parametrize(
    "change",
    [{"hidden_size": 16}, {"num_hidden_layers": 2}, {"num_hidden_layers": 4}, {"vocab_size": 10}, {"is_decoder": True},
     {"model_type": "roberta"}, {"position_embedding_type": "relative_key"}, {"hidden_act": "other"},
     {"num_attention_heads": 3}, {"architectures": None}, {"intermediate_size": "16"}],
)  # fmt: skip
def test_a_config_that_its_weights_do_not_bear_out_makes_no_prior(
    ann: Any, bert: dict[str, bytes], change: dict[str, Any]
) -> None:
    config = json.loads(bert["config.json"]) | change
    item = item_of(ann, {**bert, "config.json": json.dumps(config).encode()}, "tiny-bert")

    assert item.manifest is None
    assert item.parameters and item.dtypes == {"F32": item.parameters}


def test_a_tensor_that_stands_in_two_shards_is_refused(ann: Any) -> None:
    index = json.dumps({"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}).encode()
    item = item_of(
        ann, {"1.safetensors": weights(a=(2,)), "2.safetensors": weights(a=(2,)), "model.safetensors.index.json": index}
    )

    assert item.parameters is None and "stands in two" in item.problem
    assert BadWeights.__name__ not in item.problem


def lite0(**change: Any) -> dict[str, bytes]:
    """timm's tf_efficientnet_lite0 as its `push_to_hub` writes it, with random weights and two classes."""
    stages = [
        (1, 3, 1, 16),
        (2, 3, 6, 24),
        (2, 5, 6, 40),
        (3, 3, 6, 80),
        (3, 5, 6, 112),
        (4, 5, 6, 192),
        (1, 3, 6, 320),
    ]
    shapes: dict[str, tuple[int, ...]] = {"conv_stem.weight": (32, 3, 3, 3), "bn1": (32,)}
    before = 32
    for stage, (repeats, kernel, expand, channels) in enumerate(stages):
        for repeat in range(repeats):
            at, wide = f"blocks.{stage}.{repeat}", before * expand
            depthwise = [(f"{at}.conv_dw.weight", (wide, 1, kernel, kernel))]
            first = [(f"{at}.conv_pw.weight", (wide, before, 1, 1))] if expand > 1 else []
            last = [(f"{at}.conv_pwl.weight" if expand > 1 else f"{at}.conv_pw.weight", (channels, wide, 1, 1))]
            for number, (name, shape) in enumerate([*first, *depthwise, *last], start=1):
                shapes |= {name: shape, f"{at}.bn{number}": (shape[0],)}
            before = channels
    shapes |= {"conv_head.weight": (1280, 320, 1, 1), "bn2": (1280,)}
    shapes |= {"classifier.weight": (2, 1280), "classifier.bias": (2,)}
    draw, state = np.random.default_rng(0), {}
    for name, shape in shapes.items():
        if "bn" in name.rpartition(".")[2]:
            state |= {f"{name}.{part}": np.ones(shape, "<f4") for part in ("weight", "running_var")}
            state |= {f"{name}.{part}": np.zeros(shape, "<f4") for part in ("bias", "running_mean")}
        else:
            state[name] = draw.normal(0, 0.1, shape).astype("<f4")
    config = {
        "architecture": "tf_efficientnet_lite0", "num_classes": 2, "num_features": 1280,
        "pretrained_cfg": {"input_size": [3, 224, 224], "interpolation": "bicubic", "crop_pct": 0.875,
                           "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], **change},
    }  # fmt: skip
    return {"config.json": json.dumps(config).encode(), "model.safetensors": save(state)}


def test_a_plain_timm_model_becomes_a_prior_that_gives_features(ann: Any) -> None:
    item = item_of(ann, lite0(), "tf_efficientnet_lite0.in1k")
    assert (item.kind, item.modality, item.library) == ("network", "image", "timm"), item.problem

    from priors.load import load

    library = HubStorage(ann)
    [entry] = library.entries()
    found = load(library.directory(entry.ref)).features([np.full((9, 12, 3), 200, np.uint8)], ["features", "logits"])

    assert found["features"].shape == (1, 1280) and found["logits"].shape == (1, 2)
    assert np.isfinite(found["features"]).all() and found["features"].std() > 0


@pytest.mark.parametrize(
    "change",
    [{"input_size": [1, 224, 224]}, {"mean": [0.485, 0.456, 0.406]}, {"interpolation": "lanczos"}, {"crop_pct": 2}],
)
def test_a_timm_model_that_sees_pictures_another_way_makes_no_prior(ann: Any, change: dict[str, Any]) -> None:
    assert item_of(ann, lite0(**change), "lite0").manifest is None
