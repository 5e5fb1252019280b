"""The audio families: each gives what the library's own model gives for one recording, and padding changes nothing."""

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.export import Dim, export

from priors.errors import BadManifest
from priors.manifest import FileInfo
from priors.registry import find_architecture
from priors.sources.plain import manifest_of
from priors.weights import check_header, load_weights
from tests.priors._families import AUDIO, quick
from tests.priors._networks import loaded, stirred

FAMILIES = pytest.mark.parametrize("name", AUDIO)
SMALL = {"whisper-encoder": {"decoder_layers": 1, "decoder_attention_heads": 1, "decoder_ffn_dim": 1}}
WAVES = pytest.mark.parametrize("name", ["wav2vec2", "hubert", "crepe", "silero-vad"])


def library_model(name: str) -> Any:
    import transformers

    family = find_architecture(name)(AUDIO[name])
    settings = family.config.settings(family.config.depth) | SMALL.get(name, {})
    config = transformers.AutoConfig.for_model(name.removesuffix("-encoder"), **settings)
    return stirred(transformers.AutoModel.from_config(config))


def sounds(name: str, rows: int, length: int) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(rows * 10 + length)
    if name == "whisper-encoder":
        return (torch.randn(rows, 24, 6, generator=generator),)
    lengths = torch.randint(1, length + 1, (rows,), generator=generator)
    lengths[0] = length
    return torch.randn(rows, length, generator=generator), torch.arange(length) < lengths.unsqueeze(1)


def own_state(name: str) -> dict[str, Tensor]:
    family = find_architecture(name)(AUDIO[name])
    return dict(stirred(family.build(tuple(family.taps()))).state_dict())


@pytest.mark.parametrize("name", ["wav2vec2", "hubert"])
def test_the_layers_of_one_wave_are_the_means_of_the_library_s(name: str, tmp_path: Path) -> None:
    model = library_model(name)
    model.save_pretrained(tmp_path)
    wave, mask = sounds(name, 1, 173)
    family = find_architecture(name)(AUDIO[name])
    found = dict(
        zip(family.taps(), loaded(family, load_weights(tmp_path / "model.safetensors"))(wave, mask), strict=True)
    )

    expected = model(wave, output_hidden_states=True)

    pairs = {"layer_1": expected.hidden_states[1], family.config.default: expected.last_hidden_state}
    for tap, states in pairs.items():
        torch.testing.assert_close(found[tap], states.mean(1), rtol=1e-4, atol=1e-5)


def test_older_names_of_a_normalized_weight_are_read() -> None:
    family = find_architecture("wav2vec2")(AUDIO["wav2vec2"])
    g, v = torch.rand(1, 1, 6), torch.randn(16, 8, 6)
    keys = ("weight_g", "weight_v"), ("parametrizations.weight.original0", "parametrizations.weight.original1")
    old, new = (
        family.key_map({f"wav2vec2.encoder.pos_conv_embed.conv.{a}": g, f"encoder.pos_conv_embed.conv.{b}": v})
        for a, b in keys
    )
    norm = v.square().sum((0, 1), keepdim=True).sqrt()
    for found in (old, new):
        torch.testing.assert_close(found["positions.conv.weight"], g * v / norm)


