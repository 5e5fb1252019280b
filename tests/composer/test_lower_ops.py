"""The composer's own operations, as torch modules and apart from any graph."""

import pytest
import torch

from composer._lower_axes import Expand, Layout
from composer._lower_ops import Cast, Concat, Gate, Head, Pool, Sum
from composer._lower_project import Project
from composer._lower_wiring import Step, Wiring


def test_a_masked_mean_counts_only_what_is_seen():
    x = torch.randn(3, 5, 4)
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 0, 0, 0, 0], [1, 1, 1, 1, 1]], dtype=torch.bool)

    pooled = Pool("mean", 1)(x, mask)

    torch.testing.assert_close(pooled, torch.stack([x[0, :3].mean(0), x[1, 0], x[2].mean(0)]))


@pytest.mark.parametrize("kind", ["mean", "max"])
def test_a_row_without_anything_seen_pools_to_zeros(kind):
    pooled = Pool(kind, 1)(torch.randn(2, 3, 4), torch.tensor([[False] * 3, [True] * 3]))

    assert torch.equal(pooled[0], torch.zeros(4))
    assert pooled[1].abs().sum() > 0


def test_a_masked_maximum_does_not_see_the_padding():
    x = torch.tensor([[[-2.0], [-1.0], [9.0]]])

    assert Pool("max", 1)(x, torch.tensor([[True, True, False]])).item() == -1


def test_any_axis_can_be_pooled_without_a_mask():
    x = torch.randn(2, 3, 4, 5)

    torch.testing.assert_close(Pool("mean", 3)(x), x.mean(3))
    torch.testing.assert_close(Pool("max", 2)(x), x.amax(2))
    torch.testing.assert_close(Pool("first", 1)(x), x[:, 0])


def test_a_mask_may_lie_on_an_inner_axis():
    x, mask = torch.randn(2, 3, 4, 5), torch.tensor([[True, True, False, False], [True] * 4])

    pooled = Pool("mean", 2)(x, mask)

    torch.testing.assert_close(pooled[0], x[0, :, :2].mean(1))
    torch.testing.assert_close(pooled[1], x[1].mean(1))


@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_an_unfitted_gate_equals_its_first_operand_to_a_twentieth_of_a_percent(count, kind):
    operands = [torch.ones(4, 6), *[torch.zeros(4, 6) for _ in range(count - 1)]]

    mixed = Gate(count, 6, "first", kind)(*operands)

    assert ((operands[0] - mixed).abs() <= 5.01e-4).all()


@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_a_uniform_gate_starts_as_the_mean(kind):
    operands = [torch.randn(4, 6) for _ in range(3)]

    torch.testing.assert_close(Gate(3, 6, "uniform", kind)(*operands), torch.stack(operands).mean(0))


def test_a_gate_learns_through_its_operands_and_its_logits():
    gate, operands = Gate(2, 6, "uniform", "softmax"), [torch.randn(4, 6, requires_grad=True) for _ in range(2)]

    gate(*operands).square().sum().backward()

    assert all(x.grad.abs().sum() > 0 for x in (*operands, gate.weight, gate.bias))


def test_fixed_weights_of_a_sum_are_not_saved_and_learned_ones_are():
    a, b = torch.randn(2, 3), torch.randn(2, 3)
    fixed, learned = Sum((2, -1), learned=False), Sum((2, -1), learned=True)

    torch.testing.assert_close(fixed(a, b), 2 * a - b)
    torch.testing.assert_close(learned(a, b), 2 * a - b)
    assert list(fixed.state_dict()) == []
    assert list(learned.state_dict()) == ["weight"]


def test_a_projection_starts_from_its_seed():
    first, again, other = (Project(4, 3, "random", seed, 1) for seed in (7, 7, 8))

    assert torch.equal(first.weight, again.weight)
    assert not torch.equal(first.weight, other.weight)
    assert Project(4, 3, "zero", 7, 1).weight.abs().sum() == 0


def test_a_projection_may_go_along_an_inner_axis():
    x, project = torch.randn(2, 4, 5), Project(4, 3, "random", 7, 1)

    torch.testing.assert_close(project(x)[:, :, 2], Project(4, 3, "random", 7, 1)(x[:, :, 2]))
    assert project(x).shape == (2, 3, 5)


def test_an_unfitted_head_answers_zero_and_keeps_its_temperature_out_of_the_output():
    head = Head(4, 3)

    assert torch.equal(head(torch.randn(2, 4)), torch.zeros(2, 3))
    assert sorted(head.state_dict()) == ["bias", "temperature", "weight"]


def test_casts_layouts_and_expansions_do_what_they_say():
    x = torch.randn(2, 3, 4)

    assert Cast(torch.float64, None, None, None)(x).dtype == torch.float64
    torch.testing.assert_close(Cast(None, "l2", None, None)(x).norm(dim=-1), torch.ones(2, 3))
    torch.testing.assert_close(Cast(None, "probs", None, None)(x).sum(-1), torch.ones(2, 3))
    torch.testing.assert_close(Cast(None, "logits", None, None)(x.softmax(-1)), x.log_softmax(-1))
    assert Cast(None, None, [-1, 1], 100.0)(x).abs().max() == 1
    assert Layout((0, 2, 1))(x).shape == (2, 4, 3)
    assert torch.equal(Expand(1, 5)(x)[:, 4], x)
    assert Concat(2)(x, x).shape == (2, 3, 8)


def test_a_part_holds_only_the_modules_between_what_is_given_and_what_is_wanted():
    made = []

    def step(name: str, takes: tuple[str, ...]) -> Step:
        return Step(takes, (name,), lambda gives: (made.append(name), Sum([1.0] * len(takes), learned=True))[1])

    steps = [step("a", ("x",)), step("b", ("x",)), step("c", ("a", "b")), step("d", ("c",))]

    part = Wiring(["a", "x"], steps, ["c"])

    assert sorted(made) == ["b", "c"]
    assert torch.equal(part(torch.ones(1), 2 * torch.ones(1))[0], torch.tensor([3.0]))
    with pytest.raises(LookupError, match="nothing makes b from a"):
        Wiring(["a"], steps[2:], ["c"])
