"""Deltas: nothing changes before they learn, live and folded are the same network, and only they get gradients."""

import pytest
import torch
from torch import nn

from composer.delta import Delta, load_folded
from composer.errors import BadGraph
from priors.registry import find_architecture
from tests.composer._tiny import BERT

KINDS = ["lora", "dora", "ia3", "bias", "full"]
IDS = torch.tensor([[2, 4, 6, 9, 0], [3, 5, 7, 1, 8]])
MASK = torch.tensor([[True, True, True, True, False], [True] * 5])


def network() -> nn.Module:
    torch.manual_seed(0)
    return find_architecture("bert")(BERT).build(("layer_3",)).eval().requires_grad_(False)


def run(net: nn.Module) -> torch.Tensor:
    return net(IDS, MASK)[0]


def learned(kind: str, net: nn.Module, **options) -> Delta:
    delta = Delta.of(net, kind=kind, **options)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in delta.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
    return delta


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_delta_changes_nothing(kind):
    net = network()
    before = run(net)

    delta = Delta.of(net, kind=kind)
    with delta.live(net):
        live = run(net)

    assert torch.equal(live, before)
    assert torch.equal(run(load_folded(net, [delta])), before)


@pytest.mark.parametrize("kind", KINDS)
def test_folded_weights_give_what_the_live_delta_gives_and_closing_it_gives_the_base(kind):
    net = network()
    before = run(net)
    delta = learned(kind, net)

    with delta.live(net):
        live = run(net)

    assert torch.equal(run(net), before)
    assert (live - before).abs().max() > 1e-3
    torch.testing.assert_close(run(load_folded(network(), [delta])), live, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_delta_gets_gradients(kind):
    net = network()
    delta = learned(kind, net)

    with delta.live(net):
        run(net).square().sum().backward()

    assert all(parameter.grad is not None and parameter.grad.any() for parameter in delta.parameters())
    assert all(parameter.grad is None for parameter in net.parameters())


def test_folding_leaves_weights_that_others_share_as_they_are():
    net = network()
    state = {name: value.clone() for name, value in net.state_dict().items()}
    other = network()
    other.load_state_dict(net.state_dict(), assign=True)

    load_folded(other, [learned("lora", net)])

    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())


def test_deltas_one_after_the_other_are_folded_in_order():
    net, one, two = network(), learned("ia3", network()), learned("bias", network())

    both = load_folded(network(), [one, two])

    with two.live(load_folded(net, [one])):
        torch.testing.assert_close(run(net), run(both), rtol=0, atol=1e-5)


def test_targets_are_globs_and_what_is_saved_is_small():
    net = network()
    delta = Delta.of(net, kind="lora", targets=["layers.2.*.query", "layers.2.*.value"], r=2)

    assert [path.rpartition(".")[2] for path in delta.paths] == ["query", "value"]
    assert {name: tuple(value.shape) for name, value in delta.state_dict().items()} == {
        "layers.2.attention.self.query.a": (2, 16), "layers.2.attention.self.query.b": (16, 2),
        "layers.2.attention.self.value.a": (2, 16), "layers.2.attention.self.value.b": (16, 2),
    }  # fmt: skip
    again = Delta.of(net, kind="lora", targets=["layers.2.*.query", "layers.2.*.value"], r=2)
    assert all(torch.equal(a, b) for a, b in zip(delta.state_dict().values(), again.state_dict().values(), strict=True))


def test_a_delta_can_be_made_from_shapes_alone():
    with torch.device("meta"):
        shapes = find_architecture("bert")(BERT).build(("layer_3",))

    delta = Delta.of(shapes, kind="dora")

    assert all(parameter.device.type == "cpu" for parameter in delta.parameters())


def test_a_target_that_matches_nothing_names_what_there_is():
    with pytest.raises(BadGraph, match=r"target 'q_proj' matches none of the \d+ layers .* such as layers.0"):
        Delta.of(network(), kind="lora", targets=["q_proj"])
    with pytest.raises(BadGraph, match="no layer that a lora delta"):
        Delta.of(nn.Flatten(), kind="lora")


@pytest.mark.parametrize("kind", KINDS)
def test_convolutions_too(kind):
    def image_network() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8)).requires_grad_(False)

    net, x = image_network(), torch.randn(2, 3, 9, 9, generator=torch.Generator().manual_seed(2))
    delta = learned(kind, net)

    with delta.live(net):
        live = net(x)

    torch.testing.assert_close(load_folded(image_network(), [delta])(x), live, rtol=0, atol=1e-5)
    assert (live - net(x)).abs().max() > 1e-3
