"""Weights out of weights beside merging: adapters folded and extracted, vocabularies, soups, nodes of a composition."""

import json
import sys

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers

from composer.errors import BadGraph
from composer.merge import MergeSpec, evaluate, extract, fold, greedy_soup, merge, node_outputs, retok
from composer.merge.source import Checkpoint, Derived
from priors.errors import BadWeights
from tests.composer._checkpoints import SHAPES, checkpoint, random_tensors, written

MLP = "model.layers.1.mlp"


@pytest.fixture
def base(tmp_path):
    return checkpoint(tmp_path / "base", random_tensors(0))


def adapter(folder, tensors, **config):
    folder.mkdir()
    save_file(
        {f"base_model.model.{name}": value for name, value in tensors.items()}, folder / "adapter_model.safetensors"
    )
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", **config}))
    return folder


@pytest.mark.parametrize(
    ("config", "scale"),
    [
        ({"r": 2, "lora_alpha": 6}, 3),
        ({"r": 2, "lora_alpha": 6, "use_rslora": True}, 6 / 2**0.5),
        ({"r": 9, "lora_alpha": 6, "rank_pattern": {"1.mlp": 2}, "alpha_pattern": {MLP: 8}}, 4),
    ],
)
def test_folding_adds_the_product(tmp_path, base, config, scale):
    a, b = torch.randn(2, 6), torch.randn(5, 2)
    made = adapter(tmp_path / "lora", {f"{MLP}.lora_A.weight": a, f"{MLP}.lora_B.weight": b}, **config)

    fold(base, made, tmp_path / "out")

    before, after = written(base), written(tmp_path / "out")
    torch.testing.assert_close(after[f"{MLP}.weight"], before[f"{MLP}.weight"] + scale * b @ a)
    assert all(after[name].equal(before[name]) for name in SHAPES if name != f"{MLP}.weight")


def test_folding_dora_gives_every_row_its_length_and_a_transposed_layer_its_transposed(tmp_path, base):
    a, b, length = torch.randn(2, 6), torch.randn(5, 2), torch.rand(5) + 1
    parts = {f"{MLP}.lora_A.weight": a, f"{MLP}.lora_B.weight": b}
    dora = adapter(tmp_path / "dora", {**parts, f"{MLP}.lora_magnitude_vector": length}, r=2, lora_alpha=2)
    flipped = {f"{MLP}.lora_A.weight": torch.randn(2, 5), f"{MLP}.lora_B.weight": torch.randn(6, 2)}
    conv = adapter(tmp_path / "conv", flipped, r=2, lora_alpha=2, fan_in_fan_out=True)
    before = written(base)[f"{MLP}.weight"]

    fold(base, dora, tmp_path / "one")
    fold(base, conv, tmp_path / "two")

    found = written(tmp_path / "one")[f"{MLP}.weight"]
    torch.testing.assert_close(found.norm(dim=1), length)
    whole = before + b @ a
    torch.testing.assert_close(found, whole * (length / whole.norm(dim=1))[:, None])
    product = flipped[f"{MLP}.lora_B.weight"] @ flipped[f"{MLP}.lora_A.weight"]
    torch.testing.assert_close(written(tmp_path / "two")[f"{MLP}.weight"], before + product.T)


@pytest.mark.parametrize(
    ("tensors", "config", "cause"),
    [
        ({f"{MLP}.lora_A.weight": (2, 6)}, {}, "A or B is missing"),
        ({f"{MLP}.lora_A.weight": (2, 7), f"{MLP}.lora_B.weight": (5, 2)}, {}, "no fit"),
        ({"other.lora_A.weight": (2, 6), "other.lora_B.weight": (5, 2)}, {}, "no such tensor"),
        ({f"{MLP}.lora_embedding_A": (2, 6)}, {}, "not part of a LoRA"),
        ({f"{MLP}.lora_A.weight": (2, 6)}, {"modules_to_save": ["x"]}, "modules_to_save"),
        ({f"{MLP}.lora_A.weight": (2, 6)}, {"bias": "all"}, "biases"),
        ({f"{MLP}.lora_A.weight": (2, 6)}, {"peft_type": "IA3"}, "not a LoRA"),
    ],
)
def test_adapters_that_do_not_fit_are_refused(tmp_path, base, tensors, config, cause):
    made = adapter(tmp_path / "lora", {name: torch.randn(shape) for name, shape in tensors.items()}, **config)
    with pytest.raises(BadWeights, match=cause):
        fold(base, made, tmp_path / "out")


