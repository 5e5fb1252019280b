"""Merging blocks of weights: the compiled kernel has the reference's bits, the reference the formula's values."""

import subprocess
import sys

import numpy as np
import pytest

from kernels.errors import NotFinite, ShapeMismatch
from kernels.merge import DTYPES, Raw, Sparse, _reference, combine, deltas, gram, histogram, norms

SIZES = (1, 127, 1024, 4097)


def block(size, dtype, seed=0, scale=1.0):
    x = np.random.default_rng(seed).standard_normal(size).astype(np.float32) * np.float32(scale)
    return Raw(_reference.from_float(x, dtype), dtype)


def blank(size, dtype):
    return Raw(np.zeros(size, np.float32 if dtype == "F32" else np.uint16), dtype)


def wide(raw):
    return _reference.to_float(raw).astype(np.float64)


@pytest.fixture(params=["cpu", "reference"])
def backend(request, monkeypatch):
    monkeypatch.setenv("KERNELS", request.param)
    return request.param


def both(monkeypatch, call):
    """What each backend gives for the same call."""
    found = []
    for name in ("cpu", "reference"):
        monkeypatch.setenv("KERNELS", name)
        found.append(call())
    return found


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_16_bit_pattern_and_every_rounding_is_that_of_numpy(backend, dtype):
    rng = np.random.default_rng(1)
    x = np.concatenate(
        [rng.standard_normal(20_000) * 10.0 ** rng.integers(-9, 5, 20_000), np.arange(4_097) / 2048, [65_519.0, -6e-8]]
    ).astype(np.float32)
    x = x[np.abs(x) < 65_520]
    given, out = Raw(x, "F32"), blank(x.size, dtype)

    combine([given], [1.0], 1.0, out)

    np.testing.assert_array_equal(out.values, _reference.from_float(x, dtype))
    again = blank(x.size, "F32")
    combine([out], [1.0], 1.0, again)
    np.testing.assert_array_equal(again.values, _reference.to_float(out))
    if dtype == "F16":
        np.testing.assert_array_equal(out.values.view(np.float16), x.astype(np.float16))


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_weighted_sum_is_the_formula_and_has_the_same_bits_in_both_backends(monkeypatch, size, dtype, fused):
    inputs = [block(size, dtype, seed) for seed in range(3)]

    def call():
        out = blank(size, dtype)
        combine(inputs, [0.2, -1.5, 3.0], 1.7, out, fused=fused)
        return out

    ours, reference = both(monkeypatch, call)
    np.testing.assert_array_equal(ours.values, reference.values)
    wanted = sum(c * wide(x) for c, x in zip([0.2, -1.5, 3.0], inputs, strict=True)) / 1.7
    np.testing.assert_allclose(wide(ours), wanted, rtol=2**-8, atol=2**-8)


