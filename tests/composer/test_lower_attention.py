"""What attends, against the same maths written out; where it starts; and that exported files agree at other sizes."""

import math

import pytest
import torch
from torch import Tensor
from torch.export import Dim

from composer._lower_attention import Attend, AttentionPool, Perceiver
from composer._lower_axes import Prefix, Rearrange, Resample, ResampleMask
from composer._lower_ops import Gate, Pool, Route, RouteByTag
from composer._lower_project import Project, orthonormal

X = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0))
SEEN = torch.arange(5) < torch.tensor([[3], [0], [5]])


def shaken(module: torch.nn.Module, seed: int = 1) -> torch.nn.Module:
    """Something else than the start in every parameter."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.5 * torch.randn(parameter.shape, generator=generator)
    return module


def test_attention_pooling_starts_as_the_masked_mean():
    torch.testing.assert_close(AttentionPool(1, 2, 4)(X, SEEN), Pool("mean", 1)(X, SEEN))
    torch.testing.assert_close(AttentionPool(1, 2, 4)(X), X.mean(1))


def test_attention_pooling_is_a_softmax_over_what_is_seen():
    pool = shaken(AttentionPool(1, 2, 4))

    found = pool(X, SEEN)

    weights = (X[0, :3] @ pool.query).softmax(0)
    torch.testing.assert_close(found[0], weights @ X[0, :3])
    assert torch.equal(found[1], torch.zeros(4))


def test_attention_pooling_takes_any_axis_of_a_map():
    maps, pool = torch.randn(2, 4, 3, 5), shaken(AttentionPool(2, 1, 4))

    found = pool(maps)  # (B, D, W)

    weights = torch.einsum("bdhw,d->bhw", maps, pool.query).softmax(1)
    torch.testing.assert_close(found, torch.einsum("bdhw,bhw->bdw", maps, weights))


def test_cross_attention_starts_as_its_query_and_learns_from_both_sides():
    q, kv = torch.randn(2, 3, 8, requires_grad=True), torch.randn(2, 6, 8, requires_grad=True)
    attend = Attend(8, 2, 2, "zero", 7)

    torch.testing.assert_close(attend(q, kv), q)

    shaken(attend)(q, kv).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in (q, kv, *attend.parameters()) if p.shape != ())


def test_cross_attention_is_the_maths_it_says():
    attend, kv = shaken(Attend(4, 2, 1, "random", 7)), X[:, :4]
    mask = torch.tensor([[True, True, False, False], [False] * 4, [True] * 4])

    found = attend(X, kv, mask)

    [layer] = attend.layers
    q, read = layer.norm_q(X), layer.norm_kv(kv)
    expected = X.clone()
    for b, seen in enumerate(mask):
        heads = []
        for h in (slice(0, 2), slice(2, 4)):
            scores = layer.wq(q[b])[:, h] @ layer.wk(read[b])[seen][:, h].T / math.sqrt(2)
            heads.append(scores.softmax(-1) @ layer.wv(read[b])[seen][:, h] if seen.any() else torch.zeros(5, 2))
        expected[b] = X[b] + layer.wo(torch.cat(heads, 1))
    torch.testing.assert_close(found, expected)


def test_cross_attention_reads_every_place_of_a_map_and_writes_a_row():
    q, maps = torch.randn(2, 4), torch.randn(2, 4, 3, 5)
    attend = shaken(Attend(4, 1, 1, "random", 7, features=(1, 1)))

    torch.testing.assert_close(attend(q, maps), attend(q, maps.flatten(2)))
    assert attend(q, maps).shape == (2, 4)


def test_a_perceiver_gives_weighted_means_that_start_close_to_the_mean():
    perceiver = Perceiver(1, 2, 4, 3, 7)

    assert (perceiver(X) - X.mean(1, keepdim=True)).abs().max() < 0.1
    shaken(perceiver)
    weights = (X[0, :3] @ perceiver.query.T / 2).softmax(0)  # (n, count)
    torch.testing.assert_close(perceiver(X, SEEN)[0], weights.T @ X[0, :3])
    assert torch.equal(perceiver(X, SEEN)[1], torch.zeros(3, 4))


def by_hand(x: Tensor, mode: str, count: int) -> Tensor:
    """One row (n, D) resampled."""
    n = len(x)
    if n == 0:
        return torch.zeros(count, x.shape[1])
    if mode == "pad-crop":
        return torch.cat([x, torch.zeros(max(count - n, 0), x.shape[1])])[:count]
    if mode == "stride":
        return x[[i * n // count for i in range(count)]]
    return torch.nn.functional.interpolate(x.T[None], count, mode="linear", align_corners=True)[0].T


@pytest.mark.parametrize("mode", ["interpolate", "stride", "pad-crop"])
@pytest.mark.parametrize("count", [1, 2, 4, 5, 9])
def test_resampling_sees_what_the_mask_shows_of_each_row(mode, count):
    if mode == "interpolate" and count == 1:
        pytest.skip("torch's own interpolation to one place is of another convention")
    resample = Resample(mode, 1, count)

    torch.testing.assert_close(resample(X, SEEN)[0], by_hand(X[0, :3], mode, count))
    torch.testing.assert_close(resample(X, SEEN)[1], torch.zeros(count, 4))
    torch.testing.assert_close(resample(X)[2], by_hand(X[2], mode, count))
    torch.testing.assert_close(Resample(mode, 2, count)(X.transpose(1, 2), SEEN), resample(X, SEEN).transpose(1, 2))


def test_the_mask_of_a_padded_row_ends_where_the_row_does():
    assert ResampleMask(4)(SEEN).tolist() == [[True, True, True, False], [False] * 4, [True] * 4]


def test_prefixes_start_as_copies_and_become_different_slots():
    prefix, x = Prefix(1, 3, 4, 2), torch.randn(2, 4)

    torch.testing.assert_close(prefix(x), x[:, None].expand(-1, 3, -1))
    shaken(prefix)
    torch.testing.assert_close(prefix(x)[:, 1], x * (1 + prefix.scale[1]) + prefix.shift[1])


@pytest.mark.parametrize(
    ("expr", "expected"),
    [
        ("B,D,H,W -> B,S=H*W,D", lambda x: x.flatten(2).transpose(1, 2)),
        ("B,D,H,W -> B,D=D*H,W", None),
        ("B,D=E:2*C,H,W -> B,E,H,W,C", lambda x: x.view(2, 2, 2, 3, 5).permute(0, 1, 3, 4, 2)),
        (
            "B,D=E*C:2,H,W -> B,K=C*E,S=W*H",
            lambda x: x.view(2, 2, 2, 3, 5).permute(0, 2, 1, 4, 3).flatten(1, 2).flatten(2),
        ),
    ],
)
def test_axis_expressions_split_order_and_flatten(expr, expected):
    x = torch.randn(2, 4, 3, 5)

    if expected is None:
        torch.testing.assert_close(Rearrange("B,D,H,W -> B,S=D*H,W")(x), x.flatten(1, 2))
    else:
        torch.testing.assert_close(Rearrange(expr)(x), expected(x))


def test_a_route_takes_the_largest_gates_and_learns_even_when_it_is_one():
    xs = [torch.randn(4, 6, requires_grad=True) for _ in range(3)]
    route = shaken(Route(3, 6, 1))

    found = route(*xs)

    gates = (torch.cat(xs, 1) @ route.weight.T + route.bias).softmax(1)
    best = gates.argmax(1)
    torch.testing.assert_close(found, torch.stack([gates[i, k] * xs[k][i] for i, k in enumerate(best.tolist())]))
    found.square().sum().backward()
    assert route.weight.grad is not None and route.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("top_k", [1, 2, 3])
def test_an_unfitted_route_is_its_first_operand_to_a_twentieth_of_a_percent(top_k):
    operands = [torch.ones(4, 6), torch.zeros(4, 6), torch.zeros(4, 6)]

    assert ((operands[0] - Route(3, 6, top_k)(*operands)).abs() <= 5.01e-4).all()


def test_a_tag_chooses_the_operand_of_its_number_and_of_another_number_none():
    xs = [torch.full((4, 2), float(k + 1)) for k in range(3)]

    assert RouteByTag()(*xs, torch.tensor([2, 0, 1, 7]))[:, 0].tolist() == [3.0, 1.0, 2.0, 0.0]


@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_a_gate_of_tokens_mixes_place_by_place(kind):
    xs, gate = [torch.randn(2, 3, 4) for _ in range(2)], shaken(Gate(2, 4, "first", kind))

    torch.testing.assert_close(gate(*xs)[:, 1], gate(*[x[:, 1] for x in xs]))


@pytest.mark.parametrize("kind", ["linear", "mlp", "lowrank", "orthogonal", "relative"])
@pytest.mark.parametrize(("d_in", "d_out"), [(6, 4), (4, 6)])
def test_projections_of_every_kind_learn_and_keep_other_axes(kind, d_in, d_out):
    x = torch.randn(3, d_in, 5, requires_grad=True)
    project = shaken(Project(d_in, d_out, "random", 7, 1, kind, 3))

    found = project(x)

    torch.testing.assert_close(found[:, :, 2], project(x[:, :, 2]))
    found.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in (x, *project.parameters()))


def test_projections_are_the_maths_they_say():
    x, make = torch.randn(3, 6), lambda kind: shaken(Project(6, 4, "random", 7, 1, kind, 3))

    p = make("mlp")
    hidden = torch.nn.functional.gelu(x @ p.up.T)
    torch.testing.assert_close(p(x), x @ p.weight.T + p.bias + hidden @ p.out.T)
    p = make("lowrank")
    torch.testing.assert_close(p(x), x @ (p.weight @ p.down).T + p.bias)
    p = make("orthogonal")
    q = orthonormal(p.weight)
    torch.testing.assert_close(q @ q.T, torch.eye(4))
    torch.testing.assert_close(orthonormal(q), q)
    torch.testing.assert_close(p(x), x @ q.T + p.bias)
    p = make("relative")
    torch.testing.assert_close(p(x), torch.cosine_similarity(x[:, None], p.weight[None], dim=-1))


@pytest.mark.parametrize("kind", ["linear", "mlp", "lowrank", "orthogonal"])
def test_procrustes_finds_a_rotation_and_a_shift_again(kind):
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(50, 6, generator=generator)
    turn = orthonormal(torch.randn(6, 6, generator=generator))
    target = (1.0 if kind == "orthogonal" else 2.5) * (x @ turn.T) + 4
    project = Project(6, 6, "procrustes", 7, 1, kind)

    project.start(x, target)

    torch.testing.assert_close(project(x), target, rtol=1e-3, atol=1e-3)


def test_without_a_target_a_projection_keeps_the_principal_directions():
    x = torch.randn(40, 6) * torch.tensor([9.0, 7, 0.1, 0.1, 0.1, 0.1]) + 3
    project = Project(6, 2, "pca", 7, 1)

    project.start(x)

    kept = project(x)
    torch.testing.assert_close(kept.mean(0), torch.zeros(2), atol=1e-3, rtol=0)
    assert kept.var(0).sum() / x.var(0).sum() > 0.99


def test_relative_anchors_are_rows_far_from_each_other():
    x = torch.eye(4).repeat(5, 1) + 0.01 * torch.randn(20, 4)
    project = Project(4, 4, "procrustes", 7, 1, "relative")

    project.start(x)

    assert sorted(project(torch.eye(4)).argmax(0).tolist()) == [0, 1, 2, 3]


B, T = Dim("b", min=1), Dim("t", min=1)
EXPORTED = {
    "attention pooling": (AttentionPool(1, 2, 4), True),
    "attend": (Attend(4, 2, 1, "random", 7), None),
    "perceiver": (Perceiver(1, 2, 4, 3, 7), True),
    "interpolate": (Resample("interpolate", 1, 6), True),
    "stride": (Resample("stride", 1, 6), True),
    "pad-crop": (Resample("pad-crop", 1, 6), True),
    "its mask": (ResampleMask(6), False),
    "last": (Pool("last", 1), True),
    "prefix": (Prefix(1, 3, 4, 3), None),
    "rearrange": (Rearrange("B,T,D=E:2*C -> B,E,S=T*C"), None),
    "gate": (Gate(1, 4, "first", "softmax"), None),
    "route": (Route(1, 4, 1), None),
    "orthogonal": (Project(4, 3, "random", 7, 2, "orthogonal"), None),
    "relative": (Project(4, 3, "random", 7, 2, "relative"), None),
}


@pytest.mark.parametrize("name", EXPORTED)
def test_an_exported_operation_agrees_at_other_batches_and_lengths(name):
    module, masked = EXPORTED[name]
    module = shaken(module).eval().requires_grad_(False)

    def given(rows: int, length: int) -> tuple[Tensor, ...]:
        x = torch.randn(rows, length, 4, generator=torch.Generator().manual_seed(rows))
        mask = torch.arange(length) < torch.tensor([[max(length - i, 0)] for i in range(rows)])
        if name == "attend":
            return x, x.flip(1), mask
        return (x, mask) if masked else (mask,) if masked is False else (x,)

    shapes = tuple({0: B, 1: T} for _ in given(3, 7))
    variadic = name in ("gate", "route")
    program = torch.export.export(module, given(3, 7), dynamic_shapes=(shapes,) if variadic else shapes).module()

    for rows, length in ((1, 5), (2, 1), (7, 19)):
        inputs = given(rows, length)
        torch.testing.assert_close(program(*inputs), module(*inputs))
