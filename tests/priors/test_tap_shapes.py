"""Taps found on meta tensors, from a config alone: those that the config promises, and those that real tensors have."""

from typing import Any

import pytest
import torch

from priors.errors import BadManifest
from priors.manifest import parse_manifest
from priors.registry import ARCHITECTURE_IDS, find_architecture
from priors.shapes import check_taps_given, promised_shape, tap_shapes
from priors.types import parse
from tests.priors._families import AUDIO, TEXT, TINY, VISION

NETWORKS = {**TEXT, **VISION, **AUDIO, **TINY}
LENGTHS = {"B": 4, "T": 9}


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_the_taps_on_meta_tensors_are_those_promised_and_those_of_real_ones(name: str) -> None:
    family: Any = find_architecture(name)(NETWORKS[name])
    given: list[torch.Tensor] = []
    for port in map(parse, family.inputs().values()):
        shape = [axis.dim if isinstance(axis.dim, int) else LENGTHS[axis.name] for axis in port.axes]
        given.append(torch.ones(shape, dtype=torch.int64) if port.dtype == "i64" else torch.rand(shape))
        given += [torch.ones(shape[:2], dtype=torch.bool)] if port.attr("mask") else []

    found = tap_shapes(name, NETWORKS[name])
    with torch.inference_mode():
        outputs = family.build(tuple(family.taps())).eval()(*given)

    assert found == {tap: promised_shape(parse(t)) for tap, t in family.taps().items()}
    for shape, out in zip(found.values(), outputs, strict=True):
        assert tuple(LENGTHS.get(n, n) if isinstance(n, str) else n for n in shape) == tuple(out.shape)


def test_no_architecture_with_layers_is_left_out() -> None:
    # A file of its own has no config to build from; an extra has its own tests.
    assert set(ARCHITECTURE_IDS) - NETWORKS.keys() == {"onnx", "timm"}


def test_a_manifest_whose_tap_is_another_is_refused() -> None:
    config = TINY["mlp"]
    family = find_architecture("mlp")(config)
    document = {
        "prior": 1, "name": "table", "version": "1", "summary": "A table.", "kind": "network",
        "architecture": {"id": "mlp", "config": config}, "inputs": family.inputs(), "taps": family.taps(),
        "default_tap": "output", "license": {"spdx": "MIT"},
        "files": {"model.safetensors": {"sha256": "a" * 64, "size": 1}},
    }  # fmt: skip
    check_taps_given(parse_manifest(document))
    with pytest.raises(BadManifest, match=r"declared vec\.feat\[B,D:5\]:f32, its network gives \('B', 2\)"):
        check_taps_given(parse_manifest({**document, "taps": {"output": "vec.feat[B,D:5]:f32"}}))
