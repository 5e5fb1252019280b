"""Functions of images and series: what they compute, what they do not see, and that they export."""

import io
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from priors.errors import BadAudio, BadManifest, BadTable, BadType
from priors.registry import find_function, function_signature
from priors.types import parse

Make = dict[str, Any]

GRAY, COLOR = "image.pixels[B,C:1,H:16,W:16]:f32", "image.pixels[B,C:3,H:12,W:16]:f32"
ONE, TWO = "series.num[B,T:24,C:1]:f32", "series.num[B,T:30,C:2]:f32"
ROW = "vec.feat[B,D:6]:f32"
SMALL: Make = {"scales": 2, "angles": 2}

CONFIGS: list[tuple[str, Make, str]] = [
    ("dct", {"keep": 4}, GRAY),
    ("dct", {"keep": 99}, COLOR),
    ("dct", {}, TWO),
    ("dct", {"keep": 3}, ROW),
    ("wavelet_scattering", SMALL, GRAY),
    ("wavelet_scattering", {**SMALL, "order": 1}, COLOR),
    ("wavelet_scattering", {"scales": 3}, TWO),
    ("group_average", {"group": "dihedral", "inner": {"fn": "dct", "config": {"keep": 3}}}, GRAY),
    ("group_average", {"group": "flip_h"}, COLOR),
    ("group_average", {"group": "reverse", "inner": {"fn": "series_statistics"}}, TWO),
    ("group_average", {"parts": 3}, ROW),
    ("canonicalize", {"group": "turn_90"}, GRAY),
    ("canonicalize", {"group": "turn_180"}, COLOR),
    ("canonicalize", {"group": "reverse"}, TWO),
    ("canonicalize", {"parts": 3}, ROW),
    ("series_statistics", {}, ONE),
    ("series_statistics", {}, TWO),
    ("rocket", {"features": 84 * 3}, ONE),
    ("rocket", {"features": 84 * 5, "soft": 0.5}, TWO),
]
ids = [f"{name} {config} {port.split('[')[0]}" for name, config, port in CONFIGS]


def values(port: str, n: int = 6, seed: int = 0) -> torch.Tensor:
    shape = [int(str(axis.dim)) for axis in parse(port).axes[1:]]
    return torch.from_numpy(np.random.default_rng(seed).normal(0.5, 1, (n, *shape)).astype(np.float32))


def fitted(name: str, config: Make, port: str) -> torch.nn.Module:
    function: Any = find_function(name)(config)
    module: torch.nn.Module = function.module(port)
    if function.fitted:
        module.load_state_dict(function.fit(values(port, 20)))
    return module.eval()


@pytest.mark.parametrize(("name", "config", "port"), CONFIGS, ids=ids)
def test_the_shape_is_what_the_type_says(name: str, config: Make, port: str) -> None:
    function: Any = find_function(name)(config)

    found = fitted(name, config, port)(values(port))

    promised = parse(function.output_type_for(port))
    assert promised == function_signature(name, config, parse(port))
    assert list(found.shape[1:]) == [axis.dim for axis in promised.axes[1:]] and len(found) == 6
    assert found.dtype == torch.float32 and bool(found.isfinite().all()) and bool(found.any())


@pytest.mark.parametrize(("name", "config", "port"), CONFIGS, ids=ids)
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_an_exported_function_equals_eager_at_other_batch_sizes(name: str, config: Make, port: str) -> None:
    module = fitted(name, config, port)
    batch = torch.export.Dim("batch", min=1, max=4_096)

    program = torch.export.export(module, (values(port, 4),), dynamic_shapes=({0: batch},)).module()

    for n in (1, 2, 17):
        x = values(port, n, seed=n)
        assert torch.allclose(program(x), module(x), atol=1e-6)


@pytest.mark.parametrize(("name", "config", "port"), CONFIGS, ids=ids)
def test_gradients_are_those_of_the_formula(name: str, config: Make, port: str) -> None:
    if name == "rocket" and not config.get("soft"):
        pytest.skip("counts have no gradient; with `soft` they do")
    module = fitted(name, config, port).double()
    x = values(port, 2, seed=3).double().requires_grad_(True)

    assert torch.autograd.gradcheck(module, (x,), fast_mode=True)


@pytest.mark.parametrize(("name", "config", "port"), CONFIGS, ids=ids)
def test_a_value_has_the_same_features_alone_and_among_others(name: str, config: Make, port: str) -> None:
    x = values(port)
    module = fitted(name, config, port)

    alone = torch.cat([module(x[i : i + 1]) for i in range(3)])

    assert torch.allclose(alone, module(x)[:3], atol=1e-5)