def test_crepe_is_convolution_then_relu_then_normalization_then_pooling() -> None:
    generator = torch.Generator().manual_seed(0)
    state: dict[str, Tensor] = {"classifier.weight": torch.randn(360, 64, generator=generator)}
    state["classifier.bias"] = torch.randn(360, generator=generator)
    widths = [1, 32, 4, 4, 4, 8, 16]
    for i in range(6):
        kernel = 512 if i == 0 else 64
        state[f"conv{i + 1}.weight"] = torch.randn(widths[i + 1], widths[i], kernel, 1, generator=generator) * 0.1
        state[f"conv{i + 1}.bias"] = torch.randn(widths[i + 1], generator=generator)
        for part in ("weight", "bias", "running_mean", "running_var"):
            state[f"conv{i + 1}_BN.{part}"] = torch.rand(widths[i + 1], generator=generator) + 0.5
    wave = torch.randn(1, 100, generator=generator)  # one frame: the next would begin beyond its end

    features, pitch = loaded(find_architecture("crepe")(AUDIO["crepe"]), state)(wave, torch.ones(1, 100) > 0)

    x = torch.nn.functional.pad(wave, (512, 412))
    x = ((x - x.mean()) / x.std())[:, None, :, None]
    for i in range(6):
        x = torch.nn.functional.pad(x, (0, 0, 254, 254) if i == 0 else (0, 0, 31, 32))
        x = torch.conv2d(x, state[f"conv{i + 1}.weight"], state[f"conv{i + 1}.bias"], (4, 1) if i == 0 else 1).relu()
        parts = [state[f"conv{i + 1}_BN.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        x = torch.nn.functional.batch_norm(x, *parts, eps=0.0010000000474974513)
        x = torch.nn.functional.max_pool2d(x, (2, 1))
        if i == 4:
            torch.testing.assert_close(features, x.flatten(1), rtol=1e-4, atol=1e-4)
    expected = x.permute(0, 2, 1, 3).reshape(-1, 64) @ state["classifier.weight"].T + state["classifier.bias"]
    torch.testing.assert_close(pitch, expected.sigmoid(), rtol=1e-4, atol=1e-4)


def test_whisper_s_frames_are_the_library_s(tmp_path: Path) -> None:
    model = library_model("whisper-encoder")
    model.save_pretrained(tmp_path)
    family = find_architecture("whisper-encoder")(AUDIO["whisper-encoder"])
    module = loaded(family, load_weights(tmp_path / "model.safetensors"), "layer_1", "final")
    [mel] = sounds("whisper-encoder", 2, 0)
    expected = model.encoder(mel.transpose(1, 2), output_hidden_states=True)
    layer, final = module(mel)
    torch.testing.assert_close(layer, expected.hidden_states[1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(final, expected.last_hidden_state, rtol=1e-4, atol=1e-5)


PREPROCESSORS: dict[str, dict[str, Any]] = {
    "wav2vec2": {"sampling_rate": 16_000, "do_normalize": True, "feature_size": 1},
    "hubert": {"sampling_rate": 8_000, "do_normalize": False, "feature_size": 1},
    "whisper-encoder": {"sampling_rate": 1_000, "feature_size": 6, "hop_length": 125, "n_fft": 250, "chunk_length": 3},
}


@pytest.mark.parametrize("name", PREPROCESSORS)
def test_a_plain_repository_of_the_library_becomes_a_prior(name: str, tmp_path: Path) -> None:
    library_model(name).save_pretrained(tmp_path)
    config, preprocessor = json.loads((tmp_path / "config.json").read_text()), PREPROCESSORS[name]
    files = {"model.safetensors": FileInfo("a" * 64, 1)}
    given = {"name": "tiny", "config": config, "preprocessor": preprocessor, "files": files,
             "header": check_header(tmp_path / "model.safetensors")}  # fmt: skip
    rate = preprocessor["sampling_rate"]

    found: Any = manifest_of(**given)

    assert found is not None and found.architecture.id == name and found.host["rate"] == rate
    if name != "whisper-encoder":
        assert found.architecture.config == {
            **find_architecture(name)({**AUDIO[name], "rate": rate}).config.model_dump()
        }
        assert found.host["normalize"] is preprocessor["do_normalize"]
    for wrong in (
        {"preprocessor": None},
        {"preprocessor": {**preprocessor, "sampling_rate": None}},
        {"preprocessor": {**preprocessor, "feature_size": 3}},
        {"config": {**config, "architectures": ["X"]}},
        {"config": {**config, "hidden_size": 32, "d_model": 32}},
        {"config": {**config, "num_hidden_layers": 1, "encoder_layers": 1}},
    ):
        assert manifest_of(**{**given, **wrong}) is None, wrong


@WAVES
def test_what_the_mask_hides_changes_nothing(name: str) -> None:
    module = loaded(find_architecture(name)(AUDIO[name]), own_state(name))
    wave, mask = sounds(name, 1, 700)
    longer = torch.cat([wave, torch.randn(1, 400)], 1)
    wider = torch.cat([mask, torch.zeros(1, 400, dtype=torch.bool)], 1)
    for alone, padded in zip(module(wave, mask), module(longer, wider), strict=True):
        torch.testing.assert_close(padded, alone, rtol=1e-4, atol=1e-5)
    shortest = module(wave[:, :1], mask[:, :1])
    assert all(out.isfinite().all() for out in [*shortest, *module(wave, torch.zeros_like(mask))])


@FAMILIES
def test_a_tap_alone_is_what_it_is_among_all(name: str) -> None:
    family, state = find_architecture(name)(AUDIO[name]), own_state(name)
    given = sounds(name, 2, 600)
    tap = next(iter(family.taps()))
    alone = loaded(family, state, tap)
    torch.testing.assert_close(alone(*given)[0], loaded(family, state)(*given)[0], rtol=0, atol=1e-6)
    assert set(alone.state_dict()) < set(state)


@quick(["wav2vec2", "crepe", "silero-vad"], AUDIO)
def test_the_exported_graph_gives_the_same_at_other_sizes(name: str) -> None:
    module = loaded(find_architecture(name)(AUDIO[name]), own_state(name))
    given = sounds(name, 3, 500)
    shape = {0: Dim("B", min=1, max=64), **({1: Dim("T", min=2, max=2_000)} if len(given) == 2 else {})}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        program = export(module, given, dynamic_shapes=tuple(shape for _ in given)).module()
    for rows, length in ((1, 300), (2, 1_100)):
        other = sounds(name, rows, length)
        for a, b in zip(program(*other), module(*other), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "change", "cause"),
    [
        ("wav2vec2", {"conv_dim": [8]}, "one entry a convolution"),
        ("hubert", {"num_attention_heads": 3}, "num_attention_heads"),
        ("whisper-encoder", {"encoder_attention_heads": 5}, "heads"),
        ("crepe", {"hop": 0}, "hop"),
    ],
)
def test_a_config_that_is_not_of_the_family_is_refused(name: str, change: dict[str, Any], cause: str) -> None:
    with pytest.raises(BadManifest, match=cause):
        find_architecture(name)({**AUDIO[name], **change})
