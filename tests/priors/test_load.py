"""Loading a prior: every file is verified before anything is built, and what is wrong is said in one line."""

import hashlib
import io
import json
import pickle
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from priors.errors import BadManifest, BadWeights
from priors.load import Prior, load, pooled
from priors.registry import find_architecture
from priors.types import parse
from priors.weights import save_weights

CONFIG = {"columns": 3, "widths": [8, 4], "outputs": 2}


def describe(directory: Path) -> dict:
    return json.loads((directory / "prior.json").read_text())


def rewrite(directory: Path, **changes) -> None:
    (directory / "prior.json").write_text(json.dumps({**describe(directory), **changes}))


def promise(directory: Path, name: str = "model.safetensors") -> None:
    """Makes the manifest promise the file as it is now: a hostile publisher's manifest agrees with the hostile file."""
    data = (directory / name).read_bytes()
    rewrite(directory, files={name: {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}})


@pytest.fixture
def directory(tmp_path) -> Path:
    """A prior of a tiny MLP."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    family = find_architecture("mlp")(CONFIG)
    torch.manual_seed(0)
    save_weights(family.build(("output",)).state_dict(), folder / "model.safetensors")
    manifest = {
        "prior": 1,
        "name": "tiny",
        "version": "1.0.0",
        "summary": "A tiny network.",
        "kind": "network",
        "architecture": {"id": "mlp", "config": CONFIG},
        "inputs": family.inputs(),
        "taps": family.taps(),
        "default_tap": "penultimate",
        "license": {"spdx": "MIT"},
    }
    (folder / "prior.json").write_text(json.dumps(manifest))
    promise(folder)
    return folder


def refused(directory: Path, cause: str) -> None:
    with pytest.raises((BadWeights, BadManifest), match=cause) as caught:
        load(directory)
    assert "\n" not in str(caught.value)


class Bomb:
    """Unpickling this writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.write_text, (self.path, "executed"))


def test_a_sound_prior_loads_and_runs(directory):
    prior = load(directory)
    module = prior.module(("penultimate", "output"))
    hidden, out = module(torch.randn(5, 3))
    assert (hidden.shape, out.shape) == ((5, 4), (5, 2))
    assert not module.training
    assert not any(parameter.requires_grad for parameter in module.parameters())


def test_two_modules_of_one_prior_are_equal_and_leave_the_random_state_alone(directory):
    prior = load(directory)
    before = torch.get_rng_state()
    one, two = prior.module(("output",)), prior.module(("output",))
    assert torch.equal(before, torch.get_rng_state())
    x = torch.randn(4, 3)
    assert torch.equal(one(x)[0], two(x)[0])


def test_verifying_needs_no_torch(directory):
    script = f"import sys; from priors.load import load; load({str(directory)!r}); print('torch' in sys.modules)"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.strip() == "False"


def test_a_missing_file_is_named(directory):
    (directory / "model.safetensors").unlink()
    refused(directory, "model.safetensors is missing")


def test_a_folder_without_manifest_is_no_prior(tmp_path):
    refused(tmp_path, r"prior\.json")


@pytest.mark.parametrize("kept", [0, 1, 7, 8, 100, -1])
def test_a_truncated_file_is_refused(directory, kept):
    path = directory / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    refused(directory, "model.safetensors")


@pytest.mark.parametrize("kept", [100, -1])
def test_a_truncated_file_is_refused_even_if_the_manifest_promises_it(directory, kept):
    path = directory / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    promise(directory)
    refused(directory, "header|truncated")


def test_each_flipped_bit_is_noticed(directory):
    path = directory / "model.safetensors"
    sound = path.read_bytes()
    for at in np.random.default_rng(0).integers(0, len(sound), 64):
        broken = bytearray(sound)
        broken[at] ^= 1
        path.write_bytes(broken)
        refused(directory, "model.safetensors|header|tensor|file")


