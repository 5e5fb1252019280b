"""Linear layers and attention of encoders: the kernel for processors with AMX against the definition in float64."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from kernels.encoder import _cpu, _reference, attention, linear
from kernels.errors import ShapeMismatch
from tests.kernels._guard import GuardedMemory, guarded

BELOW = 2e-5
"""Of the length of a row of x times that of a row of weight, as the docstring promises."""


@pytest.fixture
def amx():
    if reason := _cpu._machine():
        pytest.skip(f"no CPU kernel: {reason}")


def lengths(x, weight):
    return x.norm(dim=-1, keepdim=True) * weight.norm(dim=1)


@pytest.mark.parametrize("gelu", [False, True])
@pytest.mark.parametrize(
    "rows, k, n", [(1, 1, 1), (15, 31, 17), (33, 32, 16), (64, 65, 33), (700, 96, 48), (70, 800, 5)]
)
@pytest.mark.usefixtures("amx")
def test_a_linear_layer_is_the_definition_up_to_its_promised_error(rows, k, n, gelu):
    torch.manual_seed(rows)
    x, weight, bias = guarded(torch.randn(rows, k)), guarded(torch.randn(n, k)), guarded(torch.randn(n))

    with GuardedMemory() as memory:
        y = _cpu.linear(x, weight, bias, gelu)

    wanted = _reference.linear(x.double(), weight.double(), bias.double(), gelu)
    assert ((y - wanted).abs() <= BELOW * lengths(x, weight) + 1e-6).all()
    assert memory.intact


@pytest.mark.usefixtures("amx")
def test_a_row_has_the_same_bits_in_any_company_and_layout():
    torch.manual_seed(0)
    x, weight = torch.randn(300, 70), torch.randn(40, 70)

    whole = _cpu.linear(x, weight, None, False)

    assert torch.equal(_cpu.linear(x[17:18], weight, None, False), whole[17:18])
    assert torch.equal(_cpu.linear(x.t().contiguous().t(), weight, None, False), whole)
    assert torch.equal(_cpu.linear(x.view(3, 100, 70), weight, None, False), whole.view(3, 100, 40))
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert torch.equal(_cpu.linear(x, weight, None, False), whole)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.usefixtures("amx")
def test_a_changed_weight_is_read_again_and_a_dead_one_is_forgotten():
    x, weight = torch.randn(4, 32), nn.Parameter(torch.randn(8, 32), requires_grad=False)
    before = _cpu.linear(x, weight, None, False)
    weight.mul_(2)
    torch.testing.assert_close(_cpu.linear(x, weight, None, False), 2 * before)
    held = len(_cpu._packed)
    del weight
    assert len(_cpu._packed) == held - 1


@pytest.mark.usefixtures("amx")
def test_what_is_not_a_number_is_seen():
    x, weight = torch.randn(4, 32), torch.randn(8, 32)
    x[1, 3], x[2, 5] = torch.nan, torch.inf
    y = _cpu.linear(x, weight, None, False)
    assert y[[0, 3]].isfinite().all() and not y[1:3].isfinite().any()
    assert not _cpu.linear(x, weight, None, True)[1].isfinite().any()


@pytest.mark.parametrize(
    "b, h, queries, keys, width", [(1, 1, 1, 1, 1), (2, 3, 17, 40, 24), (1, 2, 33, 64, 70), (2, 2, 5, 31, 32)]
)
@pytest.mark.parametrize("masked", ["nothing", "keys", "pairs"])
@pytest.mark.usefixtures("amx")
def test_attention_is_the_definition(b, h, queries, keys, width, masked):
    torch.manual_seed(keys)
    q, k, v = (guarded(torch.randn(b, n, h, width)).transpose(1, 2) for n in (queries, keys, keys))
    hidden = torch.rand(b, 1, queries if masked == "pairs" else 1, keys) < 0.4
    mask = (
        None if masked == "nothing" else torch.zeros(hidden.shape).masked_fill(hidden, torch.finfo(torch.float32).min)
    )

    with GuardedMemory() as memory:
        y = _cpu.attention(q, k, v, mask, width**-0.5)

    doubles = (x.double() for x in (q, k, v))
    wanted = _reference.attention(*doubles, None if mask is None else mask.double(), width**-0.5)
    torch.testing.assert_close(y.double(), wanted, rtol=0, atol=1e-4)
    assert memory.intact


@pytest.mark.usefixtures("amx")
def test_where_all_keys_are_hidden_the_result_is_their_mean():
    q, k, v = (torch.randn(1, 2, 32, 8) for _ in range(3))
    mask = torch.full((1, 1, 1, 32), torch.finfo(torch.float32).min)
    torch.testing.assert_close(
        _cpu.attention(q, k, v, mask, 1.0), v.mean(2).expand(32, 1, 2, 8).transpose(0, 1), rtol=0, atol=1e-4
    )


def test_what_learns_and_what_is_traced_runs_the_definition(monkeypatch):
    monkeypatch.setattr(_cpu, "linear", None)  # calling it would fail
    x, weight = torch.randn(512, 64), torch.randn(64, 64, requires_grad=True)
    linear(x, weight).sum().backward()
    assert weight.grad is not None
    assert _cpu.refusal_of_linear(x, weight, None) == "a tensor requires gradients"
    frozen = nn.Linear(64, 64).requires_grad_(False)

    class Model(nn.Module):
        def forward(self, x):
            return linear(x, frozen.weight, frozen.bias)

    traced = torch.export.export(Model(), (x,))
    torch.testing.assert_close(traced.module()(x), frozen(x))


def test_wrong_shapes_are_named():
    with pytest.raises(ShapeMismatch, match=r"\(2, 3\).*\(4, 5\)"):
        linear(torch.zeros(2, 3), torch.zeros(4, 5))


def test_masks_a_head_and_short_sequences_run_the_definition():
    q = torch.randn(2, 3, 32, 8)
    mask = torch.randn(2, 3, 32, 32)
    assert "between heads" in _cpu.refusal_of_attention(q, q, q, mask)
    assert "too short" in _cpu.refusal_of_attention(q[:, :, :5], q[:, :, :5], q[:, :, :5], None)
    wanted = functional.scaled_dot_product_attention(q, q, q, attn_mask=mask, scale=0.5).transpose(1, 2)
    torch.testing.assert_close(attention(q, q, q, mask, 0.5), wanted)
