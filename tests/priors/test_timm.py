"""Models of timm: the error without the extra, and with it the library's own numbers from a config and a file."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from priors.architectures import timm_model
from priors.errors import BadManifest
from priors.load import load
from priors.manifest import FileInfo
from priors.registry import find_architecture
from priors.sources.plain import manifest_of
from priors.types import parse
from priors.weights import check_header, save_weights, sha256_file
from tests.priors._networks import loaded, stirred

INSTALLED = pytest.mark.skipif(
    find_spec("timm") is None or find_spec("torchvision") is None, reason="the extra `timm` is not installed"
)
CONFIG = {"model": "test_resnet", "image_size": 64, "features": 8, "classes": 3}


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("timm", "torchvision"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    family = find_architecture("timm")(CONFIG)
    assert family.taps() == {"features": "vec.feat[B,D:8]:f32", "logits": "dist.logits[B,K:3]:f32"}
    with pytest.raises(BadManifest, match=r"pip install priorhub\[timm\]"):
        family.build(("features",))


@pytest.mark.parametrize("model", ["hf-hub:evil/model", "local-dir:/tmp", "../model", "Model"])
def test_a_model_is_a_name_and_nothing_that_is_fetched(model: str) -> None:
    with pytest.raises(BadManifest, match="model"):
        find_architecture("timm")({**CONFIG, "model": model})


@pytest.fixture(scope="module")
def timm() -> Any:
    return timm_model._library()


@INSTALLED
@pytest.mark.parametrize("model", ["test_resnet", "test_efficientnet", "test_vit_relpos"])
def test_taps_found_on_meta_tensors_are_what_the_library_gives(model: str, timm: Any) -> None:
    side = timm.get_pretrained_cfg(model).input_size[1]
    config = timm_model.discover(model, classes=5, image_size=side)
    family = find_architecture("timm")(config)
    own = stirred(timm.create_model(model, num_classes=5))
    pixels = torch.randn(2, 3, side, side)

    found = dict(zip(family.taps(), loaded(family, own.state_dict())(pixels), strict=True))

    state, maps = own.forward_intermediates(pixels)
    expected = {f"stage_{i}": one for i, one in enumerate(maps, 1)}
    expected |= {"features": own.forward_head(state, pre_logits=True), "logits": own(pixels)}
    assert found.keys() == expected.keys()
    for tap, out in found.items():
        torch.testing.assert_close(out, expected[tap], rtol=1e-4, atol=1e-5)
        assert [axis.dim for axis in parse(family.taps()[tap]).axes[1:]] == list(out.shape[1:])


@INSTALLED
def test_a_repository_as_timm_writes_it_becomes_a_prior(timm: Any, tmp_path: Path) -> None:
    own = stirred(timm.create_model("test_resnet", num_classes=3))
    save_weights(own.state_dict(), tmp_path / "model.safetensors")
    given = own.pretrained_cfg
    config = {
        "architecture": "test_resnet", "num_classes": 3, "num_features": own.num_features,
        "pretrained_cfg": {key: given[key] for key in ("mean", "std", "interpolation", "crop_pct", "classifier")}
        | {"input_size": list(given["input_size"]), "mean": list(given["mean"]), "std": list(given["std"])},
    }  # fmt: skip
    path = tmp_path / "model.safetensors"
    files = {"model.safetensors": FileInfo(sha256_file(path), path.stat().st_size)}

    manifest = manifest_of(name="tiny", config=config, header=check_header(path), files=files)

    assert manifest is not None
    (tmp_path / "prior.json").write_text(manifest.to_json())
    rows = np.random.default_rng(0).integers(0, 256, (2, 200, 180, 3)).astype(np.uint8)
    prior = load(tmp_path)
    found = prior.features(list(rows), ["features", "logits"])
    with torch.inference_mode():
        [pixels] = prior.encoder().encode(list(rows))
        np.testing.assert_allclose(found["logits"], own(pixels), rtol=1e-4, atol=1e-5)


@INSTALLED
@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"model": "test_resnett"}, "Nearest: test_resnet"),
        ({"features": 9}, "promised as"),
        ({"maps": [[3, 3]]}, "stage_1 is promised as"),
    ],
)
def test_a_config_that_the_library_does_not_bear_out_is_refused(change: dict[str, Any], cause: str, timm: Any) -> None:
    right = timm_model.discover("test_resnet", classes=3, image_size=64)
    family = find_architecture("timm")({**right, "maps": [], **change})
    with pytest.raises(BadManifest, match=cause):
        family.build(tuple(family.taps()))(torch.zeros(1, 3, 64, 64))