@pytest.mark.parametrize("size", SIZES)
def test_products_are_summed_in_double(backend, size):
    inputs, base = [block(size, "F32", seed) for seed in range(3)], block(size, "BF16", 9)
    for beside, zero in ((None, 0), (base, wide(base))):
        sums = np.ones((3, 3))

        gram(inputs, beside, sums)

        wanted = np.array([[(wide(a) - zero) @ (wide(b) - zero) for b in inputs] for a in inputs])
        np.testing.assert_allclose(sums - 1, np.triu(wanted), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("work", DTYPES)
@pytest.mark.parametrize("size", SIZES)
def test_two_passes_of_the_histogram_count_every_magnitude(backend, size, work):
    x, base = block(size, "F32", 1), block(size, "F32", 2)
    sizes = _reference.rounded(x.values - base.values, work).view(np.uint32) & 0x7FFFFFFF
    upper = int(np.sort(sizes)[size // 2]) >> 15
    coarse, fine = np.zeros((4, 65_536), np.uint32), np.zeros((4, 65_536), np.uint32)

    histogram(x, base, work, coarse)
    histogram(x, base, work, fine, upper)

    np.testing.assert_array_equal(coarse.sum(0), np.bincount(sizes >> 15, minlength=65_536))
    inside = sizes[sizes >> 15 == upper] & 0x7FFF
    np.testing.assert_array_equal(fine.sum(0)[:32_768], np.bincount(inside, minlength=32_768))


def rules(size, seed=3):
    """One of each mode; the window's bounds are values that many elements have."""
    keep = np.random.default_rng(seed).integers(0, 2, size).astype(np.uint8)
    edge = [int(np.float32(v).view(np.uint32)) for v in (0.5, 1.5)]
    return [
        Sparse(weight=0.75),
        Sparse("none"),
        Sparse("window", 2.0, 0.5, low=edge[0], high=edge[1], low_from=1, low_to=3, high_to=2),
        Sparse("random", 1.25, -1.0, key=0x1234_5678_9ABC_DEF0, limit=2**31),
        Sparse("bytes", bytes=keep),
    ]


@pytest.mark.parametrize("consensus", [False, True])
@pytest.mark.parametrize("work", DTYPES)
@pytest.mark.parametrize("size", SIZES)
def test_thinned_deltas_have_the_same_bits_in_both_backends(monkeypatch, size, work, consensus):
    rng = np.random.default_rng(5)
    grid = rng.integers(-4, 5, (6, size)).astype(np.float32) / 2  # many equal magnitudes, many zeros
    *inputs, base = [Raw(_reference.from_float(row, work), work) for row in grid]

    def call():
        kept, out = rules(size), blank(size, work)
        deltas(
            inputs, base, work, kept, out, 3 << 32, consensus=consensus, normalize=True, lambda_=0.3, divisor=1.5
        )  # fmt: skip
        return out.values, [(rule.seen_low, rule.seen_high) for rule in kept]

    ours, reference = both(monkeypatch, call)
    np.testing.assert_array_equal(ours[0], reference[0])
    assert ours[1] == reference[1]


def test_ties_are_kept_in_the_order_of_the_tensor_over_blocks(backend):
    size, edge = 5_000, int(np.float32(1.0).view(np.uint32))
    ones, base = Raw(np.ones(size, np.float32), "F32"), blank(size, "F32")
    rule = Sparse("window", low=edge, low_from=10, low_to=7_000)
    found = []
    for first in (0, size):
        out = blank(size, "F32")
        deltas([ones], base, "F32", [rule], out, first, consensus=False, normalize=False)
        found.append(out.values)

    wanted = np.zeros(2 * size, np.float32)
    wanted[10:7_000] = 1
    np.testing.assert_array_equal(np.concatenate(found), wanted)


def test_a_window_of_one_magnitude_keeps_what_both_bounds_let_through(backend):
    edge = int(np.float32(1.0).view(np.uint32))
    x = Raw(np.array([1, 2, 1, 0.5, 1, 1], np.float32), "F32")
    out = blank(6, "F32")
    rule = Sparse("window", low=edge, high=edge, low_from=1, low_to=9, high_to=3)

    deltas([x], blank(6, "F32"), "F32", [rule], out, 0, consensus=False, normalize=False)

    np.testing.assert_array_equal(out.values, [0, 0, 1, 0, 1, 0])


def test_norms_are_those_before_and_after_thinning(backend):
    size = 4_097
    x, base = block(size, "F32", 1), block(size, "F32", 2)
    whole = np.abs(x.values - base.values).astype(np.float64)
    edge = int(np.float32(1.0).view(np.uint32))

    before, after = norms(x, base, "F32", Sparse("window", low=edge), 0)

    assert before == pytest.approx(whole.sum(), rel=1e-12)
    assert after == pytest.approx(whole[whole > 1].sum(), rel=1e-12)


def test_draws_are_even_and_differ_by_key_and_place(backend):
    size = 200_000
    ones, base = Raw(np.ones(size, np.float32), "F32"), blank(size, "F32")

    def kept(key, first=0):
        out = blank(size, "F32")
        rule = Sparse("random", key=key, limit=int(0.3 * 2**32))
        deltas([ones], base, "F32", [rule], out, first, consensus=False, normalize=False)
        return out.values != 0

    one, other, later = kept(1), kept(1 << 32), kept(1, 1 << 33)
    assert abs(one.mean() - 0.3) < 0.005
    np.testing.assert_array_equal(one, kept(1))
    np.testing.assert_array_equal(one[7:], kept(1, 7)[:-7])
    for different in (other, later):
        assert abs((one & different).mean() - 0.09) < 0.005


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_no_number_is_refused_and_so_is_a_result_that_does_not_fit(backend, bad, dtype):
    good, out = block(2_000, dtype), blank(2_000, dtype)
    x = np.zeros(2_000, np.float32)
    x[1_500] = bad
    odd = Raw(x, "F32")
    sums, table = np.zeros((2, 2)), np.zeros((4, 65_536), np.uint32)
    for call in (
        lambda: combine([good, odd], [1, 0], 1, out),
        lambda: gram([good, odd], None, sums),
        lambda: histogram(odd, good, "F32", table),
        lambda: norms(odd, good, "F32", Sparse(), 0),
        lambda: deltas([odd], good, "F32", [Sparse("none")], out, 0, consensus=True, normalize=True),
    ):
        with pytest.raises(NotFinite, match="an input"):
            call()
    with pytest.raises(NotFinite, match="beyond"):
        combine([Raw(np.full(2_000, 3e38, np.float32), "F32")], [2.0], 1.0, out)


def test_shapes_dtypes_and_counts_that_do_not_fit_are_refused(backend):
    good = block(10, "F32")
    for wrong in ([good, block(9, "F32")], [], [Raw(good.values, "BF16")], [Raw(block(20, "F32").values[::2], "F32")]):
        with pytest.raises(ShapeMismatch):
            combine(wrong, [1.0] * len(wrong), 1.0, blank(10, "F32"))
    with pytest.raises(ShapeMismatch, match="rules"):
        deltas([good], good, "F32", [], blank(10, "F32"), 0, consensus=False, normalize=False)


def test_nothing_of_it_imports_torch():
    code = "import sys, kernels.merge as m; m._cpu.refusal(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
