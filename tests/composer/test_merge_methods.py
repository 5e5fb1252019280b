"""Every merge method is its formula, written out plainly in float64, and does what it should at the edges."""

import itertools
import math
from typing import get_args

import numpy as np
import pytest
import torch

from composer._attributes import MergeMethod
from composer.errors import BadGraph
from composer.merge import MergeSpec, merge
from composer.merge.plan import METHODS
from priors.errors import BadWeights
from tests.composer._checkpoints import checkpoint, random_tensors, written

NAME = "model.layers.1.mlp.weight"


@pytest.fixture
def run(tmp_path):
    """run(method, arrays, base=array, **spec) -> the merged array in float64."""
    counter = itertools.count()

    def call(method, arrays, base=None, weights=None, dtype=torch.float32, **more):
        root = tmp_path / str(next(counter))
        models = [checkpoint(root / f"m{i}", {NAME: torch.as_tensor(a)}, dtype) for i, a in enumerate(arrays)]
        below = None if base is None else checkpoint(root / "base", {NAME: torch.as_tensor(base)}, dtype)
        merge(MergeSpec.of(method, models, base=below, weights=weights, **more), root / "out")
        return written(root / "out")[NAME].double().numpy()

    return call


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    base = rng.standard_normal((40, 30)).astype(np.float32)
    return base, [base + rng.standard_normal(base.shape).astype(np.float32) * 0.1 for _ in range(3)]


def close(found, wanted, rtol=1e-5):
    np.testing.assert_allclose(found, wanted, rtol=rtol, atol=rtol)


def wide(arrays):
    return [np.asarray(a, np.float64) for a in arrays]


def norm(x):
    return math.sqrt((x * x).sum())


def arc(t, a, b):
    angle = math.acos((a * b).sum() / norm(a) / norm(b))
    return (math.sin((1 - t) * angle) * a + math.sin(t * angle) * b) / math.sin(angle)


def largest(d, density):
    """Keep exactly the largest, of equals those that come first."""
    order = np.argsort(-np.abs(d).ravel(), kind="stable")[: max(1, int(density * d.size))]
    kept = np.zeros(d.size)
    kept[order] = 1
    return d * kept.reshape(d.shape)


def elected(deltas, weights):
    weighed = np.stack([w * d for w, d in zip(weights, deltas, strict=True)])
    sign = np.where(weighed.sum(0) >= 0, 1, -1)
    agree = np.sign(weighed) == sign
    share = (np.array(weights)[:, None, None] * agree).sum(0)
    return (weighed * agree).sum(0), np.where(share == 0, 1, share)


def test_linear(run, arrays):
    _, xs = arrays
    a, b, c = wide(xs)
    close(run("linear", xs, weights=[1, 2, 5]), (a + 2 * b + 5 * c) / 8)
    close(run("linear", xs, weights=[1, 2, 5], parameters={"normalize": False}), a + 2 * b + 5 * c)
    close(run("linear", xs[:1], weights=[3]), a)
    assert (run("linear", xs[:1], weights=[1]) == a).all()
    with pytest.raises(BadGraph, match="add up to 0"):
        run("linear", xs[:2], weights=[1, -1])


@pytest.mark.parametrize("t", [0, 0.3, 1])
def test_slerp(run, arrays, t):
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((2, 40, 30)).astype(np.float32)
    close(run("slerp", [y], x, parameters={"t": t}), arc(t, *wide([x, y])))
    for parallel in (2 * x, -3 * x):  # no arc between them: linear
        close(run("slerp", [parallel], x, parameters={"t": t}), (1 - t) * wide([x])[0] + t * wide([parallel])[0])
    close(run("slerp", [np.zeros_like(x)], x, parameters={"t": t}), math.sin((1 - t) * math.pi / 2) * wide([x])[0])


def test_nuslerp_goes_around_a_base(run):
    rng = np.random.default_rng(1)
    base, x, y = rng.standard_normal((3, 40, 30)).astype(np.float32)
    b, p, q = wide([base, x, y])
    close(run("nuslerp", [x, y], weights=[1, 3]), arc(0.75, p, q))
    close(run("nuslerp", [x, y], base, weights=[1, 3]), b + arc(0.75, p - b, q - b))