def test_what_is_extracted_folds_back(tmp_path):
    shapes = {
        "a.weight": (300, 280),
        "b.weight": (20, 30),
        "norm.weight": (9,),
        "embed.weight": (20, 30),
        "c.weight": (8, 8),
    }
    before = random_tensors(0, shapes)
    after = {name: value.clone() for name, value in before.items()}
    after["a.weight"] += torch.randn(300, 4) @ torch.randn(4, 280)
    after["b.weight"] += torch.randn(20, 30)
    after["norm.weight"] += 1
    after["embed.weight"] += 1
    one, other = checkpoint(tmp_path / "one", before), checkpoint(tmp_path / "other", after)

    made = extract(one, other, tmp_path / "lora", rank=4)
    fold(one, tmp_path / "lora", tmp_path / "out")

    assert made.left_out == ("embed.weight", "norm.weight")
    assert made.kept["a.weight"] == pytest.approx(1, abs=1e-4) and made.kept["b.weight"] < 0.9
    found = written(tmp_path / "out")
    torch.testing.assert_close(found["a.weight"], after["a.weight"], rtol=1e-3, atol=1e-3)
    u, s, v = torch.linalg.svd(after["b.weight"] - before["b.weight"])
    nearest = before["b.weight"] + (u[:, :4] * s[:4]) @ v[:4]
    torch.testing.assert_close(found["b.weight"], nearest, rtol=1e-3, atol=1e-3)
    assert extract(one, other, tmp_path / "again", rank=4, targets=("b",)).kept.keys() == {"b.weight"}
    with pytest.raises(BadGraph, match="nothing to extract"):
        extract(one, one, tmp_path / "none", rank=4)


def words(path, vocabulary):
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("-", "removed")
    tokenizer.save(str(path))


@pytest.mark.parametrize("fallback", ["mean", "subtokens", "zero"])
def test_a_transplanted_vocabulary_keeps_rows_and_makes_the_others(tmp_path, base, fallback):
    words(tmp_path / "base" / "tokenizer.json", ["[UNK]", "red", "big", "cat", "dog", "sun", "sea"])
    words(tmp_path / "new.json", ["cat", "[UNK]", "red-dog", "moon"])

    made = retok(base, tmp_path / "new.json", tmp_path / "out", fallback=fallback)

    old, new = (written(folder)["model.embed_tokens.weight"] for folder in (base, tmp_path / "out"))
    rest = torch.zeros(6) if fallback == "zero" else old.mean(0)
    split = (old[1] + old[4]) / 2 if fallback == "subtokens" else rest
    torch.testing.assert_close(new, torch.stack([old[3], old[0], split, rest]))
    assert (made.kept, made.from_subtokens, made.otherwise) == (2, *((1, 1) if fallback == "subtokens" else (0, 2)))
    assert json.loads((tmp_path / "out" / "config.json").read_text())["vocab_size"] == 4
    assert Tokenizer.from_file(str(tmp_path / "out" / "tokenizer.json")).get_vocab_size() == 4
    assert written(tmp_path / "out")[f"{MLP}.weight"].equal(written(base)[f"{MLP}.weight"])


def test_a_greedy_soup_takes_only_what_does_not_lower_the_held_out_score(tmp_path):
    truth = random_tensors(0)
    noise = [random_tensors(i, spread=0.1) for i in (1, 2)]
    good = [{n: truth[n] + x[n] for n in truth} for x in (noise[0], {n: -v for n, v in noise[0].items()})]
    names = [checkpoint(tmp_path / f"m{i}", t) for i, t in enumerate([*good, random_tensors(9)])]
    asked = []

    def score(folder):
        asked.append(folder)
        found = written(folder)
        return -sum(float((found[n] - truth[n]).square().sum()) for n in truth)

    made = greedy_soup(names, tmp_path / "out", score)

    assert set(made.chosen) == set(names[:2])
    assert made.score >= max(made.alone.values()) and made.score == pytest.approx(0, abs=1e-6)
    assert len(asked) == 5
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m0", "m1", "m2", "out"]
    with pytest.raises(BadGraph, match="NaN"):
        greedy_soup(names, tmp_path / "nan", lambda folder: float("nan"))


