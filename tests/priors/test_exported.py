"""Archives of torch.export as priors: the same numbers, and nothing of a hostile one is run, unpickled or unpacked."""

import contextlib
import io
import json
import pickle
import random
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim, export, save

from priors.architectures.recurrence import LstmLayer
from priors.errors import BadManifest, BadWeights
from priors.load import load
from priors.registry import find_architecture
from priors.sources.exported import main, read_archive, write_prior
from tests.composer._tiny import word_tokenizer
from tests.priors._families import TINY

COLUMNS = [{"name": name, "kind": "num", "mean": 0.0} for name in "abc"]
ABOUT: dict[str, Any] = {
    "name": "graph", "summary": "A graph.", "license": {"spdx": "MIT"}, "default_tap": "hidden",
    "host": {"encoder": "table", "columns": COLUMNS}, "inputs": {"x": "tab.num[B,C:3]:f32"},
    "taps": {"hidden": "vec.feat[B,D:4]:f32", "parts": "vec.feat[B,D:2]:f32"},
}  # fmt: skip
READS = {
    "inputs": {"ids": "text.ids[B,T]:i64{mask=ids_mask,vocab=tiny}"},
    "taps": {"tokens": "text.tokens[B,T,D:8]:f32", "mean": "vec.feat[B,D:8]:f32"},
}


class Table(nn.Module):
    """Parameters, a buffer that is saved, one that is not, a constant, a result in parts, and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Linear(3, 4), nn.BatchNorm1d(4)
        self.register_buffer("shift", torch.arange(4.0))
        self.register_buffer("scale", torch.full((4,), 0.5), persistent=False)
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.drop(self.norm(self.first(x))) + self.shift * self.scale * torch.tensor(2.0)
        low, high = nn.functional.gelu(hidden, approximate="tanh").chunk(2, 1)
        return hidden, torch.where(low > 0, low, high)


class Reader(nn.Module):
    """Lengths of the input take part: positions, a causal mask, a mean over what the mask shows."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.layer = nn.Embedding(20, 8), nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        at = torch.arange(ids.shape[1])
        causal = (at[:, None] >= at).view(1, 1, ids.shape[1], ids.shape[1]) & mask[:, None, None, :]
        x = self.words(ids) + (at / (ids.shape[1] + 1)).unsqueeze(1)
        q = self.layer.linear1(x).view(ids.shape[0], ids.shape[1], 2, 8).transpose(1, 2)
        x = nn.functional.scaled_dot_product_attention(q, q, q, attn_mask=causal).transpose(1, 2).flatten(2)
        x = self.layer.norm1(self.layer.linear2(x))
        return x, (x * mask.unsqueeze(2)).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)


GIVEN = torch.ones(3, 5, dtype=torch.long), torch.ones(3, 5) > 0
FREE = ({0: Dim("B", min=1, max=64), 1: Dim("T", min=2, max=64)},) * 2


def saved_reader(path: Path) -> Reader:
    """A reader, and at `path` the archive of it."""
    torch.manual_seed(0)
    module = Reader().eval()
    save(export(module, GIVEN, dynamic_shapes=FREE), path)
    return module


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> tuple[Table, Path]:
    torch.manual_seed(0)
    module, path = Table().eval(), tmp_path_factory.mktemp("archive") / "model.pt2"
    program = export(module, (torch.randn(2, 3),), dynamic_shapes=({0: Dim("B")},))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of torch 2.13 about itself
        save(program.run_decompositions({}), path)
    return module, path


def test_an_archive_becomes_a_prior_that_gives_the_same(table: tuple[Table, Path], tmp_path: Path) -> None:
    module, path = table
    (tmp_path / "about.json").write_text(json.dumps(ABOUT))
    assert main([str(path), str(tmp_path / "about.json"), str(tmp_path / "prior")]) == 0
    rows = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    prior = load(tmp_path / "prior")
    assert {one.name for one in (tmp_path / "prior").iterdir()} == {"prior.json", "model.safetensors"}
    found = prior.features(rows.tolist(), ["hidden", "parts"])
    for tap, expected in zip(found, module(torch.from_numpy(rows)), strict=True):
        np.testing.assert_allclose(found[tap], expected.detach(), rtol=0, atol=1e-6)
    steps = [len(prior.module([tap])._steps) for tap in found]  # type: ignore[arg-type]
    assert steps[0] < steps[1]
    trained = {name for name, weight in prior.manifest.definition.config["weights"].items() if "fixed" not in weight}
    assert trained == {"p_first_weight", "p_first_bias", "p_norm_weight", "p_norm_bias"}


