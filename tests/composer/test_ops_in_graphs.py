"""Every operation through check, lock and lowering: constants, words, ids, masks, outputs of nodes, routes, shapes."""

import hashlib
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from composer.check import check
from composer.errors import BadGraph, ShapeMismatch, UnitMismatch, VocabularyMismatch
from composer.export import export
from composer.graph import Graph
from composer.lock import Lock
from composer.lower import Lowered, lower
from priors.errors import BadWeights
from priors.library import LocalLibrary, resolver
from priors.load import load
from priors.types import parse
from priors.weights import load_weights, save_weights
from tests.composer._tiny import fill, tiny_library

TEXT = {"op": "input", "type": "text.raw[B]:str"}
ROWS = {"op": "input", "type": "vec.feat[B,D:6]:f32"}
HEAD = {"op": "head", "labels": ["no", "yes", "maybe"]}
WORDS = {"op": "load", "prior": "prior://tiny/words"}
TOKENS = {"text": TEXT, "w": WORDS, "t": {"op": "net", "in": {"w": "w", "ids": "text"}, "tap": "layer_3"}}
TEXTS = ["the cat sat", "", "a very very big dog ran under the red mat and not on the very big mat", "dog"]
TABLE = np.arange(24.0, dtype=np.float32).reshape(4, 6) / 7


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> LocalLibrary:
    return tiny_library(tmp_path_factory.mktemp("library"))


def built(
    nodes: dict[str, Any], library: LocalLibrary, outputs: dict[str, str] | None = None, *, folder: Any = None
) -> Lowered:
    document = {"composition": 1, "adapt": "lossy", "nodes": nodes, "outputs": outputs or {"y": "y"}}
    checked = check(Graph.from_dict(document), resolver(library))
    model = lower(Lock.from_json(Lock.of(checked).to_json()), library, folder=folder)
    if model.learned:
        fill(model)
    return model


def run(model: Lowered, **columns: Any) -> tuple[torch.Tensor, ...]:
    found: tuple[torch.Tensor, ...] = model.module(*model.encode(columns))
    return found


def tokens_by_hand(library: LocalLibrary) -> list[torch.Tensor]:
    """The last layer of each text alone, without padding."""
    prior = load(library.root / "tiny" / "words")
    network, encoder = prior.module(("layer_3",)), prior.encoder()
    found = []
    for text in TEXTS:
        ids, mask = encoder.encode([text])
        found.append(network(ids, mask)[0][0, : int(mask.sum())])
    return found


def test_a_constant_is_what_every_row_has(library):
    nodes = {
        "x": ROWS,
        "shift": {"op": "const", "type": "vec.feat[B,D:6]:f32", "value": [1, 2, 3, 4, 5, 6]},
        "more": {"op": "const", "type": "vec.feat[B,D:2]:f32", "value": 0.5},
        "moved": {"op": "sum", "in": ["x", "shift"]},
        "y": {"op": "concat", "in": ["more", "moved"]},
    }

    [found] = run(built(nodes, library), x=TABLE)

    expected = torch.cat([torch.full((4, 2), 0.5), torch.from_numpy(TABLE) + torch.arange(1.0, 7.0)], 1)
    torch.testing.assert_close(found, expected)


def test_a_constant_may_lead_a_gate_and_feed_what_it_reads_through_other_nodes(library):
    nodes = {
        "x": ROWS,
        "c": {"op": "const", "type": "vec.feat[B,D:6]:f32", "value": [1, 2, 3, 4, 5, 6]},
        "unit": {"op": "cast", "in": ["c"], "domain": "l2"},
        "y": {"op": "gate", "in": ["unit", "x"], "kind": "sigmoid"},
    }
    model = built({**nodes, "y": {"op": "gate", "in": ["unit", "unit", "x"]}}, library)

    assert run(model, x=TABLE)[0].shape == (4, 6)
    direction = torch.nn.functional.normalize(torch.arange(1.0, 7.0), dim=0)
    fresh = lower(model.lock, library)
    torch.testing.assert_close(run(fresh, x=TABLE)[0], direction.expand(4, 6), rtol=2e-3, atol=2e-3)