def test_a_merge_node_is_what_the_command_writes(tmp_path, monkeypatch, capsys):
    from composer.cli import main

    below = random_tensors(0)
    names = [checkpoint(tmp_path / n, random_tensors(i, near=below), torch.bfloat16) for i, n in enumerate("abc")]
    options = ["--base", names[0], "--method", "ties", "--set", "density=0.4", "--weight", "0.5", "--weight", "2"]
    monkeypatch.setattr(sys, "argv", ["priorhub", "merge", *names[1:], *options, "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as left:
        main()
    assert not left.value.code, capsys.readouterr().err

    attrs = {"method": "ties", "weights": [0.5, 2], "parameters": {"density": 0.4}}
    found = dict(evaluate(node_outputs("merge", attrs, [Checkpoint(n) for n in names])))

    wanted = written(tmp_path / "out")
    assert found.keys() == wanted.keys()
    assert all(found[n].equal(wanted[n]) for n in wanted)


def test_nodes_nest_without_a_file_between_and_splice_renames(tmp_path, base):
    other = checkpoint(tmp_path / "other", random_tensors(1))
    one, two = Checkpoint(base), Checkpoint(other)
    mean = Derived("mean", node_outputs("merge", {"method": "linear", "weights": [1, 1]}, [one, two]))

    attrs = {"layers": [[0, 0, 1], [1, 2, 3]], "rename": {"model.layers.": "h."}}
    found = dict(evaluate(node_outputs("splice", attrs, [mean, two])))

    a, b = written(base), written(other)
    assert sorted(found) == [
        *(f"h.{i}.{rest}.weight" for i in (0, 1) for rest in ("mlp", "norm")),
        *("model.embed_tokens.weight", "model.norm.weight"),
    ]
    torch.testing.assert_close(
        found["h.0.mlp.weight"], (a["model.layers.0.mlp.weight"] + b["model.layers.0.mlp.weight"]) / 2
    )
    assert found["h.1.mlp.weight"].equal(b["model.layers.2.mlp.weight"])
    for op, wrong, cause in (
        ("merge", {"method": "greedy_soup"}, "held-out scores"),
        ("merge", {"method": "linear", "weights": [1]}, "1 weights for 2"),
        ("splice", {"layers": [[5, 0, 1]]}, "input 5"),
        ("splice", {"layers": [[0, 0, 9]]}, "has 3"),
        ("net", {}, "not evaluated"),
    ):
        with pytest.raises(BadGraph, match=cause):
            node_outputs(op, wrong, [mean, two])


def test_a_merged_prior_is_a_prior_with_its_parents(tmp_path):
    from priors.load import load
    from tests.composer._tiny import tiny_library

    for name in ("one", "two"):
        tiny_library(tmp_path / name)
    folders = [str(tmp_path / name / "tiny" / "words") for name in ("one", "two")]

    merge(MergeSpec.of("linear", folders, weights=[1, 3]), tmp_path / "soup")

    prior = load(tmp_path / "soup")
    assert prior.manifest.name == "soup" and prior.manifest.license.spdx == "MIT"
    [parent] = set(prior.manifest.parents)
    assert parent == f"prior://words@{load(folders[0]).manifest.identity()}"
    assert prior.features(["the cat"], ["layer_3"])["layer_3"].shape == (1, 16)
    closed = tmp_path / "two" / "tiny" / "words" / "prior.json"
    closed.write_text(closed.read_text().replace('"MIT"', '"CC-BY-ND-4.0"'))
    merge(MergeSpec.of("linear", folders, weights=[1, 3]), tmp_path / "mine")
    assert "**Not to be published.** CC-BY-ND-4.0 does not permit" in (tmp_path / "mine" / "README.md").read_text()
