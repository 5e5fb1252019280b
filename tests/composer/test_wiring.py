"""The plan that a part of a composition runs by: values, hooks, and what it lets go of."""

import weakref
from copy import deepcopy

import torch
from torch import nn

from composer._lower_wiring import Step, Wiring


class Plus(nn.Module):
    """forward(*xs) -> their sum and one; remembers, weakly, what it gave."""

    def __init__(self):
        super().__init__()
        self.gave = []

    def forward(self, *xs):
        made = sum(xs) + 1
        self.gave.append(weakref.ref(made))
        return made


def chain():
    modules = [Plus(), Plus(), Plus()]
    steps = [
        Step(("x",), ("a",), lambda gives: modules[0]),
        Step(("a", "x"), ("b",), lambda gives: modules[1]),
        Step(("b", "b"), ("y",), lambda gives: modules[2]),
    ]
    return modules, steps


def test_a_value_lives_until_its_last_reader():
    modules, steps = chain()
    alive = []
    modules[2].register_forward_pre_hook(lambda *_: alive.extend(m.gave[0]() is not None for m in modules[:2]))

    [y] = Wiring(["x"], steps, ["y"])(torch.ones(2))

    assert y.tolist() == [9.0, 9.0]
    assert alive == [False, True]  # `a` was read by the second step for the last time


def test_what_is_wanted_is_kept_although_others_read_it():
    _, steps = chain()
    x, a, y = Wiring(["x"], steps, ["x", "a", "y"])(torch.ones(2))
    assert (x[0], a[0], y[0]) == (1, 2, 9)


def test_hooks_of_a_step_run_also_when_they_came_later_and_in_a_copy():
    modules, steps = chain()
    wiring, seen = Wiring(["x"], steps, ["y"]), []
    handle = modules[1].register_forward_hook(lambda *_: seen.append(1))
    wiring(torch.ones(1))
    copied = deepcopy(wiring)
    copied(torch.ones(1))
    handle.remove()
    wiring(torch.ones(1))
    assert len(seen) == 2
    assert copied.calls[1] is not modules[1] and len(modules[1].gave) == 2