def test_a_constant_comes_from_a_file_of_the_composition_that_is_the_one_it_names(library, tmp_path):
    save_file({"prompt": torch.arange(12.0).view(2, 6)}, tmp_path / "prompts.safetensors")
    digest = hashlib.sha256((tmp_path / "prompts.safetensors").read_bytes()).hexdigest()
    const = {"op": "const", "type": "text.tokens[B,T:2,D:6]:f32", "file": "prompts.safetensors", "tensor": "prompt"}
    nodes = {"x": ROWS, "c": {**const, "sha256": digest}, "q": {"op": "expand", "in": ["x"], "axis": "T", "n": 2}}
    nodes["y"] = {"op": "concat", "axis": "T", "in": ["c", "q"]}

    [found] = run(built(nodes, library, folder=tmp_path), x=TABLE)

    torch.testing.assert_close(found[3, :2], torch.arange(12.0).view(2, 6))
    torch.testing.assert_close(found[:, 2], torch.from_numpy(TABLE))
    with pytest.raises(BadGraph, match="no folder"):
        built(nodes, library)
    with pytest.raises(BadWeights, match="sha256"):
        built({**nodes, "c": {**const, "sha256": "0" * 64}}, library, folder=tmp_path)


@pytest.mark.parametrize(
    ("attrs", "kind", "says"),
    [
        ({"type": "vec.feat[B,D:3]:f32", "value": [1, 2]}, ShapeMismatch, "a list of 2"),
        ({"type": "vec.feat[B,D:3]:f32", "value": [1, "a", 2]}, ShapeMismatch, "a stands where"),
        ({"type": "text.tokens[B,T,D:2]:f32", "value": [[1, 2], [3]]}, ShapeMismatch, "a list of 1"),
        ({"type": "vec.feat[D:3]:f32", "value": 1}, BadGraph, "begin with the batch"),
        ({"type": "text.raw[B]:str", "value": 1}, BadGraph, "begin with the batch"),
        ({"type": "vec.feat[B,D:3]:f32", "file": "x.safetensors", "tensor": "t"}, BadGraph, "sha256"),
        (
            {"type": "vec.feat[B,D:3]:f32", "file": "../x.safetensors", "tensor": "t", "sha256": "0" * 64},
            BadGraph,
            "file",
        ),
        ({"type": "vec.feat[B,D]:f32", "file": "x.safetensors", "tensor": "t", "sha256": "0" * 64}, BadGraph, "open"),
        ({"type": "vec.feat[B,D:3]:f32"}, BadGraph, "give 'value'"),
    ],
)
def test_a_constant_that_is_none_is_named(attrs, kind, says, library):
    with pytest.raises(kind) as caught:
        built({"x": ROWS, "c": {"op": "const", **attrs}, "y": {"op": "concat", "in": ["x", "c"]}}, library)

    assert says in str(caught.value)


def test_what_reads_no_input_is_no_output(library):
    with pytest.raises(BadGraph, match="reads no input"):
        built({"y": {"op": "const", "type": "vec.feat[B,D:1]:f32", "value": 1}}, library)


def test_words_come_from_the_head_and_the_score_from_the_module(library, tmp_path):
    nodes = {"x": ROWS, "h": {**HEAD, "in": ["x"]}, "p": {"op": "cast", "in": ["h"], "domain": "probs"}}
    nodes["d"] = {"op": "decode", "in": ["p"]}
    model = built(nodes, library, {"y": "h", "word": "d", "sure": "d.score"})

    logits, probs, score = outputs = run(model, x=TABLE)
    words = model.words(outputs)

    assert words["word"] == [["no", "yes", "maybe"][i] for i in logits.argmax(1).tolist()]
    torch.testing.assert_close(probs, logits.softmax(1))
    torch.testing.assert_close(score, logits.softmax(1).amax(1))
    assert model.lock.node("d").attrs["labels"] == ["no", "yes", "maybe"]
    assert export(model, tmp_path / "words.pt2").max_abs_diff < 1e-5


def test_nothing_reads_words(library):
    nodes = {"x": ROWS, "h": {**HEAD, "in": ["x"]}, "d": {"op": "decode", "in": ["h"]}}
    nodes["y"] = {"op": "fn", "fn": "char_ngrams", "in": ["d"], "dim": 64}

    with pytest.raises(BadGraph, match="ends a composition"):
        built(nodes, library)


def test_ids_are_decoded_by_the_tokenizer_that_made_them(library):
    ids = {"op": "encode", "in": ["text"], "to": "text.ids[B,T]:i64{mask=ids_mask,vocab=words}", "prior": "tiny/words"}
    model = built({"text": TEXT, "ids": ids, "y": {"op": "decode", "in": ["ids"]}}, library)

    assert model.words(run(model, text=["the cat sat", "dog"]))["y"][0].split()[:3] == ["the", "cat", "sat"]