def test_lengths_that_are_free_stay_free_and_the_graph_can_be_exported_again(tmp_path: Path) -> None:
    module = saved_reader(tmp_path / "model.pt2")
    config, tensors = read_archive(tmp_path / "model.pt2", READS)
    family = find_architecture("exported")(config)
    ours = family.build(("tokens", "mean")).eval()
    ours.load_state_dict(family.key_map(tensors))
    ids, mask = torch.randint(0, 20, (4, 9)), torch.rand(4, 9) > 0.3
    again = export(ours, GIVEN, dynamic_shapes=FREE).module()
    for one in (ours, again):
        for a, b in zip(one(ids, mask), module(ids, mask), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-6)


def test_the_tokenizer_beside_an_archive_of_text_comes_along(tmp_path: Path) -> None:
    module = saved_reader(tmp_path / "model.pt2")
    (tmp_path / "tokenizer.json").write_text(word_tokenizer(["the", "box", "was", "empty"]).to_str())
    host = {"encoder": "tokenizer", "file": "tokenizer.json", "max_tokens": 8}
    write_prior(tmp_path / "model.pt2", {**ABOUT, **READS, "default_tap": "mean", "host": host}, tmp_path / "prior")
    prior = load(tmp_path / "prior")
    ids, mask = prior.encoder().encode(["the box", "the box was empty"])
    found = prior.features(["the box", "the box was empty"], ["mean"])["mean"]
    np.testing.assert_allclose(found, module(ids, mask)[1].detach(), atol=1e-6)


def test_a_recurrence_stays_one_step_for_rows_of_any_length(tmp_path: Path) -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.states, self.last = LstmLayer(4, 3), nn.Linear(3, 2)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            states = self.states(x)
            return states, self.last(states.mean(1))

    torch.manual_seed(0)
    module, shapes = Recurrent().eval(), ({0: Dim("B"), 1: Dim("T")},)
    with torch.no_grad():
        save(export(module, (torch.randn(2, 5, 4),), dynamic_shapes=shapes), tmp_path / "model.pt2")
    taps = {"states": "audio.frames[B,T,D:3]:f32", "last": "vec.feat[B,D:2]:f32"}
    host = {"encoder": "mel", "rate": 16000, "n_fft": 400, "hop": 160, "n_mels": 4}
    about = {**ABOUT, "inputs": {"x": "audio.mel[B,T,F:4]:f32{sr=16000}"}, "taps": taps, "default_tap": "last"}
    config, tensors = read_archive(tmp_path / "model.pt2", about)
    assert [node["op"] for node in config["nodes"]].count("scan.step") == 1
    write_prior(tmp_path / "model.pt2", {**about, "host": host}, tmp_path / "prior")

    family = find_architecture("exported")(config)
    ours = family.build(("states", "last")).eval()
    ours.load_state_dict(family.key_map(tensors))
    again = export(ours, (torch.randn(2, 5, 4),), dynamic_shapes=shapes).module()
    x = torch.randn(3, 7, 4)
    for one in (ours, again):
        for a, b in zip(one(x), module(x), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-6)
    ours(x)[1].sum().backward()
    assert all(weight.grad is not None for weight in ours.parameters())


SUMMED: dict[str, Any] = {
    "op": "scan.step", "args": [["%start"], ["%x"], []], "out": ["all", "z"], "many": True,
    "step": {"takes": ["sum", "row"], "nodes": [
        {"op": "add.Tensor", "args": ["%sum", "%row"], "out": ["next"]},
        {"op": "clone.default", "args": ["%next"], "out": ["kept"]},
    ], "gives": ["next", "kept"]},
}  # fmt: skip
START = {"op": "zeros.default", "args": [[3]], "out": ["start"]}


def scanned(step: dict[str, Any], start: dict[str, Any] = START, **change: Any) -> Any:
    config = {**TINY["exported"], "nodes": [start, {**SUMMED, **change, "step": {**SUMMED["step"], **step}}]}
    config["outputs"] = {"z": {"value": "z", "type": "vec.feat[B,D:3]:f32"}}
    return find_architecture("exported")(config).build(("z",))


def test_a_step_sums_up_what_it_is_given() -> None:
    x = torch.randn(4, 3)
    torch.testing.assert_close(scanned({})(x)[0], x.cumsum(0))


ADD = {"op": "add.Tensor", "args": ["%sum", "%row"], "out": ["next"]}


