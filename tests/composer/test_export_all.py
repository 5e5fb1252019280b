"""Every architecture and every function of tensors becomes ONNX that equals eager at other batches and lengths."""

import json

import numpy as np
import pytest
import torch

from composer.export import export
from priors.library import LocalLibrary
from priors.registry import ARCHITECTURE_IDS, FUNCTION_IDS, find_architecture, find_function, find_signature
from priors.types import parse
from tests.composer._tiny import lowered, write_prior
from tests.priors import _families as families
from tests.priors.test_grid_functions import CONFIGS as GRIDS
from tests.priors.test_row_functions import CONFIGS as ROWS

NETWORKS = {**families.TEXT, **families.VISION, **families.AUDIO, **families.TINY}
ELSEWHERE = {
    "efficientnet-lite": "its files hold the layers before they are folded; test_export writes the starter's",
    "exported": "its files have the archive's names; test_exported exports one again",
}
ROW = "vec.feat[B,D:3]:f32"
FUNCTIONS = [
    *((name, config, ROW) for name, config in ROWS),
    *GRIDS,
    *((name, {}, ROW) for name in ("standardize", "quantile", "block_norm", "fourier_features", "fill", "known")),
    ("formula", {"expr": "x * y + sin(z) / (1 + y^2)", "cols": ["x", "y", "z"], "out": "vec.feat[B,D:1]:f32"}, ROW),
    ("ode_step", {"rhs": {"x": "y", "y": "-x"}, "cols": ["x", "y", "z"], "method": "rk4"}, ROW),
]


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(NETWORKS.keys() - ELSEWHERE.keys()))
def test_a_network_becomes_onnx(name, tmp_path):
    family = find_architecture(name)(NETWORKS[name])
    taps, ports = tuple(family.taps()), family.inputs()
    write_prior(tmp_path / "tiny" / name, name, NETWORKS[name], taps=taps, scale=1.0)
    inputs = "\n".join(f'  {port}: {{op: input, type: "{t}"}}' for port, t in ports.items())
    wires = ", ".join(f"{port}: {port}" for port in ports)
    wanted = (taps[0], taps[-1])
    nets = "\n".join(f"  n{i}: {{op: net, in: {{w: w, {wires}}}, tap: {tap}}}" for i, tap in enumerate(wanted))
    model = lowered(
        LocalLibrary(tmp_path),
        f"""
composition: 1
name: network
nodes:
{inputs}
  w: {{op: load, prior: "prior://tiny/{name}"}}
{nets}
outputs: {{y0: n0, y1: n1}}
""",
    )

    assert export(model, tmp_path / "model.onnx", "onnx").max_abs_diff < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("port", sorted({port for _, _, port in FUNCTIONS}))
def test_functions_become_onnx(port, tmp_path):
    chosen = [(name, config) for name, config, given in FUNCTIONS if given == port]
    shape = [int(str(axis.dim)) for axis in parse(port).axes[1:]]
    x = torch.from_numpy(np.random.default_rng(0).normal(0.5, 1, (40, *shape)).astype(np.float32))
    nodes = "\n".join(
        f"  f{i}: {{op: fn, fn: {name}, in: [x], config: {json.dumps(config)}"
        + (", fit: train}" if find_signature(name).fitted else "}")
        for i, (name, config) in enumerate(chosen)
    )
    outputs = ", ".join(f"y{i}: f{i}" for i in range(len(chosen)))
    model = lowered(
        LocalLibrary(tmp_path),
        f"""
composition: 1
name: functions
nodes:
  x: {{op: input, type: "{port}"}}
{nodes}
outputs: {{{outputs}}}
""",
    )
    for i, (name, _) in enumerate(chosen):
        if find_function(name).fitted:
            model.fit_function(f"f{i}", x)

    assert export(model, tmp_path / "model.onnx", "onnx").max_abs_diff < 1e-3


@pytest.mark.slow
def test_of_a_series_that_stands_still_every_number_is_one_in_onnx_too(tmp_path):
    import onnxruntime

    model = lowered(
        LocalLibrary(tmp_path),
        """
composition: 1
name: still
nodes:
  x: {op: input, type: "series.num[B,T:16,C:1]:f32"}
  y: {op: fn, fn: series_statistics, in: [x]}
outputs: {y: y}
""",
    )
    export(model, tmp_path / "model.onnx", "onnx")
    rows = np.stack([np.full((16, 1), level, np.float32) for level in (0.0, 3.3, 1e4)])

    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    [found] = session.run(None, {session.get_inputs()[0].name: rows})

    assert np.isfinite(found).all()
    # what is left of 3.3 less the mean of sixteen 3.3 is rounding, which is the runtime's own
    np.testing.assert_allclose(found[0], model.module(torch.from_numpy(rows))[0][0], atol=1e-6)


def test_nothing_is_left_out():
    tensors = {name for name in FUNCTION_IDS if not find_signature(name).host}

    # The first is run by onnxruntime and not by torch, the second by an extra.
    assert NETWORKS.keys() | {"onnx", "timm"} == set(ARCHITECTURE_IDS)
    assert {name for name, _, _ in FUNCTIONS} == tensors