@pytest.mark.parametrize("based", [False, True])
def test_multislerp(run, arrays, based):
    base, xs = arrays
    zero = wide([base])[0] if based else 0
    offsets = [x - zero for x in wide(xs)]
    weights = np.array([0.2, 0.3, 0.5])
    mean = sum(w * x / norm(x) for w, x in zip(weights, offsets, strict=True))
    length = sum(w * norm(x) for w, x in zip(weights, offsets, strict=True))
    wanted = zero + mean / norm(mean) * length
    close(run("multislerp", xs, base if based else None, weights=[2, 3, 5]), wanted)


def test_multislerp_of_opposites(run, arrays):
    x = arrays[0]
    close(run("multislerp", [x, -x], weights=[1, 1]), 0 * x)
    other = np.roll(x, 1)
    with pytest.raises(BadGraph, match="cancel out"):
        run("multislerp", [x, -x, other, -other], weights=[1, 1, 1, 1])


def test_karcher_is_where_the_tangents_balance(run):
    rng = np.random.default_rng(1)
    xs = [x.astype(np.float32) * s for x, s in zip(rng.standard_normal((3, 40, 30)), (1, 2, 3), strict=True)]
    found = run("karcher", xs, parameters={"max_iter": 100, "tol": 1e-9})
    assert norm(found) == pytest.approx(np.mean([norm(x) for x in wide(xs)]), rel=1e-6)
    mean, pull = found / norm(found), np.zeros_like(found)
    for x in wide(xs):
        unit = x / norm(x)
        dot = (unit * mean).sum()
        pull += math.acos(dot) / math.sin(math.acos(dot)) * (unit - dot * mean)
    assert norm(pull) < 1e-5
    assert (run("karcher", xs[:1]) == wide(xs)[0]).all()
    assert not run("karcher", [0 * xs[0], 0 * xs[1]]).any()


def test_model_stock(run, arrays):
    base, xs = arrays
    b, offsets = wide([base])[0], [x - wide([base])[0] for x in wide(xs)]
    cosine = np.mean([(p * q).sum() / norm(p) / norm(q) for p, q in itertools.combinations(offsets, 2)])
    t = 3 * cosine / (1 + 2 * cosine)
    close(run("model_stock", xs, base), t * sum(wide(xs)) / 3 + (1 - t) * b)
    opposite = base + (base - xs[0])  # the formula has no value here: the base stays
    close(run("model_stock", [xs[0], opposite], base), b, rtol=1e-4)


def test_passthrough_scales(run, arrays):
    close(run("passthrough", [arrays[0]], parameters={"scale": 0.5}), wide([arrays[0]])[0] / 2)


def test_task_arithmetic(run, arrays):
    base, xs = arrays
    b, x, y, _ = wide([base, *xs])
    found = run("task_arithmetic", xs[:2], base, weights=[0.5, -2], parameters={"lambda": 0.3})
    close(found, b + 0.3 * (0.5 * (x - b) - 2 * (y - b)))
    assert (run("task_arithmetic", [base, base * 1], base, weights=[1, 1]) == b).all()


@pytest.mark.parametrize("density", [0, 0.001, 0.3, 0.999, 1])
def test_ties(run, arrays, density):
    base, xs = arrays
    deltas = [(x - base).astype(np.float64) for x in xs]
    thinned = [d if density >= 1 else 0 * d if density <= 0 else largest(d, density) for d in deltas]
    mixed, share = elected(thinned, [1, 2, 0.5])
    found = run("ties", xs, base, weights=[1, 2, 0.5], parameters={"density": density, "lambda": 0.7})
    close(found, wide([base])[0] + 0.7 * mixed / share)


def test_ties_of_equal_magnitudes_keep_the_first_of_the_tensor(run):
    x = np.ones((10, 10), np.float32)
    found = run("ties", [x], 0 * x, weights=[1], parameters={"density": 0.25})
    np.testing.assert_array_equal(found.ravel(), np.arange(100) < 25)