def test_a_bridge_reads_ids_again_in_the_other_vocabulary(tmp_path):
    from tests.composer import _tiny

    library = tiny_library(tmp_path)
    words, config = list(reversed(_tiny.WORDS[2:])), {**_tiny.BERT, "vocab": "backwards"}
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", *words])}
    tokenizer = _tiny.Tokenizer(_tiny.models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = _tiny.pre_tokenizers.Whitespace()
    _tiny.write_prior(
        tmp_path / "tiny" / "other", "bert", config, taps=("layer_3",), host=_tiny.TOKENIZER, tokenizer=tokenizer
    )
    ids = {"op": "encode", "in": ["text"], "to": "text.ids[B,T]:i64{mask=ids_mask,vocab=words}", "prior": "tiny/words"}
    other = {"op": "load", "prior": "prior://tiny/other"}
    nodes = {"text": TEXT, "ids": ids, "w": other, "y": {"op": "net", "in": {"w": "w", "ids": "ids"}}}

    model = built(nodes, library)

    assert [node.op for node in model.lock.nodes if node.auto] == ["bridge"]
    straight = built({"text": TEXT, "w": other, "y": {"op": "net", "in": {"w": "w", "ids": "text"}}}, library)
    texts = ["the cat sat on the mat", "a dog"]
    torch.testing.assert_close(run(model, text=texts)[0], run(straight, text=texts)[0])
    given = {"op": "input", "type": "text.ids[B,T]:i64{vocab=words}"}
    with pytest.raises(VocabularyMismatch, match="Whose ids"):
        built({"ids": given, "w": other, "y": {"op": "net", "in": {"w": "w", "ids": "ids"}}}, library)


def test_two_outputs_of_one_network_are_one_pass_and_hash_as_two_nodes(library):
    short = {**TOKENS, "y": {"op": "concat", "in": ["t.layer_1", "t.layer_2"]}}
    tap = {"op": "net", "in": {"w": "w", "ids": "text"}}
    long = {
        "text": TEXT, "w": WORDS, "one": {**tap, "tap": "layer_1"}, "two": {**tap, "tap": "layer_2"},
        "y": {"op": "concat", "in": ["one", "two"]},
    }  # fmt: skip

    one, two = built(short, library), built(long, library)

    assert one.lock.structure == two.lock.structure
    assert "t" not in [node.name for node in one.lock.nodes]
    assert sum(len(step.gives) == 2 for step in one.module.steps) == 1
    torch.testing.assert_close(run(one, text=TEXTS)[0], run(two, text=TEXTS)[0])


@pytest.mark.parametrize(
    ("source", "says"),
    [("t.layer_9", "no tap 'layer_9'"), ("text.out", "has one output"), ("d.word", "label and score")],
)
def test_an_output_that_a_node_does_not_have_is_named(source, says, library):
    nodes = {**TOKENS, "h": {**HEAD, "in": ["t"]}, "d": {"op": "decode", "in": ["h"]}}

    with pytest.raises(Exception, match=says):
        built({**nodes, "y": {"op": "concat", "in": [source, "h"]}}, library, {"y": "y", "word": "d"})


def test_the_type_of_a_masked_value_says_so_until_the_masked_axis_is_gone(library):
    nodes = {**TOKENS, "crop": {"op": "resample", "in": ["t"], "axis": "T", "n": 4}}
    nodes["long"] = {"op": "resample", "in": ["t"], "axis": "T", "n": 4, "mode": "interpolate"}
    nodes["y"] = {"op": "pool", "in": ["crop"], "axis": "T"}

    lock = built(nodes, library, {"y": "y", "l": "long", "t": "t"}).lock

    assert parse(str(lock.node("t").type)).attr("mask") == "ids_mask"
    assert lock.node("crop").type.attr("mask") == "ids_mask"
    assert lock.node("long").type.attr("mask") is None
    assert lock.node("y").type.attr("mask") is None


@pytest.mark.parametrize("kind", ["mean", "max", "first", "last", "attn"])
def test_pooling_sees_what_the_mask_shows(kind, library):
    model = built({**TOKENS, "y": {"op": "pool", "in": ["t"], "axis": "T", "kind": kind}}, library)

    [found] = run(model, text=TEXTS)

    for row, tokens in zip(found, tokens_by_hand(library), strict=True):
        if kind == "attn":
            expected = (tokens @ model.learned["y"].query).softmax(0) @ tokens
        elif len(tokens) == 0:
            continue
        else:
            expected = {
                "mean": lambda x: x.mean(0),
                "max": lambda x: x.amax(0),
                "first": lambda x: x[0],
                "last": lambda x: x[-1],
            }[kind](tokens)
        torch.testing.assert_close(row, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mode", ["pad-crop", "interpolate", "stride", "perceiver"])
def test_resampled_tokens_are_pooled_with_the_mask_they_have_left(mode, library):
    nodes = {**TOKENS, "r": {"op": "resample", "in": ["t"], "axis": "T", "n": 5, "mode": mode}}
    model = built({**nodes, "y": {"op": "pool", "in": ["r"], "axis": "T"}}, library)

    [found] = run(model, text=TEXTS)

    for row, tokens in zip(found, tokens_by_hand(library), strict=True):
        n = len(tokens)
        if n == 0:
            torch.testing.assert_close(row, torch.zeros(16))
            continue
        if mode == "pad-crop":
            expected = tokens[:5].mean(0)
        elif mode == "stride":
            expected = tokens[[i * n // 5 for i in range(5)]].mean(0)
        elif mode == "interpolate":
            expected = torch.nn.functional.interpolate(tokens.T[None], 5, mode="linear", align_corners=True)[0].mean(1)
        else:
            weights = (model.learned["r"].query @ tokens.T / 4).softmax(-1)
            expected = (weights @ tokens).mean(0)
        torch.testing.assert_close(row, expected, rtol=1e-4, atol=1e-5)


def test_attention_reads_with_the_mask_of_what_it_reads_and_keeps_that_of_the_query(library):
    nodes = {**TOKENS, "other": TEXT, "u": {"op": "net", "in": {"w": "w", "ids": "other"}, "tap": "layer_1"}}
    nodes["x"] = {"op": "attend", "in": {"kv": "u", "q": "t"}, "heads": 2, "layers": 2}
    nodes["y"] = {"op": "pool", "in": ["x"], "axis": "T"}
    model = built(nodes, library)
    others = ["dog", "the big cat sat on the mat", "", "a mat"]

    [together] = run(model, text=TEXTS, other=others)
    alone = torch.cat([run(model, text=[a], other=[b])[0] for a, b in zip(TEXTS, others, strict=True)])

    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_tokens_side_by_side_in_time_keep_their_masks(library):
    low = {"op": "cast", "in": ["t.layer_1"], "clip": [-1, 1]}  # a value without a space of its own
    twice = {"op": "concat", "axis": "T", "in": ["low", "low"]}
    model = built({**TOKENS, "low": low, "b": twice, "y": pool("b", "max")}, library)

    [found] = run(model, text=TEXTS)

    [alone] = run(built({**TOKENS, "low": low, "y": pool("low", "max")}, library), text=TEXTS)
    torch.testing.assert_close(found, alone)
    assert (found[1] == 0).all()


def test_a_value_without_a_mask_joins_one_with_a_mask(library):
    nodes = {**TOKENS, "x": {"op": "input", "type": "text.tokens[B,T:2,D:16]:f32"}}
    nodes["both"] = {"op": "concat", "axis": "T", "in": ["x", "t"]}
    nodes["y"] = {"op": "pool", "in": ["both"], "axis": "T"}
    rows = np.random.default_rng(0).normal(size=(4, 2, 16)).astype(np.float32)
    model = built(nodes, library)

    [found] = run(model, x=rows, text=TEXTS)

    [proj] = [model.learned[node.name] for node in model.lock.nodes if node.op == "proj"]
    for row, given, tokens in zip(found, torch.from_numpy(rows), tokens_by_hand(library), strict=True):
        expected = torch.cat([given, proj(tokens[None])[0] if len(tokens) else tokens]).mean(0)
        torch.testing.assert_close(row, expected, rtol=1e-4, atol=1e-5)


def test_tokens_of_two_texts_are_not_mixed_place_by_place(library):
    nodes = {**TOKENS, "other": TEXT, "u": {"op": "net", "in": {"w": "w", "ids": "other"}, "tap": "layer_1"}}
    nodes["y"] = {"op": "sum", "in": ["t", "u"]}

    with pytest.raises(ShapeMismatch, match="axis T as long as that of 't'"):
        built(nodes, library)

    built({**TOKENS, "y": {"op": "sum", "in": ["t", "t.layer_1"]}}, library)  # one text: the same tokens


def test_a_sum_takes_one_unit_and_one_space(library):
    phys = {"op": "const", "type": "vec.feat[B,D:6]:f32{unit=rad}", "value": 1}
    with pytest.raises(UnitMismatch, match="never guessed"):
        built({"x": ROWS, "p": phys, "y": {"op": "sum", "in": ["x", "p"]}}, library)

    rows = {"op": "input", "type": "vec.feat[B,D:16]:f32"}
    model = built(
        {**TOKENS, "x": rows, "m": {"op": "pool", "in": ["t"], "axis": "T"}, "y": {"op": "sum", "in": ["m", "x"]}},
        library,
    )
    assert [node.name for node in model.lock.nodes if node.op == "proj"] == ["x~proj~y"]


@pytest.mark.parametrize("by", ["gate", "tag"])
def test_routes_run_and_export(by, library, tmp_path):
    nodes = {"x": ROWS, "n": {"op": "fn", "fn": "fourier_features", "in": ["x"], "m": 3, "seed": 1}}
    nodes["tag"] = {"op": "input", "type": "scalar.value[B]:i64"}
    if by == "gate":
        nodes.pop("tag")
    nodes["y"] = {"op": "route", "by": by, "in": ["x", "n", *(["tag"] if by == "tag" else [])]}
    model = built(nodes, library)

    if by == "tag":
        [found] = run(model, x=TABLE, tag=[1, 0, 0, 5])
        torch.testing.assert_close(found[1:3], torch.from_numpy(TABLE[1:3]))
        assert torch.equal(found[3], torch.zeros(6))
    else:
        assert run(model, x=TABLE)[0].shape == (4, 6)
    assert export(model, tmp_path / "route.pt2").max_abs_diff < 1e-5


def pool(source: str, kind: str = "mean") -> dict[str, Any]:
    return {"op": "pool", "in": [source], "axis": "T", "kind": kind}


MEAN = {"m": pool("t")}
BOTH = ["t", "t.layer_1"]
EXPORTED: dict[str, dict[str, Any]] = {
    "const": {
        **MEAN,
        "c": {"op": "const", "type": "vec.feat[B,D:16]:f32", "value": 2},
        "y": {"op": "concat", "in": ["c", "m"]},
    },
    "attend": {"x": {"op": "attend", "in": {"q": "t", "kv": "t.layer_1"}, "heads": 4}, "y": pool("x")},
    "attn": {"y": pool("t", "attn")},
    "last": {"y": pool("t", "last")},
    "concat": {"b": {"op": "concat", "in": BOTH, "axis": "T"}, "y": pool("b")},
    "gate": {"g": {"op": "gate", "in": BOTH, "type": "text.tokens[B,T,D:16]:f32"}, "y": pool("g")},
    "prefix": {**MEAN, "p": {"op": "expand", "in": ["m"], "axis": "T", "n": 3, "kind": "prefix"}, "y": pool("p")},
    "layout": {**MEAN, "y": {"op": "layout", "in": ["m"], "expr": "B,D=E:4*C -> B,E,C"}},
    "sum": {"s": {"op": "sum", "in": BOTH, "weights": "learned"}, "y": pool("s")},
    **{
        mode.replace("-", "_"): {
            "r": {"op": "resample", "in": ["t"], "axis": "T", "n": 5, "mode": mode},
            "y": pool("r"),
        }
        for mode in ("pad-crop", "interpolate", "stride", "perceiver")
    },
    **{
        kind: {**MEAN, "y": {"op": "proj", "in": ["m"], "d_out": 5, "kind": kind, "rank": 3}}
        for kind in ("linear", "mlp", "lowrank", "orthogonal", "relative")
    },
}


def beside_each_other(graphs: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """One graph of them all, which share TOKENS; each node has its graph's name before its own."""
    together: dict[str, Any] = dict(TOKENS)
    for name, nodes in graphs.items():

        def renamed(source, name=name, nodes=nodes):
            if isinstance(source, list | dict):
                pairs = source.items() if isinstance(source, dict) else enumerate(source)
                found = {key: renamed(value) for key, value in pairs}
                return found if isinstance(source, dict) else list(found.values())
            return f"{name}_{source}" if source in nodes else source

        for node, content in nodes.items():
            together[f"{name}_{node}"] = {**content, **({"in": renamed(content["in"])} if "in" in content else {})}
    return together


def test_they_export_and_keep_what_they_learned(library, tmp_path):
    outputs = {name: f"{name}_y" for name in EXPORTED}
    model = built(beside_each_other(EXPORTED), library, outputs)

    assert export(model, tmp_path / "ops.pt2").max_abs_diff < 1e-4
    save_weights(model.learned_state(), tmp_path / "model.safetensors")
    other = lower(model.lock, library)
    other.load_learned(load_weights(tmp_path / "model.safetensors"))
    for name, found, expected in zip(outputs, run(other, text=TEXTS), run(model, text=TEXTS), strict=True):
        torch.testing.assert_close(found, expected, msg=lambda said, name=name: f"{name}: {said}")