def test_a_pickle_under_the_name_of_a_weight_file_is_refused_and_never_read(directory, tmp_path):
    trace = tmp_path / "trace"
    for protocol in range(6):
        (directory / "model.safetensors").write_bytes(pickle.dumps(Bomb(trace), protocol))
        promise(directory)
        refused(directory, "pickle|not safetensors")
    assert not trace.exists()


def test_a_torch_checkpoint_under_the_name_of_a_weight_file_is_refused(directory):
    for zipped in (True, False):
        torch.save({"w": torch.ones(2)}, directory / "model.safetensors", _use_new_zipfile_serialization=zipped)
        promise(directory)
        refused(directory, "zip|pickle|not safetensors")


def test_an_archive_under_any_listed_name_is_refused(directory):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a", "b")
    (directory / "vocab.bin").write_bytes(buffer.getvalue())
    files = {**describe(directory)["files"]}
    data = buffer.getvalue()
    files["vocab.bin"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    rewrite(directory, files=files)
    refused(directory, "zip")


def test_a_hostile_header_is_refused_at_once(directory):
    entry = '"{i}":{{"dtype":"F32","shape":[1],"data_offsets":[{a},{b}]}}'
    header = "{" + ",".join(entry.format(i=f"../../t{i}", a=4 * i, b=4 * i + 4) for i in range(50_000)) + "}"
    raw = header.encode()
    (directory / "model.safetensors").write_bytes(len(raw).to_bytes(8, "little") + raw + bytes(4 * 50_000))
    promise(directory)
    start = time.perf_counter()
    refused(directory, "10,000 tensors|tensor name")
    assert time.perf_counter() - start < 1.5  # a guard against disasters; measured: a few milliseconds


def test_weights_that_changed_after_loading_are_noticed_when_they_are_read(directory):
    prior = load(directory)
    path = directory / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(BadWeights, match="changed"):
        prior.module(("output",))


def test_a_tensor_that_the_network_needs_and_the_file_lacks_is_named(directory):
    save_weights({"layers.0.weight": torch.ones(8, 3)}, directory / "model.safetensors")
    promise(directory)
    with pytest.raises(BadWeights, match=r"lack the tensor for 'layers\.0\.bias'"):
        load(directory).module(("penultimate",))


def test_a_tensor_of_another_shape_is_named(directory):
    state = load(directory).module(("output",)).state_dict()
    save_weights(state | {"layers.1.weight": torch.ones(4, 9)}, directory / "model.safetensors")
    promise(directory)
    with pytest.raises(BadWeights, match=r"'layers\.1\.weight' has shape \(4, 9\)"):
        load(directory).module(("output",))


def test_weights_in_half_precision_run_in_the_precision_of_the_network(directory):
    prior = load(directory)
    x = torch.randn(3, 3)
    before = prior.module(("output",))(x)[0]
    state = prior.module(("output",)).state_dict()
    save_weights({name: value.half() for name, value in state.items()}, directory / "model.safetensors")
    promise(directory)
    after = load(directory).module(("output",))(x)[0]
    assert after.dtype == torch.float32
    torch.testing.assert_close(after, before, rtol=0, atol=1e-2)


def test_ports_that_the_family_does_not_have_are_refused(directory):
    rewrite(directory, taps={**describe(directory)["taps"], "output": "vec.feat[B,D:7]:f32"})
    with pytest.raises(BadManifest, match="tap 'output' is declared"):
        load(directory).module(("output",))
    rewrite(directory, taps=find_architecture("mlp")(CONFIG).taps(), inputs={"y": "tab.num[B,C:3]:f32"})
    with pytest.raises(BadManifest, match="input 'y' is declared"):
        load(directory).module(("output",))


def test_a_network_is_not_a_function(directory):
    with pytest.raises(BadManifest, match="is a network"):
        load(directory).function()


def test_pooling_is_the_mean_over_real_positions():
    x = torch.randn(2, 3, 4)
    mask = torch.tensor([[True, True, False], [True, False, False]])
    found = pooled(x, parse("text.tokens[B,T,D:4]:f32"), {"T": mask})
    torch.testing.assert_close(found, torch.stack([x[0, :2].mean(0), x[1, 0]]))
    empty = pooled(x, parse("text.tokens[B,T,D:4]:f32"), {"T": torch.zeros(2, 3, dtype=torch.bool)})
    assert torch.equal(empty, torch.zeros(2, 4))


def test_pooling_a_map_leaves_its_features():
    x = torch.randn(2, 5, 3, 4)
    torch.testing.assert_close(pooled(x, parse("image.map[B,D:5,H:3,W:4]:f32"), {}), x.mean((2, 3)))


def test_pooling_leaves_rows_alone():
    x = torch.randn(2, 5)
    assert pooled(x, parse("vec.feat[B,D:5]:f32"), {}) is x


class Words:
    """A host encoder of words by their length, and a record of what it was given."""

    def __init__(self) -> None:
        self.seen: list[list[str]] = []

    def encode(self, values):
        self.seen.append(list(values))
        lengths = [len(value.split()) for value in values]
        ids = torch.zeros(len(values), max(lengths), dtype=torch.int64)
        for row, value in enumerate(values):
            ids[row, : lengths[row]] = torch.tensor([len(word) for word in value.split()])
        return ids, torch.arange(max(lengths)) < torch.tensor(lengths).unsqueeze(1)


class Lengths(torch.nn.Module):
    def __init__(self, taps):
        super().__init__()
        self.taps = taps

    def forward(self, ids, mask):
        x = ids.unsqueeze(-1).float()
        found = {"a": x, "b": torch.cat([x, x * 10], -1)}
        return tuple(found[tap] for tap in self.taps)


@pytest.fixture
def texts_prior(monkeypatch):
    """`Prior.features` over a network and an encoder whose results are known."""
    prior = Prior.__new__(Prior)
    taps = {"a": parse("text.tokens[B,T,D:1]:f32"), "b": parse("text.tokens[B,T,D:2]:f32")}
    inputs = {"ids": parse("text.ids[B,T]:i64{mask=ids_mask}")}
    manifest = SimpleNamespace(function=None, modality="text", inputs=inputs, tap=taps.__getitem__)
    object.__setattr__(prior, "manifest", manifest)
    words = Words()
    monkeypatch.setattr(Prior, "module", lambda self, taps: Lengths(taps))
    monkeypatch.setattr(Prior, "encoder", lambda self: words)
    return prior, words


def test_features_come_in_the_order_of_the_values_for_all_taps_at_once(texts_prior):
    prior, _ = texts_prior
    rng = np.random.default_rng(0)
    values = [" ".join("x" * n for n in rng.integers(1, 9, rng.integers(1, 60))) for _ in range(700)]
    found = prior.features(values, ("a", "b"))
    expected = np.array([np.mean([len(word) for word in value.split()]) for value in values], np.float32)
    np.testing.assert_allclose(found["a"][:, 0], expected, rtol=1e-5)
    np.testing.assert_allclose(found["b"], np.stack([expected, expected * 10], 1), rtol=1e-5)
    assert found["b"].dtype == np.float32


def test_progress_counts_each_row_once(texts_prior):
    prior, _ = texts_prior
    calls = []
    prior.features(["a b"] * 600, ("a", "b"), progress=lambda done, total: calls.append((done, total)))
    assert [total for _, total in calls] == [600] * len(calls)
    assert [done for done, _ in calls] == sorted({done for done, _ in calls})
    assert calls[-1] == (600, 600)


def test_a_tap_asked_for_twice_is_given_once(texts_prior):
    prior, _ = texts_prior
    assert {tap: rows.shape for tap, rows in prior.features(["a"], ("b", "a", "b")).items()} == {
        "b": (1, 2),
        "a": (1, 1),
    }


def test_no_values_give_no_rows(texts_prior):
    prior, _ = texts_prior
    assert {tap: rows.shape for tap, rows in prior.features([], ("a", "b")).items()} == {"a": (0, 1), "b": (0, 2)}
