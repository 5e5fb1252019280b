"""Functions of rows of numbers: what they compute, held against scikit-learn and scipy, and what they are safe from."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from priors.errors import BadManifest, BadTable, BadType
from priors.registry import find_function, function_signature
from priors.types import parse

Make = dict[str, Any]

CONFIGS: list[tuple[str, Make]] = [
    ("pca", {"k": 2}),
    ("pca", {"k": 9, "whiten": True}),
    ("whiten", {}),
    ("whiten", {"kind": "pca", "shrink": 0.0}),
    ("random_features", {"m": 7}),
    ("random_features", {"m": 8, "kind": "laplace", "scale": 2.0}),
    ("random_features", {"m": 5, "kind": "relu", "seed": 3}),
    ("nystrom", {"k": 6}),
    ("rbf", {"k": 6}),
    ("rbf", {"k": 6, "normalized": True, "width": 2.0}),
    ("polynomial", {}),
    ("polynomial", {"degree": 3, "interactions": True}),
    ("spline", {}),
    ("spline", {"knots": 4, "degree": 2, "place": "value"}),
    ("positional", {}),
    ("spherical_harmonics", {}),
    ("spherical_harmonics", {"degree": 0}),
]
FITTED = ("pca", "whiten", "nystrom", "rbf", "spline")
ids = [f"{name} {config}" for name, config in CONFIGS]


def rows(n: int = 40, columns: int = 3, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(1, 2, (n, columns)).astype(np.float32))


def fitted(name: str, config: Make, x: torch.Tensor) -> torch.nn.Module:
    function: Any = find_function(name)(config)
    module: torch.nn.Module = function.module(f"vec.feat[B,D:{x.shape[1]}]:f32")
    if function.fitted:
        module.load_state_dict(function.fit(x))
    return module.eval()


@pytest.mark.parametrize(("name", "config"), CONFIGS, ids=ids)
def test_the_shape_is_what_the_type_says(name: str, config: Make) -> None:
    function: Any = find_function(name)(config)
    x = rows()

    found = fitted(name, config, x)(x)

    promised = parse(function.output_type_for("vec.feat[B,D:3]:f32"))
    assert promised == function_signature(name, config, parse("vec.feat[B,D:3]:f32"))
    assert found.shape == (40, promised.dim("D"))
    assert found.dtype == torch.float32 and bool(found.isfinite().all()) and bool(found.any())


@pytest.mark.parametrize(("name", "config"), CONFIGS, ids=ids)
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_an_exported_function_equals_eager_at_other_batch_sizes(name: str, config: Make) -> None:
    module = fitted(name, config, rows())
    batch = torch.export.Dim("batch", min=1, max=4_096)

    program = torch.export.export(module, (rows(4),), dynamic_shapes=({0: batch},)).module()

    for n in (1, 2, 63):
        x = rows(n, seed=n)
        assert torch.allclose(program(x), module(x), atol=1e-6)


@pytest.mark.parametrize(("name", "config"), CONFIGS, ids=ids)
def test_gradients_are_those_of_the_formula(name: str, config: Make) -> None:
    module = fitted(name, config, rows()).double()
    x = rows(5, seed=1).double().requires_grad_(True)

    assert torch.autograd.gradcheck(module, (x,))


@pytest.mark.parametrize(("name", "config"), CONFIGS, ids=ids)
def test_a_row_has_the_same_features_alone_and_among_others(name: str, config: Make) -> None:
    x = rows()
    module = fitted(name, config, x)

    alone = torch.cat([module(x[i : i + 1]) for i in range(4)])

    assert torch.allclose(alone, module(x)[:4], atol=1e-5)


@pytest.mark.parametrize("name", FITTED)
def test_fitting_twice_gives_equal_bits_and_the_order_of_rows_does_not_matter(name: str) -> None:
    function: Any = find_function(name)({})
    x = rows()

    first, second = function.fit(x), function.fit(x.clone())
    turned = fitted(name, {}, x.flip(0))

    assert all(torch.equal(first[key], second[key]) for key in first)
    assert torch.allclose(turned(x), fitted(name, {}, x)(x), atol=1e-4)


@pytest.mark.parametrize("name", FITTED)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_missing_is_refused_with_row_and_column(name: str, bad: float) -> None:
    function: Any = find_function(name)({})
    x = rows()
    x[7, 2] = bad

    with pytest.raises(BadTable, match=rf"{name}.*row 7, column 2"):
        function.fit(x)


HARD: dict[str, Callable[[], torch.Tensor]] = {
    "one row": lambda: rows(1),
    "fewer rows than columns": lambda: rows(3, 9),
    "equal rows": lambda: rows(1).repeat(8, 1),
    "a constant column": lambda: torch.cat([rows(), torch.full((40, 1), 7.3)], 1),
    "equal columns": lambda: rows(40, 1).repeat(1, 4),
    "huge and tiny columns": lambda: rows() * torch.tensor([1e-8, 1.0, 1e8]),
    "two values": lambda: (rows() > 1).float(),
    "zeros": lambda: torch.zeros(10, 3),
}


@pytest.mark.parametrize("name", FITTED)
@pytest.mark.parametrize("hard", HARD, ids=list(HARD))
def test_rows_that_say_little_break_nothing(name: str, hard: str) -> None:
    x = HARD[hard]()

    module = fitted(name, {}, x)

    far = torch.cat([x, x * 3 + 1, -x])
    found = module(far)
    assert bool(found.isfinite().all())
    if name in ("pca", "whiten"):
        assert float(module(x).abs().max()) < 1e9


@given(n=st.integers(1, 12), columns=st.integers(1, 6), unit=st.sampled_from([1e-4, 1.0, 1e4]), seed=st.integers(0, 9))
@settings(max_examples=25, deadline=None)
def test_any_shape_and_unit_gives_finite_features(n: int, columns: int, unit: float, seed: int) -> None:
    x = rows(n, columns, seed) * unit

    for name in FITTED:
        assert bool(fitted(name, {}, x)(x).isfinite().all()), name


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("pca", {"k": 0}),
        ("whiten", {"shrink": 1.5}),
        ("whiten", {"kind": "cholesky"}),
        ("random_features", {"kind": "sine"}),
        ("random_features", {"m": 10**9}),
        ("nystrom", {"k": 10**6}),
        ("rbf", {"width": 0.0}),
        ("polynomial", {"degree": 9}),
        ("spline", {"knots": 1}),
        ("positional", {"shortest": 4.0, "longest": 2.0}),
        ("spherical_harmonics", {"degree": 99}),
    ],
)
def test_an_impossible_config_is_refused(name: str, config: Make) -> None:
    with pytest.raises(BadManifest, match=name):
        find_function(name)(config)


def test_more_monomials_than_a_row_may_have_are_refused_before_they_are_listed() -> None:
    function: Any = find_function("polynomial")({"degree": 8})

    with pytest.raises(BadManifest, match="features"):
        function.module("vec.feat[B,D:5000]:f32")


def test_directions_need_three_columns() -> None:
    function: Any = find_function("spherical_harmonics")({})

    with pytest.raises(BadType, match="three columns"):
        function.module("vec.feat[B,D:4]:f32")


# Against scikit-learn and scipy


def test_principal_components_are_scikit_learns_but_for_the_sign() -> None:
    from sklearn.decomposition import PCA

    x = rows(50, 6)
    for whiten in (False, True):
        theirs = PCA(4, whiten=whiten, svd_solver="full").fit(x.double().numpy()).transform(x.double().numpy())

        ours = fitted("pca", {"k": 4, "whiten": whiten}, x)(x).double().numpy()

        # scikit-learn divides by n - 1, whitening here makes the training rows' own variance one
        theirs = theirs * (np.sqrt(50 / 49) if whiten else 1)
        assert np.allclose(np.abs(ours), np.abs(theirs), atol=1e-4)


@pytest.mark.parametrize("kind", ["zca", "pca"])
def test_white_columns_are_uncorrelated(kind: str) -> None:
    x = rows(200, 4) @ torch.randn(4, 4, generator=torch.Generator().manual_seed(1))

    y = fitted("whiten", {"kind": kind, "shrink": 0.0}, x)(x).double()

    assert torch.allclose(y.T @ y / 200, torch.eye(4, dtype=torch.float64), atol=1e-4)


def test_zca_changes_columns_less_than_any_other_whitening() -> None:
    x = rows(200, 4) @ torch.randn(4, 4, generator=torch.Generator().manual_seed(1))
    centered = x - x.mean(0)

    zca, pca = (fitted("whiten", {"kind": kind, "shrink": 0.0}, x)(x) for kind in ("zca", "pca"))

    assert float((zca - centered).square().sum()) < float((pca - centered).square().sum())


def kernel(x: torch.Tensor, scale: float) -> np.ndarray:
    from sklearn.metrics.pairwise import rbf_kernel

    return np.asarray(rbf_kernel(x.double().numpy(), gamma=scale**2 / (2 * x.shape[1])))


def test_random_features_approach_their_kernels() -> None:
    from sklearn.metrics.pairwise import laplacian_kernel

    x = rows(30, 5) / 2
    for kind, wanted in (
        ("gaussian", kernel(x, 1.0)),
        ("laplace", laplacian_kernel(x.double().numpy(), gamma=1 / 5)),
        ("relu", arc_cosine(x.double().numpy())),
    ):
        y = fitted("random_features", {"m": 16_384, "kind": kind}, x)(x).double().numpy()

        assert np.abs(y @ y.T - wanted).max() < 0.05 * np.abs(wanted).max(), kind


def arc_cosine(x: np.ndarray) -> np.ndarray:
    columns = x.shape[1]
    z = np.hstack([x, np.ones((len(x), 1))])
    sizes = np.linalg.norm(z, axis=1)
    angle = np.arccos(np.clip(z @ z.T / np.outer(sizes, sizes), -1, 1))
    return np.asarray(np.outer(sizes, sizes) * (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / np.pi / columns)


def test_orthogonal_directions_come_nearer_to_the_kernel_than_independent_ones() -> None:
    from sklearn.kernel_approximation import RBFSampler

    x = rows(60, 16) / 4
    wanted = kernel(x, 1.0)
    ours, theirs = [], []
    for seed in range(10):
        y = fitted("random_features", {"m": 128, "seed": seed}, x)(x).double().numpy()
        z = RBFSampler(gamma=1 / 32, n_components=128, random_state=seed).fit_transform(x.double().numpy())
        ours.append(np.abs(y @ y.T - wanted).mean())
        theirs.append(np.abs(z @ z.T - wanted).mean())

    assert np.mean(ours) < np.mean(theirs)


def test_random_features_never_change_between_versions() -> None:
    """Changed numbers would silently break every model fitted on these features: raise the opset instead."""
    x = torch.tensor([[1.0, -2.0, 0.5], [-1.0, 2.0, 0.5]])

    found = {
        kind: [round(v, 5) for v in fitted("random_features", {"m": 4, "kind": kind}, x)(x).flatten().tolist()]
        for kind in ("gaussian", "laplace", "relu")
    }

    assert all(found[kind] == pytest.approx(KNOWN_RANDOM[kind], abs=2e-5) for kind in KNOWN_RANDOM)


KNOWN_RANDOM = {
    "gaussian": [0.10025, 0.66094, 0.64303, 0.38697, -0.07036, 0.70703, 0.25407, 0.68908],
    "laplace": [-0.51606, -0.39932, -0.05336, 0.00636, -0.41289, -0.70699, -0.47891, 0.70128],
    "relu": [0.0, 0.0, 0.0, 0.0, 0.61813, 2.34171, 0.68122, 1.46852],
}


def test_nystrom_on_every_row_is_the_kernel_and_on_some_is_scikit_learns() -> None:
    from sklearn.kernel_approximation import Nystroem

    x = rows(30)
    wanted = kernel(x, 1.0)

    whole = fitted("nystrom", {"k": 64}, x)(x).double().numpy()

    assert np.allclose(whole @ whole.T, wanted, atol=1e-3)
    few = fitted("nystrom", {"k": 10}, x)
    landmarks = few.landmarks.double().numpy()
    theirs = Nystroem(gamma=1 / 6, n_components=10, random_state=0).fit(landmarks).transform(x.double().numpy())
    ours = few(x).double().numpy()
    assert np.allclose(ours @ ours.T, theirs @ theirs.T, atol=1e-3)


def test_bumps_are_highest_at_their_centers_and_may_sum_to_one() -> None:
    x = rows(30)
    module = fitted("rbf", {"k": 5}, x)

    at_centers = module(module.centers)

    assert torch.allclose(at_centers.diagonal(), torch.ones(5), atol=1e-5)
    assert bool((at_centers.argmax(1) == torch.arange(5)).all())
    shares = fitted("rbf", {"k": 5, "normalized": True}, x)(torch.cat([x, x * 1e3]))
    assert torch.allclose(shares.sum(1), torch.ones(60), atol=1e-5)


@pytest.mark.parametrize("degree", [1, 2, 3])
@pytest.mark.parametrize("interactions", [False, True])
def test_monomials_are_scikit_learns_in_its_order(degree: int, interactions: bool) -> None:
    from sklearn.preprocessing import PolynomialFeatures

    x = rows(10, 4)
    theirs = PolynomialFeatures(degree, interaction_only=interactions, include_bias=False).fit_transform(x.numpy())

    ours = fitted("polynomial", {"degree": degree, "interactions": interactions}, x)(x)

    assert np.allclose(ours.numpy(), theirs, rtol=1e-5)


@pytest.mark.parametrize("degree", [1, 2, 3, 5])
@pytest.mark.parametrize(("place", "theirs"), [("rank", "quantile"), ("value", "uniform")])
def test_splines_are_scikit_learns_inside_and_outside(degree: int, place: str, theirs: str) -> None:
    from sklearn.preprocessing import SplineTransformer

    x = rows(60)
    asked = torch.cat([rows(30, seed=5), rows(4, seed=6) * 20])
    reference = SplineTransformer(6, degree=degree, knots=theirs, extrapolation="constant").fit(x.double().numpy())

    ours = fitted("spline", {"knots": 6, "degree": degree, "place": place}, x)(asked)

    assert np.allclose(ours.numpy(), reference.transform(asked.double().numpy()), atol=2e-4)


@given(values=st.lists(st.sampled_from([0.0, 1.0, 2.0, 5.0, 5.5]), min_size=1, max_size=30))
@settings(max_examples=40, deadline=None)
def test_bumps_of_a_spline_sum_to_one_or_the_column_is_constant(values: list[float]) -> None:
    x = torch.tensor(values)[:, None]

    y = fitted("spline", {}, x)(torch.cat([x, x + 0.3, x * 9 - 4]))

    total = y.sum(1)
    assert torch.allclose(total, torch.ones_like(total) if len(set(values)) > 1 else torch.zeros_like(total), atol=1e-4)
    assert float(y.min()) > -1e-5


def test_waves_of_positions_have_the_lengths_asked_for() -> None:
    module = fitted("positional", {"m": 3, "shortest": 1.0, "longest": 4.0}, rows(1, 1))
    x = torch.linspace(0, 9, 50)[:, None]

    found = module(x)

    for at, length in enumerate([1.0, 2.0, 4.0]):
        assert torch.allclose(found[:, at] * 3**0.5, torch.sin(2 * torch.pi * x[:, 0] / length), atol=1e-4)
        assert torch.allclose(found[:, 3 + at] * 3**0.5, torch.cos(2 * torch.pi * x[:, 0] / length), atol=1e-4)


def test_harmonics_are_scipys_without_its_phase() -> None:
    from scipy.special import sph_harm_y

    x = rows(20)
    unit = (x / x.norm(dim=1, keepdim=True)).double().numpy()
    theta, phi = np.arccos(unit[:, 2]), np.arctan2(unit[:, 1], unit[:, 0])

    found = fitted("spherical_harmonics", {"degree": 6}, x)(x).double().numpy()

    at = 0
    for degree in range(7):
        for m in range(-degree, degree + 1):
            wave = sph_harm_y(degree, abs(m), theta, phi)
            sign = np.sqrt(2) * (-1) ** m
            wanted = wave.real if m == 0 else sign * wave.real if m > 0 else sign * wave.imag
            assert np.allclose(found[:, at], wanted, atol=1e-5), (degree, m)
            at += 1


def test_harmonics_do_not_see_length_and_know_no_direction_of_nothing() -> None:
    module = fitted("spherical_harmonics", {}, rows())
    x = rows(6)

    assert torch.allclose(module(x), module(x * 1e3), atol=1e-5)
    nothing = module(torch.zeros(1, 3))
    assert float(nothing[0, 0]) == pytest.approx(0.2820948) and not nothing[0, 1:].any()
