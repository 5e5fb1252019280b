"""Few-shot adaptation of encoders of sounds and of images: the same way as text, from files to an exported model."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from composer import adapt as adapting
from composer.adapt import leading_network
from composer.assemble import offer
from composer.choices import Choice, Member
from composer.composition import Composition
from composer.contrast import Recipe, _front_kept
from composer.delta import Delta, load_folded, upper_half
from composer.errors import Cancelled
from composer.fit import fit
from composer.graph import Graph
from priors.architectures.efficientnet_lite import EfficientNetLite
from priors.library import LocalLibrary
from priors.registry import find_architecture
from tests.composer._made_up import audio_task, image_task
from tests.composer._tiny import write_prior

RECIPE = Recipe(kind="lora", r=2, steps=8, lr=1e-2, warm_up=2)
SPEAKER = {"mels": 12, "hidden": 10, "layers": 2, "embedding": 12, "window": 16, "step": 12}
MEL = {"encoder": "mel", "rate": 16_000, "n_fft": 400, "hop": 160, "n_mels": 12, "log": False, "loudness_dbfs": -30.0}
LITE = {"width": 0.25, "depth": 0.5, "image_size": 32, "classes": 5}
PIXELS = {"encoder": "image", "size": 32, "resize": "bilinear", "mean": [127.0] * 3, "std": [128.0] * 3}
KINDS = ["lora", "dora", "ia3", "bias", "full"]


@pytest.fixture(autouse=True)
def few_steps(monkeypatch):
    monkeypatch.setattr(adapting, "RECIPES", {kind: replace(RECIPE, kind=kind) for kind in ("lora", "full")})


@pytest.fixture
def library(tmp_path, monkeypatch):
    write_prior(tmp_path / "priors/tiny/ears", "lstm-speaker", SPEAKER, taps=("embedding",), host=MEL, scale=1.0)
    # Its published files have normalizations beside convolutions; this one has what they become.
    monkeypatch.setattr(EfficientNetLite, "key_map", lambda self, state: dict(state))
    write_prior(tmp_path / "priors/tiny/eyes", "efficientnet-lite", LITE, taps=("features",), host=PIXELS, scale=1.0)
    return LocalLibrary(tmp_path / "priors")


def made(task, library, cache, **options):
    [candidate] = [one for one in offer(task, library.entries()).candidates if one.tap in ("embedding", "features")]
    choice = Choice("alone", "single", (Member(candidate, 1.0),), 0.5, 0.4, 0.6, 0.0, False, "named", 0.0)
    return fit(task, choice, library=library, cache=cache, **options)


def speaker():
    torch.manual_seed(0)
    return find_architecture("lstm-speaker")(SPEAKER).build(("embedding",)).eval().requires_grad_(False)


SOUNDS = torch.rand(3, 30, 12, generator=torch.Generator().manual_seed(0))
MELS = SOUNDS, torch.arange(30) < torch.tensor([[30], [20], [9]])


@pytest.mark.parametrize(("what", "mode"), [("sounds", "lora"), ("sounds", "full"), ("images", "lora")])
def test_an_encoder_is_adapted_saved_loaded_and_exported(library, tmp_path, what, mode):
    task = (audio_task if what == "sounds" else image_task)(tmp_path / what)
    model = made(task, library, tmp_path / "cache", adapt=mode)
    loaded = Composition.load(model.save(tmp_path / "model"), library=library)
    values = task.values("path")

    assert model.report["adaptation"]["chosen"] == mode
    assert np.array_equal(model.predict_proba(values), loaded.predict_proba(values))
    assert any(value.abs().max() > 0 for name, value in loaded.lowered.learned_state().items() if ".b" in name)
    if mode == "lora":
        assert loaded.export(tmp_path / "model.pt2").max_abs_diff < 1e-4


def test_a_fit_on_sounds_that_was_stopped_goes_on_to_the_same_bits(library, tmp_path):
    task, seen = audio_task(tmp_path / "sounds"), []
    whole = made(task, library, tmp_path / "cache", adapt="lora").save(tmp_path / "a") / "model.safetensors"

    def report(step, of, message, **_):
        seen.append(message)

    with pytest.raises(Cancelled):
        made(task, library, tmp_path / "other", adapt="lora", report=report,
             cancelled=lambda: sum("adapting" in message for message in seen) > 10)  # fmt: skip
    stopped = sum("adapting" in message for message in seen)
    seen.clear()
    resumed = made(task, library, tmp_path / "other", adapt="lora", report=report)

    assert RECIPE.steps < stopped < 2 * RECIPE.steps
    assert sum("adapting" in message for message in seen) == 2 * RECIPE.steps - stopped
    assert (resumed.save(tmp_path / "b") / "model.safetensors").read_bytes() == whole.read_bytes()


def test_the_encoder_is_what_leads_a_set_for_sounds(library, tmp_path):
    task = audio_task(tmp_path / "sounds", each=3)
    offered = offer(task, library.entries())
    [candidate] = offered.candidates
    choice = Choice("alone", "single", (Member(candidate, 1.0),), 0.5, 0.4, 0.6, 0.0, False, "named", 0.0)

    assert leading_network(choice, offered) == candidate


def test_the_upper_half_of_a_recurrent_network_is_its_last_layer_and_what_reads_it():
    network = speaker()

    assert upper_half(network) == ["layers.1.*", "layers.2"]
    delta = Delta.of(network, kind="lora", targets=upper_half(network))
    assert delta.paths == ("layers.1.ih", "layers.1.hh", "layers.2")
    with _front_kept(network, delta.paths) as begin:
        begin(0)
        assert "forward" in network.layers[0].__dict__
        assert "forward" not in network.layers[1].__dict__


@pytest.mark.parametrize("kind", KINDS)
def test_the_weights_inside_a_recurrence_are_changed_live_and_folded_alike_and_get_gradients(kind):
    network = speaker()
    before = network(*MELS)[0]
    delta = Delta.of(network, kind=kind, targets=["layers.[01].*"])
    with delta.live(network):
        assert torch.equal(network(*MELS)[0], before)
        with torch.no_grad():
            for parameter in delta.parameters():
                parameter += 0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
        live = network(*MELS)[0]
        live[:, 0].sum().backward()

    assert {path.rpartition(".")[2] for path in delta.paths} == {"ih", "hh"}
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in delta.parameters())
    assert (live - before).abs().max() > 1e-3
    assert torch.equal(network(*MELS)[0], before)
    torch.testing.assert_close(load_folded(speaker(), [delta])(*MELS)[0], live.detach(), rtol=0, atol=1e-5)


def test_a_graph_may_name_the_layers_of_a_recurrent_network(library, tmp_path):
    task = audio_task(tmp_path / "sounds")
    graph = Graph.from_yaml("""
composition: 1
name: tones
adapt: trainable
nodes:
  sound: {op: input, type: "audio.raw[B]:f32", column: path}
  w: {op: load, prior: "prior://tiny/ears"}
  d: {op: delta, in: [w], kind: dora, r: 2, targets: ["layers.1.hh"]}
  deep: {op: net, in: {w: d, mel: sound}, tap: embedding, train: delta}
  b: {op: fn, fn: standardize, in: [deep]}
  y: {op: head, in: [b], labels: [high, low]}
outputs: {y: y}
fit: {steps: 4, lr: {delta: 0.02}}
""")
    model = fit(task, graph, library=library, cache=tmp_path / "cache")

    names = {name for name in model.lowered.learned_state() if name.startswith("d.")}
    assert names == {"d.layers.1.hh.a", "d.layers.1.hh.b", "d.layers.1.hh.m"}
