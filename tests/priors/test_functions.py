"""The function priors: what they promise about their numbers, whatever the input."""

import hashlib
import io
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from priors.errors import BadAudio, BadImage, BadManifest, BadTable, BadText, BadType
from priors.registry import FUNCTION_IDS, find_function, function_signature, functions
from priors.types import parse

TEXT = ("char_ngrams", "word_ngrams", "text_statistics")
IMAGE = ("pixels", "oriented_gradients", "color_histogram")
AUDIO = ("mfcc_statistics", "log_mel_statistics")
FITTED = ("standardize", "quantile")
TENSOR = (*FITTED, "fourier_features")

SENTENCES = ["Free entry! Text WIN to 80086 now", "where are you?", "", "   ", "ÄÖÜ ﬁn 𝓕ree 東京 🎉", "a"]


def png(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(array).save(out, "PNG")
    return out.getvalue()


def noise_image(seed: int, height: int = 30, width: int = 40) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def tone(hz: float, seconds: float = 0.5, rate: int = 16_000) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def values_for(function: str) -> list[Any]:
    if function in TEXT:
        return SENTENCES
    if function in IMAGE:
        return [png(noise_image(0)), noise_image(1, 9, 7), np.zeros((8, 8), np.uint8)]
    return [tone(440), tone(3_000, 0.1), np.ones(1, np.float32)]


CONFIGS: list[tuple[str, dict[str, Any]]] = [
    ("char_ngrams", {}),
    ("char_ngrams", {"dim": 333, "n": [3], "lower": False}),
    ("word_ngrams", {}),
    ("word_ngrams", {"dim": 100, "n": [1, 3], "capitals": False}),
    ("text_statistics", {}),
    ("pixels", {}),
    ("pixels", {"size": 5, "gray": False}),
    ("oriented_gradients", {}),
    ("oriented_gradients", {"size": 16, "cell": 4, "orientations": 6, "signed": True}),
    ("color_histogram", {}),
    ("color_histogram", {"bins": [3, 1, 2]}),
    ("mfcc_statistics", {}),
    ("mfcc_statistics", {"rate": 8_000, "n_mels": 24, "n_mfcc": 13}),
    ("log_mel_statistics", {}),
    ("log_mel_statistics", {"n_mels": 16}),
]


# What holds for all of them


def test_every_class_has_a_signature_of_its_id() -> None:
    assert set(functions()) <= set(FUNCTION_IDS)
    assert {*TEXT, *IMAGE, *AUDIO, *TENSOR} <= set(functions())


@pytest.mark.parametrize(("name", "config"), CONFIGS)
def test_features_are_what_the_types_say(name: str, config: dict[str, Any]) -> None:
    function: Any = find_function(name)(config)
    values = values_for(name)

    found = function.extract(values)

    promised = parse(function.output_type)
    assert found.shape == (len(values), promised.dim("D"))
    assert found.dtype == np.float32 and found.flags.c_contiguous and np.isfinite(found).all()
    assert function_signature(name, config, parse(function.input_type)) == promised
    assert function.host and not function.fitted


@pytest.mark.parametrize(("name", "config"), CONFIGS)
def test_a_value_has_the_same_features_alone_and_among_others(name: str, config: dict[str, Any]) -> None:
    function: Any = find_function(name)(config)
    values = values_for(name)

    together = function.extract(values)

    alone = np.concatenate([function.extract([value]) for value in values])
    assert np.array_equal(together, alone)


@pytest.mark.parametrize("name", [*TEXT, *IMAGE, *AUDIO])
def test_no_values_give_no_rows(name: str) -> None:
    function: Any = find_function(name)({})

    assert function.extract([]).shape == (0, parse(function.output_type).dim("D"))


@pytest.mark.parametrize("name", [*TEXT, *IMAGE, *AUDIO, *TENSOR])
def test_an_unknown_config_key_is_refused_by_name(name: str) -> None:
    with pytest.raises(BadManifest, match="surprise"):
        find_function(name)({"surprise": 1})


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("char_ngrams", {"dim": 0}),
        ("char_ngrams", {"dim": 10**9}),
        ("char_ngrams", {"dim": "64"}),
        ("char_ngrams", {"n": []}),
        ("word_ngrams", {"n": [0]}),
        ("pixels", {"size": 100_000}),
        ("oriented_gradients", {"size": 30, "cell": 8}),
        ("oriented_gradients", {"size": 8, "cell": 8}),
        ("color_histogram", {"bins": [4, 4]}),
        ("mfcc_statistics", {"n_mels": 10, "n_mfcc": 11}),
        ("standardize", {"mode": "rows"}),
        ("standardize", {"weight": -1.0}),
        ("standardize", {"clip": 0.0}),
        ("quantile", {"knots": 1}),
        ("fourier_features", {"scale": 0.0}),
        ("fourier_features", {"seed": -1}),
    ],
)
def test_an_impossible_config_is_refused(name: str, config: dict[str, Any]) -> None:
    with pytest.raises(BadManifest, match=name):
        find_function(name)(config)