@pytest.mark.parametrize(
    ("name", "config", "port", "error"),
    [
        ("dct", {"keep": 0}, ROW, BadManifest),
        ("dct", {}, "series.num[B,T,C:1]:f32", BadType),
        ("wavelet_scattering", {"scales": 6}, GRAY, BadType),
        ("wavelet_scattering", {"order": 3}, GRAY, BadManifest),
        ("group_average", {"group": "turn_90"}, COLOR, BadType),
        ("group_average", {"group": "flip_h"}, ROW, BadType),
        ("group_average", {"parts": 4}, ROW, BadManifest),
        ("group_average", {"parts": 7}, "vec.feat[B,D:7]:f32", BadManifest),
        ("group_average", {"parts": 2, "inner": {"fn": "pca"}}, ROW, BadManifest),
        ("group_average", {"parts": 2, "inner": {"fn": "pixels"}}, ROW, BadManifest),
        ("group_average", {"parts": 2, "inner": {"fn": "group_average", "config": {}}}, ROW, BadManifest),
        ("group_average", {"parts": 2, "inner": {"do": "dct"}}, ROW, BadManifest),
        ("group_average", {"group": "flip_h", "inner": {"fn": "polynomial"}}, GRAY, BadType),
        ("canonicalize", {"group": "reverse"}, GRAY, BadType),
        ("series_statistics", {}, "series.num[B,T:1,C:1]:f32", BadType),
        ("rocket", {}, "series.num[B,T:8,C:1]:f32", BadType),
        ("rocket", {"features": 10**9}, ONE, BadManifest),
    ],
)
def test_what_cannot_be_is_refused(name: str, config: Make, port: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        find_function(name)(config).module(port)  # type: ignore[attr-defined]


def test_raw_values_need_a_grid_first() -> None:
    from priors.functions.signatures import find_signature

    with pytest.raises(BadType, match="image_grid"):
        find_signature("dct").takes(parse("image.raw[B]:u8"))
    with pytest.raises(BadType, match="series_grid"):
        find_signature("rocket").takes(parse("series.raw[B]:f32"))


# Grids


def test_the_grid_of_an_image_is_what_pixels_gives() -> None:
    files = []
    for seed in range(3):
        out = io.BytesIO()
        Image.fromarray(np.random.default_rng(seed).integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(out, "PNG")
        files.append(out.getvalue())
    grid: Any = find_function("image_grid")({"size": 9, "gray": False})
    pixels: Any = find_function("pixels")({"size": 9, "gray": False})

    found = grid.extract(files)

    assert found.shape == (3, 3, 9, 9) and grid.output_type == "image.pixels[B,C:3,H:9,W:9]:f32"
    assert np.array_equal(found.transpose(0, 2, 3, 1).reshape(3, -1), pixels.extract(files))


def test_series_are_stretched_between_their_ends_and_kept_where_they_fit() -> None:
    grid: Any = find_function("series_grid")({"length": 5})

    found = grid.extract([[0.0, 1.0, 2.0], np.arange(5.0), [7.0], "[1, 3]"])

    assert found[:, :, 0].tolist() == [[0, 0.5, 1, 1.5, 2], [0, 1, 2, 3, 4], [7] * 5, [1, 1.5, 2, 2.5, 3]]
    two: Any = find_function("series_grid")({"length": 3, "channels": 2, "scale": True})
    assert two.extract([[[1, 2, 3], [5, 5, 5]]])[0, :, 1].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    "bad", [[], [[1, 2], [3]], [1, float("nan")], ["a"], None, np.zeros((2, 2, 2)), [[1, 2], [3, 4]]]
)
def test_what_is_no_series_is_refused_with_its_row(bad: Any) -> None:
    grid: Any = find_function("series_grid")({})

    with pytest.raises(BadTable, match="series 1"):
        grid.extract([[1.0, 2.0], bad])


# Against scipy


def test_cosines_are_scipys_and_keep_lengths() -> None:
    from scipy.fft import dctn

    for port, axes in ((GRAY, (2, 3)), (ONE, (1,)), (ROW, (1,))):
        x = values(port)
        found = fitted("dct", {"keep": 4}, port)(x)
        wanted = dctn(x.double().numpy(), type=2, norm="ortho", axes=axes)
        wanted = wanted[:, :, :4, :4] if port == GRAY else wanted[:, :4]
        assert np.allclose(found.numpy(), wanted.reshape(6, -1), atol=1e-5)
        whole = fitted("dct", {"keep": 99}, port)(x)
        assert torch.allclose(whole.norm(dim=1), x.flatten(1).norm(dim=1), rtol=1e-5)


def test_statistics_of_series_are_numpys_and_scipys() -> None:
    from scipy.stats import kurtosis, skew

    from priors.functions._grids import STATISTICS
    from priors.functions.series_statistics import NAMES

    assert len(NAMES) == len(set(NAMES)) == STATISTICS
    x = values(TWO)
    found = dict(zip(NAMES, fitted("series_statistics", {}, TWO)(x)[:, 24:].T.numpy(), strict=True))  # second channel
    y = x[:, :, 1].double().numpy()

    for name, wanted in (
        ("mean", y.mean(1)),
        ("deviation", y.std(1)),
        ("largest", y.max(1)),
        ("skewness", np.arcsinh(skew(y, axis=1))),
        ("kurtosis", np.log1p(kurtosis(y, axis=1, fisher=False))),
        ("trend", [np.corrcoef(np.arange(30), one)[0, 1] for one in y]),
    ):
        assert np.allclose(found[name], wanted, atol=1e-4), name
    bands = np.stack([found[f"band_{k}"] for k in range(6)])
    assert np.allclose(np.square(bands).sum(0), 1, atol=1e-3)


def test_a_flat_series_and_a_black_image_have_finite_features_and_gradients() -> None:
    for name, config, port in CONFIGS:
        module = fitted(name, config, port)
        x = torch.zeros_like(values(port, 2)).requires_grad_(True)
        y = module(x)
        if y.requires_grad:
            y.sum().backward()
            assert x.grad is not None and bool(x.grad.isfinite().all()), (name, config)
        assert bool(y.isfinite().all()), (name, config)


# What scattering does not see


def test_scattering_hardly_changes_when_the_image_moves_a_little_and_pixels_do() -> None:
    port = "image.pixels[B,C:1,H:32,W:32]:f32"
    blob = torch.zeros(1, 1, 32, 32)
    blob[:, :, 10:20, 12:18] = 1
    moved = blob.roll(1, 3)
    module = fitted("wavelet_scattering", {}, port)

    change = float((module(blob) - module(moved)).norm() / module(blob).norm())

    assert change < 0.5 * float((blob - moved).norm() / blob.norm())
    turned = module(blob.transpose(2, 3))
    assert float((module(blob) - turned).norm() / module(blob).norm()) > change


def test_the_finest_wavelet_hears_the_highest_tone() -> None:
    port = "series.num[B,T:64,C:1]:f32"
    steps = torch.arange(64, dtype=torch.float32)
    module = fitted("wavelet_scattering", {"scales": 3, "order": 1}, port)

    found = [module(torch.cos(2.356 / 2**k * steps)[None, :, None]).reshape(4, 8).mean(1)[1:] for k in range(3)]

    assert [int(one.argmax()) for one in found] == [0, 1, 2]


def test_wavelets_do_not_see_brightness() -> None:
    module = fitted("wavelet_scattering", SMALL, GRAY)

    found = module(torch.full((1, 1, 16, 16), 0.7)).reshape(9, -1)  # 1 + 2 * 2 + 2 * 2 paths

    assert torch.allclose(found[0], torch.tensor(0.7), atol=1e-5) and float(found[1:].abs().max()) < 1e-4


# Symmetry


GROUPS = [
    ("flip_h", GRAY, lambda x: x.flip(3)),
    ("flip_v", COLOR, lambda x: x.flip(2)),
    ("turn_180", COLOR, lambda x: x.flip(2, 3)),
    ("turn_90", GRAY, lambda x: torch.rot90(x, 1, (2, 3))),
    ("dihedral", GRAY, lambda x: torch.rot90(x, 3, (2, 3)).flip(3)),
    ("reverse", TWO, lambda x: x.flip(1)),
]


@pytest.mark.parametrize(("group", "port", "move"), GROUPS, ids=[g[0] for g in GROUPS])
@given(seed=st.integers(0, 1_000))
@settings(max_examples=8, deadline=None)
def test_averages_and_choices_do_not_see_what_the_group_does(group: str, port: str, move: Any, seed: int) -> None:
    x = values(port, 3, seed)

    average = fitted("group_average", {"group": group, "inner": {"fn": "dct", "config": {"keep": 3}}}, port)
    choice = fitted("canonicalize", {"group": group}, port)

    assert torch.allclose(average(move(x)), average(x), atol=1e-5)
    assert torch.equal(choice(move(x)), choice(x))
    assert not torch.allclose(fitted("dct", {"keep": 3}, port)(move(x)), fitted("dct", {"keep": 3}, port)(x), atol=1e-3)


@given(order=st.permutations(range(4)), seed=st.integers(0, 1_000), ties=st.booleans())
@settings(max_examples=40, deadline=None)
def test_parts_may_change_places(order: list[int], seed: int, ties: bool) -> None:
    port = "vec.feat[B,D:8]:f32"
    x = values(port, 3, seed)
    x = x.round() if ties else x
    moved = torch.cat([x.chunk(4, 1)[k] for k in order], 1)
    average = fitted("group_average", {"parts": 4, "inner": {"fn": "polynomial"}}, port)
    choice = fitted("canonicalize", {"parts": 4}, port)

    assert torch.allclose(average(moved), average(x), atol=1e-4)
    assert torch.equal(choice(moved), choice(x))
    assert torch.equal(choice(x).sort(1).values, x.sort(1).values)  # nothing was lost


# ROCKET


def test_the_kernels_are_the_published_eighty_four() -> None:
    from priors.functions.rocket import _widths, kernels

    found = kernels()
    assert found.shape == (84, 9) and len({tuple(one) for one in found}) == 84
    assert (found.sum(1) == 0).all() and ((found == 2).sum(1) == 3).all()
    dilations, counts = _widths(150, 119, 32)
    assert dilations[0] == 1 and dilations[-1] <= 149 / 8 and sum(counts) == 119


def test_a_threshold_is_passed_by_its_share_of_the_training_moments() -> None:
    port = "series.num[B,T:60,C:1]:f32"
    function: Any = find_function("rocket")({"features": 84 * 4})
    x = values(port, 40)
    module = function.module(port)
    module.load_state_dict(function.fit(x))

    shares = module(x).mean(0).numpy()

    level = ((np.arange(84 * 4) + 1) * ((5**0.5 + 1) / 2)) % 1.0
    assert np.abs(shares - (1 - level)).mean() < 0.05


def test_fitting_rocket_twice_or_in_another_order_gives_equal_bits() -> None:
    function: Any = find_function("rocket")({"features": 84 * 4})
    x = values(TWO, 30)

    first, second, turned = function.fit(x), function.fit(x.clone()), function.fit(x.flip(0))

    assert all(torch.equal(first[key], second[key]) and torch.equal(first[key], turned[key]) for key in first)


def test_rocket_refuses_what_is_missing_and_nothing_at_all() -> None:
    function: Any = find_function("rocket")({})
    x = values(ONE)
    x[2, 5, 0] = float("nan")

    with pytest.raises(BadTable, match="row 2, step 5"):
        function.fit(x)
    with pytest.raises(BadTable, match="learns from series"):
        function.fit(torch.zeros(0, 24, 1))


def test_soft_counts_approach_counts() -> None:
    x = values(ONE, 5, seed=2)
    hard, soft = (fitted("rocket", {"features": 252, "soft": soft}, ONE) for soft in (0.0, 1e-4))

    assert float((hard(x) - soft(x)).abs().mean()) < 1e-3


# Sound


def test_moments_of_sound_follow_pitch_noise_and_loudness() -> None:
    from priors.functions.spectral_moments import NAMES, SpectralMoments

    time = np.arange(16_000) / 16_000
    rng = np.random.default_rng(0)
    low, high = (0.3 * np.sin(2 * np.pi * hz * time).astype(np.float32) for hz in (200, 3_000))
    noise = rng.normal(0, 0.1, 16_000).astype(np.float32)

    rows = SpectralMoments({}).extract([low, high, noise, low / 4, np.zeros(1, np.float32)])

    low_row, high_row, noise_row, soft_row, silent = (dict(zip(NAMES, row[:9], strict=True)) for row in rows)
    assert rows.shape == (5, 27) and np.isfinite(rows).all() and not rows[4, 9:].any()
    assert high_row["crossings"] == pytest.approx(2 * 3_000 / 16_000, abs=0.02)
    assert high_row["centroid"] == pytest.approx(3_000 / 8_000, abs=0.02)
    assert low_row["centroid"] < high_row["centroid"]
    assert noise_row["flatness"] > 0.3 > low_row["flatness"] and noise_row["spread"] > high_row["spread"]
    assert soft_row["loudness"] < low_row["loudness"] and soft_row["centroid"] == pytest.approx(low_row["centroid"])
    assert silent["crossings"] == 0
    with pytest.raises(BadAudio, match="no samples"):
        SpectralMoments({}).extract([np.zeros(0, np.float32)])
