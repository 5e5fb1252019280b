"""Gated fusion: every backend against the definition in float64, by one protocol."""

from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kernels.errors import ShapeMismatch
from kernels.gated_fusion import _cpu, _reference, gated_fusion
from tests.kernels._guard import GuardedMemory, guarded

ROWS = [0, 1, 2, 3, 15, 16, 17, 63, 65, 127, 1025]
WIDTHS = [1, 2, 15, 16, 17, 63, 64, 65, 127, 131]
EPS = 1e-5
FEW_ULP = 8 * torch.finfo(torch.float32).eps


@pytest.fixture(autouse=True)
def _the_kernel_runs_here():
    if reason := _cpu.refusal([torch.zeros(1, 1)]):
        pytest.skip(f"no CPU kernel: {reason}")


@dataclass(frozen=True)
class Case:
    blocks: tuple[Tensor, ...]
    logits: Tensor
    weight: Tensor | None
    bias: Tensor | None

    def leaves(self, dtype: torch.dtype) -> "Case":
        """The same numbers as tensors that want gradients; the layout is kept when the dtype is."""

        def leaf(x: Tensor | None) -> Tensor | None:
            return None if x is None else x.detach().to(dtype).requires_grad_()

        return Case(tuple(leaf(b) for b in self.blocks), leaf(self.logits), leaf(self.weight), leaf(self.bias))

    @property
    def tensors(self) -> list[Tensor]:
        return [x for x in (*self.blocks, self.logits, self.weight, self.bias) if x is not None]


def lay_out(x: Tensor, layout: str) -> Tensor:
    """The values of x (n, d) in another memory layout."""
    n, d = x.shape
    match layout:
        case "rows apart":
            return torch.full((n, d + 5), torch.nan)[:, :d].copy_(x)
        case "columns apart":
            return torch.full((n, 2 * d), torch.nan)[:, ::2].copy_(x)
        case "transposed":
            return x.t().contiguous().t()
        case "one row for all":
            return x[:1].expand(n, d) if n else x
        case _:
            return guarded(x)


LAYOUTS = ["guarded", "rows apart", "columns apart", "transposed", "one row for all"]


