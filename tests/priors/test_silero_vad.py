"""Silero VAD: frame after frame with the state carried along, and the published file where its package is installed."""

from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from priors.load import load
from priors.registry import find_architecture
from priors.sources._optional import installed
from priors.sources.starter import write_starter
from tests.priors._networks import loaded

SHAPES = {
    "stft.forward_basis_buffer": (258, 1, 256), "decoder.decoder.2.weight": (1, 128, 1), "decoder.decoder.2.bias": (1,),
    "encoder.0.reparam_conv.weight": (128, 129, 3), "encoder.0.reparam_conv.bias": (128,),
    "encoder.1.reparam_conv.weight": (64, 128, 3), "encoder.1.reparam_conv.bias": (64,),
    "encoder.2.reparam_conv.weight": (64, 64, 3), "encoder.2.reparam_conv.bias": (64,),
    "encoder.3.reparam_conv.weight": (128, 64, 3), "encoder.3.reparam_conv.bias": (128,),
    "decoder.rnn.weight_ih": (512, 128), "decoder.rnn.weight_hh": (512, 128),
    "decoder.rnn.bias_ih": (512,), "decoder.rnn.bias_hh": (512,),
}  # fmt: skip
"""The published file."""


def test_a_recording_is_read_in_frames_whose_state_goes_on() -> None:
    generator = torch.Generator().manual_seed(0)
    state = {key: torch.randn(shape, generator=generator) * 0.1 for key, shape in SHAPES.items()}
    wave = torch.randn(1, 1_300, generator=generator)
    cell = nn.LSTMCell(128, 128)
    cell.load_state_dict({key.removeprefix("decoder.rnn."): t for key, t in state.items() if "rnn" in key})

    found = loaded(find_architecture("silero-vad")({}), state)(wave, torch.ones(1, 1_300) > 0)

    def conv(name: str) -> tuple[Tensor, Tensor]:
        return state[f"{name}.weight"], state[f"{name}.bias"]

    carried: tuple[Tensor, Tensor] | None = None
    states, speech = [], []
    sound = F.pad(wave, (64, 3 * 512 - 1_300))
    for at in range(0, 3 * 512, 512):
        x = F.pad(sound[:, at : at + 576].unsqueeze(1), (0, 64), mode="reflect")
        x = torch.conv1d(x, state["stft.forward_basis_buffer"], stride=128)
        x = (x[:, :129] ** 2 + x[:, 129:] ** 2).sqrt()
        for i, stride in enumerate((1, 2, 2, 1)):
            x = torch.conv1d(x, *conv(f"encoder.{i}.reparam_conv"), stride, 1).relu()
        carried = cell(x.squeeze(2), carried)
        states.append(carried[0])
        last = carried[0].relu().unsqueeze(2)
        speech.append(torch.conv1d(last, *conv("decoder.decoder.2")).sigmoid().squeeze(2))
    for out, frames in zip(found, (states, speech), strict=True):
        torch.testing.assert_close(out, torch.stack(frames).mean(0), rtol=1e-4, atol=1e-5)


@pytest.mark.starter
def test_the_published_weights_give_what_the_published_onnx_file_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "silero-vad" not in {network.name for network in installed()}:
        pytest.skip("silero-vad is optional and not installed")
    onnxruntime = pytest.importorskip("onnxruntime")
    monkeypatch.setattr("priors.sources.starter.NETWORKS", ())
    write_starter(tmp_path)
    seconds = np.arange(16_000) / 16_000
    wave = (0.2 * np.sin(2 * np.pi * 140 * seconds) * (np.sin(2 * np.pi * 3 * seconds) > 0)).astype(np.float32)

    found = load(tmp_path / "priorhub" / "silero-vad").features([wave], ["speech"])["speech"]

    session = onnxruntime.InferenceSession(str(files("silero_vad") / "data" / "silero_vad.onnx"))
    state, before, speech = np.zeros((2, 1, 128), np.float32), np.zeros(64, np.float32), []
    for at in range(0, 16_000, 512):
        frame = np.zeros(512, np.float32)
        frame[: len(wave[at : at + 512])] = wave[at : at + 512]
        given = {"input": np.concatenate([before, frame])[None], "state": state, "sr": np.array(16_000)}
        out, state = session.run(None, given)
        speech.append(out[0, 0])
        before = frame[-64:]
    np.testing.assert_allclose(found[0, 0], np.mean(speech), rtol=0, atol=1e-5)
