"""Known dynamics: the state some time later, by the equations that move it."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from priors.formula import parse_unit
from priors.formula._torch import Constants, as_tensor, evaluate, folded, in_si, used_constants
from priors.functions._formulas import OdeStepConfig, column_names, equations_of
from priors.functions._tensor import TensorFunction
from priors.registry import function
from priors.types import PortType, parse

State = Mapping[str, Tensor]
Rate = Callable[[State, Tensor], State]


@function("ode_step")
class OdeStep(TensorFunction[OdeStepConfig]):
    """x(t + steps dt) for x' = rhs(x, t, other columns), by steps of fixed length from the row's own state at t = 0.

    (B, C) -> (B, states), or (B, steps + 1, states) with `path`. euler x + dt f; midpoint; rk4, the classical method
    of Kutta 1901, with an error of O(dt^4) (Hairer, Norsett and Wanner 1993, "Solving ordinary differential equations
    I", chapter II). Differentiable through every step, so states, columns and learned constants get exact gradients of
    the discrete solution. `steps` times stages times the formulas' size. A stiff system needs short steps.
    """

    id, schema = "ode_step", OdeStepConfig

    def module(self, in_type: PortType | str) -> nn.Module:
        """forward(x (B, C)) -> (B, states) or (B, steps + 1, states). Raises BadFormula."""
        return _Steps(self.config, parse(in_type))


class _Steps(nn.Module):
    def __init__(self, config: OdeStepConfig, in_type: PortType) -> None:
        super().__init__()
        self._config = config
        self._columns = column_names(config, in_type, "ode_step")
        self._equations = dict(zip(config.rhs, equations_of(config, in_type), strict=True))
        self._trees = {state: folded(one.tree, (*self._columns, "t")) for state, one in self._equations.items()}
        checked = any(one.checked for one in self._equations.values())
        names = (*self._columns, "t")
        units = {**config.units, "t": config.units.get("t", config.time_unit)}
        self._factors = {name: parse_unit(units.get(name, "1")).factor if checked else 1.0 for name in names}
        self._time = parse_unit(config.time_unit).factor if checked else 1.0
        self.learned = Constants(config.learned, used_constants(list(self._equations.values())))

    def forward(self, x: Tensor) -> Tensor:
        x = x if x.dtype == torch.float64 else x.to(torch.float32)
        like, config = x[:, 0], self._config
        row = {name: x[:, at] for at, name in enumerate(self._columns)}
        # States are kept in SI and handed to the formulas in their own units, which multiply them by their factors.
        state = {name: row[name] * self._factors[name] for name in self._equations}
        if isinstance(config.dt, str):
            dt: Tensor = row[config.dt] * self._factors[config.dt]
        else:
            dt = torch.full_like(like, config.dt * self._time)
        constants = self.learned.values()

        def rate(state: State, time: Tensor) -> State:
            known = {**row, **({} if "t" in row else {"t": time / self._factors["t"]})}
            known |= {name: value / self._factors[name] for name, value in state.items()}
            return {
                name: as_tensor(
                    evaluate(self._trees[name], in_si(one, {c: known[c] for c in one.columns}, constants), like), like
                )
                for name, one in self._equations.items()
            }

        states: list[State] = [state]
        for step in range(config.steps):
            states.append(_STEP[config.method](rate, states[-1], dt * step, dt))
        shown = states if config.path else states[-1:]
        made = torch.stack(
            [torch.stack([one[name] / self._factors[name] for name in self._equations], 1) for one in shown], 1
        )
        return made if config.path else made[:, 0]


def _moved(state: State, rates: State, by: Tensor) -> State:
    return {name: value + by * rates[name] for name, value in state.items()}


def _euler(rate: Rate, state: State, time: Tensor, dt: Tensor) -> State:
    return _moved(state, rate(state, time), dt)


def _midpoint(rate: Rate, state: State, time: Tensor, dt: Tensor) -> State:
    return _moved(state, rate(_moved(state, rate(state, time), dt / 2), time + dt / 2), dt)


def _rk4(rate: Rate, state: State, time: Tensor, dt: Tensor) -> State:
    first = rate(state, time)
    second = rate(_moved(state, first, dt / 2), time + dt / 2)
    third = rate(_moved(state, second, dt / 2), time + dt / 2)
    fourth = rate(_moved(state, third, dt), time + dt)
    mean = {name: (first[name] + 2 * second[name] + 2 * third[name] + fourth[name]) / 6 for name in state}
    return _moved(state, mean, dt)


_STEP: Mapping[str, Callable[[Rate, State, Tensor, Tensor], State]] = {
    "euler": _euler,
    "midpoint": _midpoint,
    "rk4": _rk4,
}