@pytest.mark.parametrize("density", [0.2, 0.5])
def test_ties_differs_from_a_sort_only_where_magnitudes_are_equal_to_a_threshold(run, density):
    rng = np.random.default_rng(3)
    base = torch.from_numpy(rng.standard_normal((120, 50), np.float32)).bfloat16()
    xs = [base + torch.from_numpy(rng.standard_normal(base.shape, np.float32) * 0.05).bfloat16() for _ in range(2)]
    deltas = [(x - base).double().numpy() for x in xs]
    count = int(density * base.numel())
    tied = np.zeros(tuple(base.shape), bool)
    thinned = []
    for d in deltas:
        order = np.argsort(-np.abs(d).ravel())  # unstable, as mergekit's: of equals any may be kept
        kept = np.zeros(d.size)
        kept[order[:count]] = 1
        thinned.append(d * kept.reshape(d.shape))
        threshold = np.abs(d).ravel()[order[count - 1]]
        assert (np.abs(d) == threshold).sum() > 5  # there are ties to decide
        tied |= np.abs(d) == threshold
    mixed, share = elected(thinned, [1, 1])

    found = run("ties", xs, base, weights=[1, 1], dtype=torch.bfloat16, parameters={"density": density})

    wanted = torch.from_numpy(mixed).bfloat16().double() / torch.from_numpy(share)
    wanted = (base.double() + wanted.bfloat16().double()).bfloat16().double().numpy()
    differ = found != wanted
    assert differ.any() and not (differ & ~tied).any()


def test_the_language_names_every_method_of_the_engine():
    assert set(get_args(MergeMethod)) == {*METHODS, "greedy_soup"}


def test_rescaling_gives_the_deltas_their_size_back(run, arrays):
    base, xs = arrays
    d = (xs[0] - base).astype(np.float64)
    kept = largest(d, 0.3)
    found = run("ties", xs[:1], base, weights=[1], parameters={"density": 0.3, "rescale": True, "normalize": False})
    close(found, wide([base])[0] + kept * np.abs(d).sum() / np.abs(kept).sum())


@pytest.mark.parametrize(("density", "gamma"), [(0.3, 0.05), (0.9, 0.3), (0.5, 0), (0.0005, 0.1)])
def test_breadcrumbs(run, arrays, density, gamma):
    base, xs = arrays
    d = (xs[0] - base).astype(np.float64)
    order = np.argsort(np.abs(d).ravel(), kind="stable")
    kept, top = int(density * d.size), int(gamma * d.size)
    start = max(0, d.size - kept - top)
    mask = np.zeros(d.size)
    mask[order[start : start + kept]] = 1
    found = run("breadcrumbs", xs[:1], base, weights=[1], parameters={"density": density, "gamma": gamma})
    close(found, wide([base])[0] + d * mask.reshape(d.shape))


@pytest.mark.parametrize("method", ["dare", "dare_ties"])
def test_dare_keeps_a_share_by_seed_and_tensor(run, method):
    rng = np.random.default_rng(0)
    base, x = rng.standard_normal((2, 200, 100)).astype(np.float32)
    settings = {"density": 0.3, "rescale": False}
    one = run(method, [x], base, weights=[1], parameters=settings) - base
    assert abs((one != 0).mean() - 0.3) < 0.02
    close(one[one != 0], (x - base)[one != 0])
    assert (one == run(method, [x], base, weights=[1], parameters=settings) - base).all()
    other = run(method, [x], base, weights=[1], parameters=settings, seed=1) - base
    assert abs(((one != 0) & (other != 0)).mean() - 0.09) < 0.02
    whole = run(method, [x], base, weights=[1], parameters={"density": 0.3}) - base
    assert np.abs(whole).sum() == pytest.approx(np.abs(x - base).sum(), rel=1e-4)
    assert (run(method, [x], base, weights=[1], parameters={"density": 0}) == wide([base])[0]).all()


def test_della_keeps_large_changes_more_often(run):
    rng = np.random.default_rng(0)
    base, x = rng.standard_normal((2, 300, 200)).astype(np.float32)
    settings = {"density": 0.5, "epsilon": 0.4, "rescale": False}
    kept = run("della", [x], base, weights=[1], parameters=settings) != base
    order = np.argsort(np.abs(x - base), axis=1)
    ranked = np.take_along_axis(kept, order, axis=1)
    for fifth, wanted in ((ranked[:, :40], 0.18), (ranked[:, 80:120], 0.5), (ranked[:, 160:], 0.82)):
        assert abs(fifth.mean() - wanted) < 0.03
    with pytest.raises(BadGraph, match="epsilon"):
        run("della", [x], base, weights=[1], parameters={"density": 0.1})


