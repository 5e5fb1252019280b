"""Blocks of features on one footing: what is fitted, what comes out, and that the exported form agrees."""

import numpy as np
import pytest
import torch
from torch.export import Dim, export

from priors.errors import BadManifest, BadTable
from priors.functions.block_norm import BlockNorm


def rows(n: int = 40, d: int = 6, seed: int = 0) -> torch.Tensor:
    """Columns of very different sizes and means."""
    x = torch.randn(n, d, generator=torch.Generator().manual_seed(seed))
    return x * torch.logspace(-1, 1.5, d) + torch.linspace(-5, 50, d)


def counts(n: int = 40, d: int = 30) -> torch.Tensor:
    """Sparse counts; column 0 occurs everywhere, the last one nowhere."""
    x = torch.poisson(torch.full((n, d), 0.2), generator=torch.Generator().manual_seed(0))
    x[:, 0], x[:, -1] = 1 + x[:, 0], 0
    return x


def fitted(x: torch.Tensor, **config) -> torch.nn.Module:
    function = BlockNorm(config)
    module = function.module(f"vec.feat[B,D:{x.shape[1]}]:f32")
    module.load_state_dict(function.fit(x))
    return module.eval()


@pytest.mark.parametrize("mode", ["rows", "counts", "columns", "whole"])
@pytest.mark.parametrize("weight", [1.0, 0.25])
def test_training_rows_are_centered_with_the_weight_as_their_mean_squared_length(mode, weight):
    x = counts() if mode == "counts" else rows()
    y = fitted(x, mode=mode, weight=weight)(x)

    assert y.dtype == torch.float32
    torch.testing.assert_close(y.mean(0), torch.zeros(x.shape[1]), atol=1e-5, rtol=0)
    assert float(y.square().sum(1).mean()) == pytest.approx(weight, rel=1e-4)


def test_standardized_rows_have_one_length_before_they_are_centered():
    x = rows()
    module = fitted(x)
    found = module(x).double().numpy() / float(module.gain) + module.center.double().numpy()

    z = (x.double().numpy() - x.double().numpy().mean(0)) / x.double().numpy().std(0)
    np.testing.assert_allclose(found, z / np.linalg.norm(z, axis=1, keepdims=True), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


def test_columns_keep_the_lengths_of_rows():
    x = rows()
    y = fitted(x, mode="columns")(x).double().numpy()

    z = (x.double().numpy() - x.double().numpy().mean(0)) / x.double().numpy().std(0)
    np.testing.assert_allclose(y, z / np.sqrt(6), atol=1e-5)


def test_of_a_whole_block_inner_products_stay_in_proportion():
    x = rows()
    y = fitted(x, mode="whole")(x).double().numpy()

    centered = x.double().numpy() - x.double().numpy().mean(0)
    wanted = centered @ centered.T
    np.testing.assert_allclose(y @ y.T, wanted / wanted.trace() * len(x), atol=1e-4)


def test_counts_are_weighed_by_how_rare_they_are():
    x = counts()
    state = BlockNorm({"mode": "counts"}).fit(x)

    seen = (x > 0).sum(0)
    torch.testing.assert_close(state["scale"], torch.log((1.0 + 40) / (1.0 + seen)) + 1)
    assert float(state["scale"][0]) == pytest.approx(1)  # in every row
    assert not state["shift"].any()


def test_a_row_of_no_counts_is_a_finite_row():
    x = counts()
    x[3] = 0
    y = fitted(x, mode="counts")(torch.zeros(1, 30))

    assert torch.isfinite(y).all()


@pytest.mark.parametrize("mode", ["rows", "columns", "whole"])
def test_a_column_that_was_constant_in_training_never_counts(mode):
    x = rows()
    x[:, 2] = 0.1  # no float32: its mean is rounded
    module = fitted(x, mode=mode)
    strange = x.clone()
    strange[:, 2] = 1e4

    assert not module.scale[2]
    torch.testing.assert_close(module(strange), module(x))


def test_a_column_that_hardly_varies_is_held_to_a_thousandth_of_the_typical_spread():
    x = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    x[:, 0] *= 1e-5
    state = BlockNorm({}).fit(x)

    typical = float(x.double().std(0, correction=0).square().mean().sqrt())
    assert float(state["scale"][0]) == pytest.approx(1000 / typical, rel=1e-4)


@pytest.mark.parametrize("mode", ["rows", "counts", "columns", "whole"])
@pytest.mark.parametrize("value", [0.0, 0.1])
def test_a_block_of_equal_rows_says_nothing(mode, value):
    x = torch.full((10, 3), value)
    module = fitted(x, mode=mode)

    assert not module(x).abs().max() > 1e-6
    assert torch.isfinite(module(torch.tensor([[1.0, -2.0, 3.0]]))).all()


def test_the_same_rows_give_the_same_bits_and_one_row_is_enough():
    first, second = BlockNorm({}).fit(rows()), BlockNorm({}).fit(rows())

    assert all(torch.equal(first[name], second[name]) for name in first)
    assert torch.isfinite(fitted(rows()[:1])(rows())).all()


def test_moving_and_stretching_columns_changes_nothing():
    x = rows()
    torch.testing.assert_close(fitted(x)(x), fitted(3 * x + 7)(3 * x + 7), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("mode", ["rows", "counts", "columns", "whole"])
def test_the_exported_form_agrees_for_any_number_of_rows(mode):
    x = counts() if mode == "counts" else rows()
    module = fitted(x, mode=mode, weight=0.4)
    program = export(module, (x[:5],), dynamic_shapes=({0: Dim("batch", min=1)},)).module()

    for n in (1, 7, 40):
        torch.testing.assert_close(program(x[:n]), module(x[:n]))


def test_what_cannot_be_learned_from_is_refused():
    for bad in (float("nan"), float("inf")):
        x = rows()
        x[4, 1] = bad
        with pytest.raises(BadTable, match="row 4, column 1"):
            BlockNorm({}).fit(x)
    with pytest.raises(BadTable, match="learns from rows"):
        BlockNorm({}).fit(torch.zeros(0, 3))


@pytest.mark.parametrize("config", [{"mode": "cells"}, {"weight": -1.0}, {"weight": float("nan")}, {"wait": 1.0}])
def test_a_config_that_means_nothing_is_refused(config):
    with pytest.raises(BadManifest):
        BlockNorm(config)


def test_its_output_is_one_block_of_features():
    assert BlockNorm({}).output_type_for("tab.num[B,C:7]:f32") == "vec.feat[B,D:7]:f32"