def test_features_are_the_same_in_another_process() -> None:
    script = (
        "import hashlib; from priors.registry import find_function as f; h = hashlib.sha256()\n"
        f"for name in {TEXT!r}: h.update(f(name)({{}}).extract({SENTENCES!r}).tobytes())\n"
        "waves = f('fourier_features')({'seed': 7}).module('vec.feat[B,D:3]:f32')\n"
        "h.update(waves.frequencies.numpy().tobytes()); print(h.hexdigest())"
    )
    digest = hashlib.sha256()
    for name in TEXT:
        digest.update(find_function(name)({}).extract(SENTENCES).tobytes())  # type: ignore[attr-defined]
    waves: Any = find_function("fourier_features")({"seed": 7})
    digest.update(waves.module("vec.feat[B,D:3]:f32").frequencies.numpy().tobytes())

    there = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
        env={"PYTHONHASHSEED": "123"},
    )

    assert there.stdout.strip() == digest.hexdigest()


# Text


KNOWN = {
    "char_ngrams": [
        *(-0.042503, 0.127509, 0.127509, 0.127509, 0.127509, 0.0, 0.0, -0.346096),
        *(-0.382527, 0.403778, 0.255018, -0.382527, -0.255018, -0.382527, 0.127509, -0.255018),
    ],
    "word_ngrams": [
        *(0.0, 0.632456, 0.316228, 0.0, -0.223607, 0.0, 0.0, 0.0),
        *(0.0, 0.223607, -0.223607, 0.0, -0.316228, -0.223607, -0.316228, 0.316228),
    ],
}


@pytest.mark.parametrize("name", ["char_ngrams", "word_ngrams"])
def test_hashed_features_never_change_between_versions(name: str) -> None:
    """A changed hash would silently break every model fitted on these features: raise the opset instead."""
    found = find_function(name)({"dim": 16}).extract(["Win 100 now"])[0]  # type: ignore[attr-defined]

    assert np.allclose(found, KNOWN[name], atol=1e-6)


@pytest.mark.parametrize("name", ["char_ngrams", "word_ngrams"])
@given(text=st.text(max_size=60))
@settings(max_examples=50, deadline=None)
def test_rows_of_ngrams_have_norm_one_or_zero(name: str, text: str) -> None:
    row = find_function(name)({"dim": 256}).extract([text])[0]  # type: ignore[attr-defined]

    norm = float(np.linalg.norm(row))
    assert norm == pytest.approx(1, abs=1e-5) or norm == 0


@pytest.mark.parametrize("name", ["char_ngrams", "word_ngrams"])
def test_case_is_ignored_when_capitals_are_off(name: str) -> None:
    function: Any = find_function(name)({"capitals": False})

    loud, quiet = function.extract(["FREE Entry to the ÄRA", "free entry to the ära"])

    assert np.array_equal(loud, quiet)