def test_nearswap(run, arrays):
    base, xs = arrays
    b, x = wide([base, xs[0]])
    share = np.clip(0.05 / np.maximum(np.abs(b - x), 1e-6), 0, 1)
    close(run("nearswap", xs[:1], base, parameters={"t": 0.05}), share * x + (1 - share) * b)
    close(run("nearswap", xs[:1], base, parameters={"t": 0}), b)


def test_ram(run, arrays):
    base, xs = arrays
    d = np.stack([(x - base).astype(np.float64) for x in xs])
    d = np.where(np.abs(d) > 0.1, d, 0)
    wanted = wide([base])[0] + d.sum(0) / np.maximum((d != 0).sum(0), 1)
    close(run("ram", xs, base, parameters={"epsilon": 0.1}), wanted)


@pytest.mark.parametrize("top", [0, 0.2, 1])
def test_sce(run, arrays, top):
    base, xs = arrays
    d = np.stack([(x - base).astype(np.float64) for x in xs])
    if top < 1:
        variance = d.var(0).ravel()
        kept = np.zeros(variance.size)
        kept[np.argsort(-variance, kind="stable")[: int((variance > 0).sum() * top)]] = 1
        d = d * kept.reshape(base.shape)
    weights = np.square(d).reshape(3, -1).mean(1)
    weights = np.full(3, 1 / 3) if weights.sum() < 1e-6 else weights / weights.sum()
    agree = np.sign(d) == np.where(d.sum(0) >= 0, 1, -1)
    share = weights[:, None, None] * agree
    wanted = wide([base])[0] + (d * share).sum(0) / np.maximum(share.sum(0), 1e-6)
    close(run("sce", xs, base, parameters={"select_topk": top}), wanted, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_method_takes_half_precision_and_blocks_of_any_number(run, monkeypatch, method, dtype):
    """Blocks are cut differently, and the bits stay."""
    rng = np.random.default_rng(3)
    base, *xs = rng.standard_normal((4, 30, 50)).astype(np.float32)
    known = METHODS[method]
    count = min(3, known.most or 3)
    more = {
        "weights": [0.5, 1.0, 0.25][:count] if "weight" in known.parameters else None,
        "parameters": {"t": 0.4}
        if "t" in known.parameters
        else {"density": 0.4}
        if "density" in known.parameters
        else {},
    }
    below = base if known.base == "required" else None

    one = run(method, xs[:count], below, dtype=dtype, **more)
    monkeypatch.setattr("composer.merge.group.BLOCK", 70)
    monkeypatch.setattr("composer.merge.group.Group.ranges.__defaults__", (70,), raising=False)
    other = run(method, xs[:count], below, dtype=dtype, **more)

    assert np.isfinite(one).all()
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("method", sorted(METHODS))
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_is_refused_by_tensor(run, arrays, method, bad):
    base, xs = arrays
    known = METHODS[method]
    count = min(3, known.most or 3)
    spoiled = [x.copy() for x in xs[:count]]
    spoiled[-1][3, 4] = bad
    weights = [1.0] * count if "weight" in known.parameters else None
    parameters = {"t": 0.5} if "t" in known.parameters else {}
    with pytest.raises(BadWeights, match=f"tensor {NAME}.*NaN or infinity"):
        run(method, spoiled, base if known.base == "required" else None, weights=weights, parameters=parameters)


def test_an_overflow_is_refused(run):
    x = np.full((3, 3), 6e4, np.float32)
    with pytest.raises(BadWeights, match="beyond the largest"):
        run("linear", [x], weights=[2], dtype=torch.float16, parameters={"normalize": False})


def test_integers_stay_when_all_agree(tmp_path):
    one = random_tensors(1) | {"steps": torch.tensor([1, 2])}
    a = checkpoint(tmp_path / "a", {}, config={})
    for folder, steps in (("b", [1, 2]), ("c", [1, 3])):
        from safetensors.torch import save_file

        (tmp_path / folder).mkdir()
        save_file(one | {"steps": torch.tensor(steps)}, tmp_path / folder / "model.safetensors")
    save_file(one, tmp_path / "a" / "model.safetensors")
    b, c = str(tmp_path / "b"), str(tmp_path / "c")

    merge(MergeSpec.of("linear", [a, b], weights=[1, 1]), tmp_path / "good")

    assert written(tmp_path / "good")["steps"].tolist() == [1, 2]
    with pytest.raises(BadWeights, match="tensor steps is I64"):
        merge(MergeSpec.of("linear", [a, c], weights=[1, 1]), tmp_path / "bad")