@pytest.mark.parametrize(
    ("make", "cause"),
    [
        (lambda: scanned({"nodes": [{"op": "relu.default", "args": ["%x"], "out": ["next"]}]}), "before anything"),
        (lambda: scanned({"nodes": [{**SUMMED, "out": ["next", "kept"]}]}), "not among|extra|Extra"),
        (lambda: scanned({"nodes": [{"op": "from_file.default", "args": ["'x'"], "out": ["next"]}]}), "not among"),
        (lambda: scanned({"gives": ["next", "later"]}), "nothing in it gives"),
        (lambda: scanned({"takes": ["sum", "sum"]}), "twice"),
        (lambda: scanned({"takes": ["sum", "row", "more"]}), "than its step takes"),
        (lambda: scanned({}, args=[["%start"], ["%x"], [1]]), "three lists of values"),
        (lambda: scanned({}, out=["z"]), "other values than its step"),
        (lambda: scanned({}, op="add.Tensor"), "nothing else has one"),
        (lambda: scanned({}, {**START, "args": [[1]]}), "carries"),
        (lambda: scanned({}, {**START, "args": [[1 << 20, 3]]}, args=[["%x"], ["%start"], []]), "repeated"),
        (lambda: scanned({"nodes": [ADD, {"op": "repeat.default", "args": ["%row", [1 << 28]], "out": ["kept"]}]}),
         "too large"),
    ],
)  # fmt: skip
def test_a_step_that_is_none_is_refused(make: Callable[[], Any], cause: str) -> None:
    with pytest.raises(BadManifest, match=cause):
        make()


class Evil:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return Path.touch, (Path("/nonexistent/evil"),)  # type: ignore[return-value]


def changed(path: Path, to: Path, change: Callable[[dict[str, bytes]], None], compression: int = 0) -> Path:
    with zipfile.ZipFile(path) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    change(held)
    with zipfile.ZipFile(to, "w", compression) as archive:
        for name, content in held.items():
            archive.writestr(name, content)
    return to


def in_json(name: str, change: Callable[[Any], None]) -> Callable[[dict[str, bytes]], None]:
    def apply(held: dict[str, bytes]) -> None:
        key = next(one for one in held if one.endswith(name))
        content = json.loads(held[key])
        change(content)
        held[key] = json.dumps(content).encode()

    return apply


def node(target: str) -> Callable[[dict[str, bytes]], None]:
    return in_json("model.json", lambda d: d["graph_module"]["graph"]["nodes"][0].update(target=target))


def weight(**change: Any) -> Callable[[dict[str, bytes]], None]:
    return in_json("weights_config.json", lambda d: d["config"]["first.weight"].update(change))


def meta(**change: Any) -> Callable[[dict[str, bytes]], None]:
    return in_json("weights_config.json", lambda d: d["config"]["first.weight"]["tensor_meta"].update(change))