@st.composite
def cases(draw) -> Case:
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    rows, width, count = draw(st.sampled_from(ROWS)), draw(st.sampled_from(WIDTHS)), draw(st.integers(1, 9))
    scale = draw(st.sampled_from([1e-3, 1.0, 30.0]))

    def values(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    blocks = tuple(lay_out(values(rows, width) * scale, draw(st.sampled_from(LAYOUTS))) for _ in range(count))
    logits = lay_out(values(rows, count) * draw(st.sampled_from([0.0, 1.0, 50.0])), draw(st.sampled_from(LAYOUTS[:4])))
    # A LayerNorm over one or two columns has no gradient but rounding; it has a test of its own below.
    norm = draw(st.sampled_from(["none", "weight", "weight and bias"])) if width > 2 else "none"
    weight = None if norm == "none" else guarded(values(width))
    return Case(blocks, logits, weight, guarded(values(width)) if norm == "weight and bias" else None)


def run(function, case: Case, dy: Tensor) -> list[Tensor]:
    """The output, then the gradients of all inputs."""
    y = function(case.blocks, case.logits, case.weight, case.bias, EPS)
    return [y.detach(), *torch.autograd.grad(y, case.tensors, dy.to(y.dtype))]


def amplification(case: Case) -> float:
    """How many times LayerNorm enlarges a rounding error of the mixed row: the largest |z| / std, at least 1."""
    if case.weight is None or not case.blocks[0].numel():
        return 1.0
    z = _reference.gated_fusion([b.double() for b in case.blocks], case.logits.double(), None, None, EPS)
    return max(1.0, (z.abs().amax(1) / (z.var(1, correction=0) + EPS).sqrt()).max().item())


def check_close(case: Case) -> None:
    """The rule of the flash-attention tests: at most twice the error of eager float32, or a few ulp as amplified.

    A logit's gradient is what is left of sums over a row, which may be far larger than it: a few ulp of those, then.
    """
    dy = guarded(torch.randn(case.blocks[0].shape, generator=torch.Generator().manual_seed(1)))
    exact = run(_reference.gated_fusion, case.leaves(torch.float64), dy)
    eager = run(_reference.gated_fusion, case.leaves(torch.float32), dy)
    ours = run(_cpu.gated_fusion, case.leaves(torch.float32), dy)
    ulps = FEW_ULP * amplification(case)
    count = len(case.blocks)
    sums = max(
        (float((g * b).abs().sum(1).max()) for g, b in zip(exact[1:], case.blocks, strict=False) if b.numel()),
        default=0.0,
    )
    for place, (want, plain, got) in enumerate(zip(exact, eager, ours, strict=True)):
        assert got.shape == want.shape
        if want.numel():
            size = max(1.0, want.abs().max().item(), sums if place == count + 1 else 0.0)
            allowed = max(2 * (plain - want).abs().max().item(), ulps * size)
            error = (got - want).abs().max().item()
            assert error <= allowed, f"result {place}: error {error:.3g}, allowed {allowed:.3g}"


@settings(max_examples=120)
@given(cases())
def test_the_kernel_is_as_exact_as_eager_for_any_shape_and_layout(case):
    check_close(case)


def test_a_layer_norm_over_one_or_two_columns_gives_signs():
    weight, bias = torch.tensor([2.0, 3.0]), torch.tensor([0.5, -0.5])

    one = gated_fusion([torch.randn(5, 1)], torch.zeros(5, 1), weight[:1], bias[:1])
    two = gated_fusion([torch.tensor([[1.0, 9.0], [4.0, -4.0]])], torch.zeros(2, 1), weight, bias)

    assert torch.equal(one, bias[:1].expand(5, 1))
    torch.testing.assert_close(two, torch.tensor([[-1.5, 2.5], [2.5, -3.5]]))


@pytest.mark.parametrize(("count", "rows", "width"), [(3, 17, 37), (1, 1, 1), (4, 33, 64), (70, 5, 9), (2, 130, 1030)])
@pytest.mark.parametrize("norm", [False, True])
def test_the_kernel_writes_all_of_its_buffers_and_nothing_else(count, rows, width, norm):
    blocks = [guarded(torch.randn(rows, width)).requires_grad_() for _ in range(count)]
    logits = guarded(torch.randn(rows, count)).requires_grad_()
    weight, bias = (guarded(torch.randn(width)).requires_grad_() if norm else None for _ in range(2))

    with GuardedMemory() as memory:
        y = _cpu.gated_fusion(blocks, logits, weight, bias, EPS)
        wanted = [x for x in (*blocks, logits, weight, bias) if x is not None]
        gradients = torch.autograd.grad(y, wanted, guarded(torch.ones(rows, width)))

    assert memory.intact
    assert not any(x.isnan().any() for x in (y, *gradients))


def test_gradients_hold_in_float64():
    blocks = [torch.randn(5, 7, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    logits = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    weight, bias = (torch.randn(7, dtype=torch.float64, requires_grad=True) for _ in range(2))

    assert torch.autograd.gradcheck(lambda g, w, b, *x: gated_fusion(x, g, w, b), (logits, weight, bias, *blocks))
    assert torch.autograd.gradcheck(lambda g, *x: gated_fusion(x, g), (logits, *blocks))


def test_bits_do_not_depend_on_the_number_of_threads():
    case = Case(tuple(torch.randn(999, 129) for _ in range(3)), torch.randn(999, 3), torch.randn(129), torch.randn(129))
    dy, before, results = torch.randn(999, 129), torch.get_num_threads(), []
    try:
        for threads in (1, 2, 1, 3):
            torch.set_num_threads(threads)
            results.append(run(gated_fusion, case.leaves(torch.float32), dy))
    finally:
        torch.set_num_threads(before)

    for result in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], result, strict=True))


def test_huge_logits_choose_one_block_without_overflow():
    blocks, logits = [torch.randn(4, 33) for _ in range(3)], torch.full((4, 3), -1e30)
    logits[:, 1] = 3e38

    assert torch.equal(gated_fusion(blocks, logits), blocks[1])