@pytest.mark.parametrize("name", ["char_ngrams", "word_ngrams"])
def test_capitals_add_to_what_a_word_shares_with_its_lower_case(name: str) -> None:
    function: Any = find_function(name)({})

    loud, quiet, other = function.extract(["FREE", "free", "lunch"])

    assert 0.3 < loud @ quiet < 0.95
    assert abs(loud @ other) < loud @ quiet


@pytest.mark.parametrize("name", ["char_ngrams", "word_ngrams"])
def test_digits_are_known_by_their_number_only_unless_asked(name: str) -> None:
    folded: Any = find_function(name)({})
    exact: Any = find_function(name)({"fold_digits": False})

    assert np.array_equal(*folded.extract(["call 07123", "call 99999"]))
    assert not np.array_equal(*exact.extract(["call 07123", "call 99999"]))


@pytest.mark.parametrize("name", ["char_ngrams", "word_ngrams"])
def test_styled_letters_are_plain_letters(name: str) -> None:
    function: Any = find_function(name)({})

    assert np.array_equal(*function.extract(["𝐅𝐫𝐞𝐞 ﬁsh", "Free fish"]))


def test_character_ngrams_stay_within_words() -> None:
    function: Any = find_function("char_ngrams")({})

    assert np.array_equal(*function.extract(["one two  three", "three\ttwo\none"]))


def test_words_in_another_order_differ_by_pairs_only() -> None:
    singles: Any = find_function("word_ngrams")({"n": [1]})
    pairs: Any = find_function("word_ngrams")({"n": [1, 2]})

    assert np.array_equal(*singles.extract(["dog bites man", "man bites dog"]))
    assert not np.array_equal(*pairs.extract(["dog bites man", "man bites dog"]))


@pytest.mark.parametrize("name", TEXT)
@pytest.mark.parametrize("value", [None, 3, b"bytes", float("nan")])
def test_what_is_no_text_is_refused_with_its_position(name: str, value: Any) -> None:
    function: Any = find_function(name)({})

    with pytest.raises(BadText, match=f"value 1 is {type(value).__name__}"):
        function.extract(["fine", value])


@pytest.mark.parametrize("name", TEXT)
@pytest.mark.parametrize(
    "text",
    ["word " * 200_000, "x" * 1_000_000, "!" * 1_000_000, "1-" * 500_000, "a.b" * 300_000, "\ud800\x00" * 10],
    ids=["words", "one word", "marks", "digits", "dots", "lone surrogates"],
)
def test_a_huge_or_strange_text_takes_linear_time(name: str, text: str) -> None:
    function: Any = find_function(name)({})
    started = time.perf_counter()

    found = function.extract([text])

    assert np.isfinite(found).all()
    assert time.perf_counter() - started < 10  # a quadratic scan takes hours; a slow machine does not


@pytest.mark.parametrize("name", TEXT)
def test_five_thousand_messages_take_seconds(name: str) -> None:
    function: Any = find_function(name)({})
    texts = [f"{SENTENCES[i % 2]} and number {i}, see you at {i % 24} o'clock" for i in range(5_000)]
    started = time.perf_counter()

    function.extract(texts)

    assert time.perf_counter() - started < 6  # measured 0.3 to 0.8 s on one core


def test_text_statistics_read_what_is_there() -> None:
    from priors.functions.text_statistics import NAMES, TextStatistics

    plain, spam, empty = (
        dict(zip(NAMES, row, strict=True))
        for row in TextStatistics({}).extract(
            ["see you soon.", "WIN £1,000 now!!! Call 0800 123 4567 or www.win.com", ""]
        )
    )

    for flag in ("has_url", "has_phone", "has_currency", "has_stretch", "starts_upper"):
        assert (plain[flag], spam[flag]) == (0, 1)
    assert plain["ends_period"] == 1 and plain["ends_question"] == 0
    assert spam["digit_share"] > plain["digit_share"] == 0
    assert spam["shouted_words"] > 0 and spam["exclamations"] > 0
    assert not any(empty.values())