HOSTILE: dict[str, tuple[Callable[[dict[str, bytes]], None], str]] = {
    "a file is read": (node("torch.ops.aten.from_file.default"), "from_file"),
    "memory that was never written": (node("torch.ops.aten.empty.memory_format"), "empty"),
    "an operator of somebody's": (node("torch.ops.evil.run.default"), "evil"),
    "a python function": (node("os.system"), "os.system"),
    "a graph inside the graph": (node("torch.ops.higher_order.cond"), "higher_order"),
    "a step that is no graph": (node("torch.ops.higher_order.scan"), "as torch.export writes"),
    "an overload that is none": (node("torch.ops.aten.relu.__class__"), "relu"),
    "an object as an argument": (
        in_json("model.json", lambda d: d["graph_module"]["graph"]["nodes"][0]["inputs"].append(
            {"name": "x", "arg": {"as_custom_obj": {"name": "o"}}, "kind": 1})), "as_custom_obj",
    ),
    "weights as pickle": (weight(use_pickle=True), "pickle"),
    "weights elsewhere": (weight(path_name="../../../etc/passwd"), "described"),
    "weights beyond their bytes": (meta(sizes=[{"as_int": 4}, {"as_int": 300}]), "does not lie"),
    "strides beyond their bytes": (meta(strides=[{"as_int": 1 << 40}, {"as_int": 1}]), "does not lie"),
    "a stride that overlaps to terabytes": (
        meta(sizes=[{"as_int": 1 << 40}, {"as_int": 3}], strides=[{"as_int": 0}, {"as_int": 1}]), "does not lie",
    ),
    "a length that is an expression": (meta(sizes=[{"as_expr": {"expr_str": "exit()"}}, {"as_int": 3}]), "described"),
    "compiled code": (lambda held: held.update({"model/data/aotinductor/model.so": b"\x7fELF"}), "compiled"),
    "an object": (lambda held: held.update({"model/data/constants/custom_obj_0": pickle.dumps(1)}), "object"),
    "a path that climbs": (lambda held: held.update({"model/../../evil": b""}), "called"),
    "two models": (lambda held: held.update({"model/models/other.json": b"{}"}), "2 models"),
    "no graph": (in_json("model.json", lambda d: d.update(graph_module=[])), "as torch.export writes"),
    "deep JSON": (lambda held: held.update({next(n for n in held if n.endswith("model.json")): b"[" * 10**6}), "JSON"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_archive_is_refused(name: str, table: tuple[Table, Path], tmp_path: Path) -> None:
    change, cause = HOSTILE[name]
    path = changed(table[1], tmp_path / "evil.pt2", change)
    with pytest.raises((BadWeights, BadManifest), match=cause):
        write_prior(path, ABOUT, tmp_path / "prior")
    assert not (tmp_path / "prior").exists()


def test_whatever_stands_in_the_graph_s_place_is_refused_in_a_sentence(
    table: tuple[Table, Path], tmp_path: Path
) -> None:
    """40 times one entry of the JSON is something else."""
    rng = random.Random(0)
    junk = [None, -1, 1 << 70, "", "%x", [], {}, [[]], {"as_int": -1}, {"as_tensor": None}, 0.5, True]

    def spoil(content: Any) -> None:
        at = content["graph_module"]
        while True:
            key = rng.choice(list(at)) if isinstance(at, dict) else rng.randrange(len(at))
            if not isinstance(at[key], dict | list) or not at[key] or rng.random() < 0.1:
                at[key] = rng.choice(junk)
                return
            at = at[key]

    for _ in range(40):
        path = changed(table[1], tmp_path / "evil.pt2", in_json("model.json", spoil))
        with contextlib.suppress(BadWeights, BadManifest):
            config, _ = read_archive(path, ABOUT)
            find_architecture("exported")(config).build(tuple(ABOUT["taps"]))


def test_a_bomb_is_refused_and_samples_of_inputs_are_never_opened(table: tuple[Table, Path], tmp_path: Path) -> None:
    path = changed(table[1], tmp_path / "bomb.pt2", lambda held: None, zipfile.ZIP_DEFLATED)
    with pytest.raises(BadWeights, match="compressed"):
        read_archive(path, ABOUT)
    other = io.BytesIO()
    pickle.dump(Evil(), other)
    sample = "model/data/sample_inputs/model.pt"
    path = changed(table[1], tmp_path / "sample.pt2", lambda held: held.update({sample: other.getvalue()}))
    read_archive(path, ABOUT)
    for content in (b"", b"PK\x03\x04", table[1].read_bytes()[:-5], table[1].read_bytes() + b"more"):
        (tmp_path / "cut.pt2").write_bytes(content)
        with pytest.raises(BadWeights, match="not a zip file"):
            read_archive(tmp_path / "cut.pt2", ABOUT)


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"inputs": {"x": "tab.num[B,C:4]:f32"}}, "axis C is 4"),
        ({"inputs": {"x": "tab.num[B]:f32"}}, "2 axes"),
        ({"taps": {"hidden": "vec.feat[B,D:4]:f32"}}, "2 taps"),
        ({"taps": {**ABOUT["taps"], "hidden": "vec.feat[B,D:5]:f32"}}, "its graph gives"),
        ({"host": {"encoder": "tables"}}, "host encoder 'tables' is unknown"),
        ({"host": {"encoder": "tokenizer", "file": "tokenizer.json"}}, "no such file"),
        ({"license": {"spdx": "MIT", "file": "../LICENSE"}}, "no such file"),
    ],
)
def test_what_is_said_about_an_archive_must_be_so(
    change: dict[str, Any], cause: str, table: tuple[Table, Path], tmp_path: Path
) -> None:
    with pytest.raises(BadManifest, match=cause):
        write_prior(table[1], {**ABOUT, **change}, tmp_path / "prior")
    assert not (tmp_path / "prior").exists()


@pytest.mark.parametrize(
    ("node", "cause"),
    [
        ({"op": "from_file.default", "args": ["'/etc/passwd'"], "out": ["z"]}, "not among"),
        ({"op": "relu.default", "args": ["%later"], "out": ["z"]}, "before anything gives it"),
        ({"op": "relu.default", "args": ["%x"], "out": ["x"]}, "a second time"),
        ({"op": "relu.default", "args": ["x"], "out": ["z"]}, "no argument"),
        ({"op": "relu.default", "args": [{"v": "x"}], "out": ["z"]}, "a table"),
        ({"op": "relu.no", "args": ["%x"], "out": ["z"]}, "this torch has no relu.no"),
        ({"op": "relu.default", "args": ["%x", 1, 2], "out": ["z"]}, "does not run"),
        ({"op": "full.default", "args": [[1 << 20, 1 << 20], 1.0], "out": ["z"]}, "too large"),
        ({"op": "repeat.default", "args": ["%x", [1 << 30, 1]], "out": ["z"]}, "too large"),
    ],
)
def test_a_graph_in_a_manifest_is_held_to_the_same(node: dict[str, Any], cause: str) -> None:
    config = {**TINY["exported"], "nodes": [*TINY["exported"]["nodes"], node]}
    config["outputs"] = {**config["outputs"], "z": {"value": "z", "type": "vec.feat[B,D:3]:f32"}}
    if node["out"] != ["z"]:
        del config["outputs"]["z"]
    with pytest.raises(BadManifest, match=cause):
        find_architecture("exported")(config).build(("z",))