@pytest.mark.parametrize("poison", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("where", ["block", "logits", "weight", "all logits"])
def test_nan_and_inf_pass_through_as_in_the_reference(poison, where):
    blocks, logits, weight = [torch.randn(6, 35) for _ in range(2)], torch.randn(6, 2), torch.randn(35)
    match where:
        case "block":
            blocks[1][2, 34] = poison
        case "logits":
            logits[2, 0] = poison
        case "all logits":
            logits[2] = poison
        case "weight":
            weight[3] = poison

    for w in (weight, None):
        want = _reference.gated_fusion(blocks, logits, w, None, EPS)
        got = _cpu.gated_fusion(blocks, logits, w, None, EPS)
        torch.testing.assert_close(got, want, equal_nan=True)


def test_denormal_blocks_are_not_flushed():
    tiny = torch.full((2, 20), 1e-40)

    assert torch.equal(_cpu.gated_fusion([tiny], torch.zeros(2, 1), None, None, EPS), tiny)


def test_one_stacked_tensor_is_taken_like_a_sequence():
    stacked = torch.randn(3, 10, 21, requires_grad=True)
    logits = torch.randn(10, 3)

    y = gated_fusion(stacked, logits)
    (gradient,) = torch.autograd.grad(y.sum(), stacked)

    assert torch.equal(y, gated_fusion([stacked[0], stacked[1], stacked[2]], logits))
    assert gradient.shape == stacked.shape


def test_gradients_are_made_only_for_what_wants_them():
    frozen, trained = torch.randn(8, 16), torch.randn(8, 16, requires_grad=True)
    logits, weight = torch.randn(8, 2), torch.randn(16, requires_grad=True)

    gated_fusion([frozen, trained], logits, weight, torch.zeros(16)).square().sum().backward()

    assert frozen.grad is None and logits.grad is None
    assert trained.grad is not None and weight.grad is not None


def test_a_graph_can_be_walked_twice_but_not_differentiated_twice():
    blocks, logits = [torch.randn(3, 4, requires_grad=True)], torch.randn(3, 1)
    y = gated_fusion(blocks, logits).square().sum()

    first = torch.autograd.grad(y, blocks, retain_graph=True)
    second = torch.autograd.grad(y, blocks, create_graph=True)

    assert torch.equal(first[0], second[0])
    with pytest.raises(RuntimeError, match="once_differentiable"):
        second[0].sum().backward()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_other_dtypes_take_the_reference_and_keep_their_dtype(dtype):
    blocks, logits = [torch.randn(4, 8, dtype=dtype) for _ in range(2)], torch.randn(4, 2, dtype=dtype)

    assert gated_fusion(blocks, logits, torch.ones(8, dtype=dtype)).dtype == dtype


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (([], torch.zeros(2, 0)), "at least one block"),
        (([torch.zeros(2, 3), torch.zeros(2, 4)], torch.zeros(2, 2)), "block 1 is (2, 4)"),
        (([torch.zeros(2, 3), torch.zeros(2, 3).double()], torch.zeros(2, 2)), "one dtype"),
        (([torch.zeros(2, 3)], torch.zeros(2, 2)), "gate_logits is (2, 2)"),
        (([torch.zeros(2, 3)], torch.zeros(2, 1), torch.zeros(4)), "weight is (4,)"),
        (([torch.zeros(2, 3)], torch.zeros(2, 1), None, torch.zeros(3)), "bias is given without weight"),
    ],
)
def test_arguments_that_do_not_fit_are_named(arguments, said):
    with pytest.raises(ShapeMismatch) as error:
        gated_fusion(*arguments)

    assert said in str(error.value)


def test_compile_and_export_trace_the_reference():
    class Fuse(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.randn(12))

        def forward(self, a: Tensor, b: Tensor, logits: Tensor) -> Tensor:
            return gated_fusion([a, b], logits, self.weight)

    module, inputs = Fuse(), (torch.randn(6, 12), torch.randn(6, 12), torch.randn(6, 2))
    want = module(*inputs)

    compiled = torch.compile(module, backend="eager", fullgraph=True)(*inputs)
    rows = torch.export.Dim("rows")
    exported = torch.export.export(module, inputs, dynamic_shapes=({0: rows}, {0: rows}, {0: rows}))
    other = (torch.randn(9, 12), torch.randn(9, 12), torch.randn(9, 2))

    torch.testing.assert_close(compiled, want)
    torch.testing.assert_close(exported.module()(*other), module(*other))


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("total(square) / (float)D + eps", "total(square) / (float)D"),
        ("keep(load(out + whole, D - whole) - mu, D - whole)", "(load(out + whole, D - whole) - mu)"),
        ("gate[k] * (dlogit[k] - mixed)", "gate[k] * dlogit[k]"),
        ("load(dz + d, LANES) - a - load", "load(dz + d, LANES) - load"),
        ("*product += wg * xhat;", ""),
        ("store(dbias + d, load(dbias + d, n) + g, n);", ""),
    ],
)
def test_a_broken_kernel_is_noticed(right, wrong, tmp_path, monkeypatch):
    source = _cpu.SOURCE.read_text()
    assert right in source
    (tmp_path / "_cpu.c").write_text(source.replace(right, wrong))
    monkeypatch.setattr(_cpu, "SOURCE", tmp_path / "_cpu.c")
    _cpu._kernel.cache_clear()
    small = torch.Generator().manual_seed(3)
    blocks = tuple(torch.randn(21, 83, generator=small) * 1e-2 for _ in range(3))
    case = Case(blocks, torch.randn(21, 3, generator=small), torch.ones(83), torch.zeros(83))

    try:
        with pytest.raises(AssertionError, match="error"):
            check_close(case)
    finally:
        _cpu._kernel.cache_clear()