def test_text_statistics_are_of_order_one() -> None:
    function: Any = find_function("text_statistics")({})

    found = function.extract([*SENTENCES, "word " * 20_000, "9" * 100_000, "?!" * 50_000])

    assert found.min() >= 0 and found.max() < 15


# Images


def test_pixels_are_the_small_image() -> None:
    gray = np.full((20, 30), 51, np.uint8)

    found = find_function("pixels")({"size": 4}).extract([gray])  # type: ignore[attr-defined]

    assert np.allclose(found, 0.2)


def test_gradients_ignore_brightness_and_follow_direction() -> None:
    function: Any = find_function("oriented_gradients")({})
    upright = np.zeros((48, 48), np.uint8)
    upright[:, 20:28] = 200
    brighter, lying = upright // 2, upright.T.copy()

    rows = function.extract([upright, brighter, lying, np.full((48, 48), 99, np.uint8)])

    size = np.linalg.norm(rows[0])
    assert rows[0] @ rows[1] / size / np.linalg.norm(rows[1]) > 0.99
    assert rows[0] @ rows[2] / size / np.linalg.norm(rows[2]) < 0.7
    assert not rows[3].any()


def test_a_turned_image_has_the_same_colors() -> None:
    function: Any = find_function("color_histogram")({})
    image = noise_image(3)

    upright, turned = function.extract([image, np.rot90(image).copy()])

    assert np.array_equal(upright, turned)
    assert np.linalg.norm(upright) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("name", IMAGE)
def test_a_broken_image_is_refused_by_its_name(name: str, tmp_path: Path) -> None:
    function: Any = find_function(name)({})
    (tmp_path / "cat.png").write_bytes(png(noise_image(0))[:400])

    with pytest.raises(BadImage, match=r"cat\.png"):
        function.extract([tmp_path / "cat.png"])


def digit_accuracy(name: str) -> float:
    """Nearest neighbor on scikit-learn's digits as PNG files, 16 labels a class, mean of 3 draws."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    rows = find_function(name)({}).extract([png(np.uint8(image * 255 / 16)) for image in digits.images])  # type: ignore[attr-defined]
    found = []
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(rows))
        train = np.concatenate([order[digits.target[order] == digit][:16] for digit in range(10)])
        test = np.setdiff1d(order, train)
        distance = (rows[train] ** 2).sum(1) - 2 * rows[test] @ rows[train].T
        found.append((digits.target[train][distance.argmin(1)] == digits.target[test]).mean())
    return float(np.mean(found))


def test_gradients_tell_digits_apart_from_sixteen_examples() -> None:
    assert digit_accuracy("oriented_gradients") > 0.95
    assert digit_accuracy("pixels") > 0.92


# Audio


@pytest.mark.parametrize("name", AUDIO)
def test_one_sample_is_a_recording_and_none_is_not(name: str) -> None:
    function: Any = find_function(name)({})

    found = function.extract([np.array([0.5], np.float32)])

    third = found.shape[1] // 3
    assert np.isfinite(found).all() and not found[0, third:].any()  # one frame neither spreads nor changes
    with pytest.raises(BadAudio, match="no samples"):
        function.extract([np.zeros(0, np.float32)])


def test_the_loudest_mel_band_rises_with_the_pitch() -> None:
    function: Any = find_function("log_mel_statistics")({})

    bands = function.extract([tone(hz) for hz in (200, 400, 1_000, 2_500, 6_000)])[:, :40].argmax(1)

    assert (np.diff(bands) > 0).all()


def test_timbre_hardly_depends_on_loudness_beyond_the_first_coefficient() -> None:
    function: Any = find_function("mfcc_statistics")({})
    noise = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)

    loud, quiet = function.extract([noise, noise / 4])

    assert abs(loud[0] - quiet[0]) > 1
    assert np.allclose(loud[1:], quiet[1:], atol=1e-3)


# Tensors


def rows(n: int = 50, columns: int = 3, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(2, 3, (n, columns)).astype(np.float32))


def fitted(name: str, config: dict[str, Any], x: torch.Tensor) -> torch.nn.Module:
    function: Any = find_function(name)(config)
    module: torch.nn.Module = function.module(f"tab.num[B,C:{x.shape[1]}]:f32")
    if function.fitted:
        module.load_state_dict(function.fit(x))
    return module.eval()


TENSOR_CONFIGS: list[tuple[str, dict[str, Any]]] = [
    ("standardize", {}),
    ("standardize", {"mode": "block", "weight": 0.25}),
    ("standardize", {"clip": 1.5}),
    ("quantile", {}),
    ("quantile", {"knots": 5, "output": "uniform"}),
    ("fourier_features", {}),
    ("fourier_features", {"m": 8, "scale": 2.0, "seed": 3}),
]


@pytest.mark.parametrize(("name", "config"), TENSOR_CONFIGS)
def test_tensor_functions_give_the_shape_their_type_says(name: str, config: dict[str, Any]) -> None:
    function: Any = find_function(name)(config)
    x = rows()

    found = fitted(name, config, x)(x)

    promised = parse(function.output_type_for("tab.num[B,C:3]:f32"))
    assert found.shape == (50, promised.axes[-1].dim)
    assert found.dtype == torch.float32 and bool(found.isfinite().all())
    assert promised == function_signature(name, config, parse("tab.num[B,C:3]:f32"))


@pytest.mark.parametrize(("name", "config"), TENSOR_CONFIGS)
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_exported_tensor_functions_equal_eager_at_other_batch_sizes(name: str, config: dict[str, Any]) -> None:
    module = fitted(name, config, rows())
    batch = torch.export.Dim("batch", min=1, max=4_096)

    program = torch.export.export(module, (rows(4),), dynamic_shapes=({0: batch},)).module()

    for n in (1, 2, 63):
        x = rows(n, seed=n)
        assert torch.equal(program(x), module(x))


@pytest.mark.parametrize(("name", "config"), TENSOR_CONFIGS)
def test_the_order_of_training_rows_does_not_matter_beyond_rounding(name: str, config: dict[str, Any]) -> None:
    x = rows()

    assert torch.allclose(fitted(name, config, x)(x), fitted(name, config, x.flip(0))(x), atol=1e-6)


@pytest.mark.parametrize("name", FITTED)
def test_fitting_twice_gives_equal_bits(name: str) -> None:
    function: Any = find_function(name)({})

    first, second = function.fit(rows()), function.fit(rows())

    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("name", FITTED)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_missing_numbers_are_refused_with_row_and_column(name: str, bad: float) -> None:
    function: Any = find_function(name)({})
    x = rows()
    x[7, 2] = bad

    with pytest.raises(BadTable, match="row 7, column 2"):
        function.fit(x)


@pytest.mark.parametrize("name", FITTED)
def test_nothing_is_learned_from_no_rows(name: str) -> None:
    function: Any = find_function(name)({})

    with pytest.raises(BadTable, match="learns from rows"):
        function.fit(torch.zeros(0, 3))


@pytest.mark.parametrize("name", TENSOR)
def test_a_free_number_of_columns_is_refused(name: str) -> None:
    function: Any = find_function(name)({})

    with pytest.raises(BadType, match="fixed number of columns"):
        function.module("tab.num[B,C]:f32")


def test_standardized_columns_have_mean_zero_and_variance_one() -> None:
    x = torch.cat([rows() * torch.tensor([1e-3, 1.0, 1e4]), torch.full((50, 1), 7.3)], 1)

    y = fitted("standardize", {}, x)(x)

    assert torch.allclose(y.mean(0), torch.zeros(4), atol=1e-5)
    assert torch.allclose(y.std(0, correction=0), torch.tensor([1.0, 1.0, 1.0, 0.0]), atol=1e-5)


@given(weight=st.floats(0.01, 100), unit=st.sampled_from([1e-4, 1.0, 1e5]), columns=st.integers(1, 40))
@settings(max_examples=30, deadline=None)
def test_a_standardized_block_has_the_asked_size_in_any_unit_and_width(
    weight: float, unit: float, columns: int
) -> None:
    x = rows(columns=columns) * unit

    y = fitted("standardize", {"mode": "block", "weight": weight}, x)(x)

    assert float((y**2).sum(1).mean()) == pytest.approx(weight, rel=1e-4)


def test_a_value_far_from_all_others_is_held_to_the_clip() -> None:
    x = rows()
    far = torch.cat([x[:1] * 1e4, x[1:2]])

    plain, held = fitted("standardize", {}, x)(far), fitted("standardize", {"clip": 2.0}, x)(far)

    assert float(plain[0].abs().min()) > 2
    torch.testing.assert_close(held, plain.clamp(-2, 2))
    assert torch.equal(held[1], plain[1])


def test_a_constant_block_is_zero() -> None:
    x = torch.full((5, 3), 0.1)

    assert not fitted("standardize", {"mode": "block"}, x)(x).any()


def monotone(column: torch.Tensor) -> bool:
    return bool((column.diff() >= 0).all())


@pytest.mark.parametrize("make", [lambda x: x, torch.exp, lambda x: x.round(), lambda x: (x > 2).float()])
@pytest.mark.parametrize("knots", [2, 3, 16, 64])
def test_quantiles_never_decrease_and_stay_within_the_training_ranks(
    make: Callable[[torch.Tensor], torch.Tensor], knots: int
) -> None:
    module = fitted("quantile", {"knots": knots, "output": "uniform"}, make(rows()))
    line = torch.linspace(-1e4, 1e4, 2_001).sinh().clamp(-1e6, 1e6)[:, None].expand(-1, 3)

    y = module(torch.cat([line, make(rows(500)).sort(0).values]).sort(0).values)

    assert all(monotone(y[:, column]) for column in range(3))
    assert float(y.min()) > 0 and float(y.max()) < 1


def test_quantiles_of_many_rows_look_normal_whatever_the_tail() -> None:
    x = rows(2_000, 2).mul(2).exp()

    y = fitted("quantile", {}, x)(x)

    assert torch.allclose(y.mean(0), torch.zeros(2), atol=0.02)
    assert torch.allclose(y.std(0), torch.ones(2), atol=0.03)


def test_quantiles_do_not_depend_on_the_unit() -> None:
    x = rows()

    plain, scaled = fitted("quantile", {}, x)(x), fitted("quantile", {}, x * 4)(x * 4)

    assert torch.equal(plain, scaled)


def test_equal_values_share_the_middle_of_their_places() -> None:
    x = torch.tensor([[0.0], [0.0], [1.0], [5.0]])

    y = fitted("quantile", {"output": "uniform"}, x)(torch.tensor([[0.0], [1.0], [5.0], [3.0], [-9.0]]))

    assert y[:, 0].tolist() == pytest.approx([0.25, 0.625, 0.875, 0.75, 0.25])


def test_fourier_features_approximate_their_kernel() -> None:
    x = rows(20, 4) / 3

    y = fitted("fourier_features", {"m": 20_000, "scale": 1.5, "seed": 1}, x)(x)

    kernel = torch.exp(-(1.5**2) * torch.cdist(x, x) ** 2 / (2 * 4))
    assert torch.allclose(y @ y.T, kernel, atol=0.03)


def test_another_seed_draws_other_frequencies() -> None:
    x = rows()

    assert not torch.equal(fitted("fourier_features", {"seed": 1}, x)(x), fitted("fourier_features", {"seed": 2}, x)(x))
