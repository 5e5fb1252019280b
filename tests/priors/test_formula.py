"""Formulas and equations of motion: a closed language, its units, its numbers and its gradients."""

import math
import subprocess
import sys
import time
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from priors.errors import BadManifest
from priors.formula import BadFormula, parse_expression, parse_unit
from priors.formula._units import BadUnit, show
from priors.registry import find_function, function_signature
from priors.types import parse

PENDULUM = "theta0_rad*cos(sqrt(9.81/length_m)*t_s)"
ROW = "tab.num[B,C:3]:f32{cols=length_m|theta0_rad|t_s}"
UNITS = {"length_m": "m", "theta0_rad": "rad", "t_s": "s"}


def made(expr: str | list[str], columns: str = "x|y", **config: Any) -> torch.nn.Module:
    count = len(columns.split("|"))
    outs = 1 if isinstance(expr, str) else len(expr)
    config = {"expr": expr, "out": f"vec.feat[B,D:{outs}]:f32", **config}
    function: Any = find_function("formula")(config)
    module: torch.nn.Module = function.module(f"tab.num[B,C:{count}]:f32{{cols={columns}}}")
    return module


def at(expr: str, *values: float, **config: Any) -> float:
    module = made(expr, "|".join("xyzuvw"[: len(values)]), **config).double()
    return float(module(torch.tensor([values], dtype=torch.float64)).detach())


# The language


@pytest.mark.parametrize(
    ("expr", "wanted"),
    [
        ("x + y * 2", 2 + 3 * 2),
        ("x - y - 1", 2 - 3 - 1),
        ("x / y / 2", 2 / 3 / 2),
        ("-x^2", -4),
        ("x^-1", 0.5),
        ("2^x^y", 2 ** (2**3)),
        ("2**3 + .5e1", 13),
        ("- - x", 2),
        ("(x + y) * (x - y)", -5),
        ("sqrt(y) + cbrt(-8)", math.sqrt(3) - 2),
        ("atan2(x, y)", math.atan2(2, 3)),
        ("min(x, y) + max(x, 9) + clip(y, 0, 1)", 2 + 9 + 1),
        ("where(x < y, 10, 20) + where(x >= y, 1, 2)", 12),
        ("sin(pi / 2) + log(e)", 2),
        ("exp(log1p(x)) - expm1(1)", 3 - math.expm1(1)),
        ("hypot(x, y) + abs(-x) + sign(-y)", math.hypot(2, 3) + 2 - 1),
        ("`x` * 3", 6),
        ("2", 2),
    ],
)
def test_a_formula_is_what_it_says(expr: str, wanted: float) -> None:
    assert at(expr, 2.0, 3.0) == pytest.approx(wanted, rel=1e-9)


@given(
    st.recursive(
        st.sampled_from(["x", "y", "2", "0.5", "pi"]),
        lambda inner: (
            st.tuples(st.sampled_from("+-*"), inner, inner).map(lambda t: f"({t[1]} {t[0]} {t[2]})")
            | inner.map(lambda one: f"sin({one})")
            | inner.map(lambda one: f"(-{one})")
        ),
        max_leaves=12,
    )
)
@settings(max_examples=60, deadline=None)
def test_random_formulas_are_what_python_makes_of_them(expr: str) -> None:
    known = {"x": 1.25, "y": -0.75, "pi": math.pi, "sin": math.sin, "__builtins__": {}}
    wanted = eval(expr, known)

    assert at(expr, 1.25, -0.75) == pytest.approx(wanted, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(
    ("expr", "place", "words"),
    [
        ("", 0, "nothing is written"),
        ("x +", 3, "the end where a value is needed"),
        ("x + * y", 4, "'*' where a value is needed"),
        ("(x + y", 6, "')' is needed"),
        ("x y", 2, "after a whole formula"),
        ("x.real", 1, "'.' is not part"),
        ("__import__('os')", 11, "is not part"),
        ("eval(x)", 0, "no function 'eval'"),
        ("cosh2(x)", 0, "no function 'cosh2'"),
        ("sin(x, y)", 0, "takes 1"),
        ("atan2(x)", 0, "takes 2"),
        ("x < y", 2, "a comparison is no number"),
        ("where(x, 1, 2)", 6, "needs a comparison"),
        ("min(x < y, 1)", 6, "comparison"),
        ("sin(2 * z)", 8, "no column 'z'"),
        ("x * ?g", 4, "no learned constant 'g'"),
        ("x^65", 2, "power beyond"),
        ("x^-(60 + 60)", 2, "power beyond"),
        ("1e999", 0, "too large"),
        ("x; y", 1, "is not part"),
        ("lambda: x", 6, "is not part"),
        ("x[0]", 1, "after a whole formula"),
        ('"x"', 0, "is not part"),
        ("π * x", 0, "is not part"),
    ],
)
def test_what_is_not_in_the_language_is_refused_at_its_place(expr: str, place: int, words: str) -> None:
    with pytest.raises(BadFormula) as caught:
        made(expr)

    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert caught.value.at == place
    assert caught.value.pointed.splitlines()[1].index("^") == place


BOMBS = {
    "parentheses": "(" * 100_000 + "x" + ")" * 100_000,
    "signs": "-" * 4_000 + "x",
    "a long sum": "+".join(["x"] * 1_500),
    "a deep sum": "+".join(["x"] * 300),
    "a tower": "^".join(["x"] * 500),
    "calls": "sin(" * 90 + "x" + ")" * 90,
    "digits": "9" * 3_000,
    "text": "x" * 1_000_000,
    "brackets": "x[" * 1_000,
    "quotes": "`" * 3_000,
    "nested fractions": "x/(" * 100 + "x" + ")" * 100,
}


@pytest.mark.parametrize("bomb", BOMBS, ids=list(BOMBS))
def test_bombs_are_refused_at_once(bomb: str) -> None:
    started = time.perf_counter()

    with pytest.raises(BadFormula):
        parse_expression(BOMBS[bomb])

    assert time.perf_counter() - started < 1


@given(st.text(alphabet="xy0123.+-*/^()[],<>?`e sincomw", max_size=40))
@settings(max_examples=200, deadline=None)
def test_any_text_is_a_tree_or_a_bad_formula(text: str) -> None:
    try:
        parse_expression(text)
    except BadFormula as error:
        assert 0 <= error.at <= len(text)


def test_checking_a_formula_needs_no_torch() -> None:
    script = (
        "import sys; from priors.functions.signatures import function_signature as f; from priors.types import parse\n"
        f"t = f('formula', {{'expr': {PENDULUM!r}, 'out': 'vec.feat[B,D:1]:f32'}}, parse({ROW!r}))\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules; print(t)"
    )

    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert found.stdout.strip() == "vec.feat[B,D:1]:f32"


# Units


@pytest.mark.parametrize(
    ("text", "factor", "dimension"),
    [
        ("m", 1, "m"),
        ("km/h", 1 / 3.6, "m*s^-1"),
        ("kg*m/s^2", 1, "m*kg*s^-2"),
        ("mmol/L", 1.0, "m^-3*mol"),
        ("1/s", 1, "s^-1"),
        ("deg", math.pi / 180, "1"),
        ("mV", 1e-3, "m^2*kg*s^-3*A^-1"),
        ("kWh", 3.6e6, "m^2*kg*s^-2"),
        ("µm", 1e-6, "m"),
        ("min", 60, "s"),
        ("dam", 10, "m"),
        ("mph", 0.44704, "m*s^-1"),
        ("cm^3", 1e-6, "m^3"),
        ("Ω*A", 1, "m^2*kg*s^-3*A^-1"),
    ],
)
def test_units_are_those_of_the_si(text: str, factor: float, dimension: str) -> None:
    unit = parse_unit(text)

    assert unit.factor == pytest.approx(factor, rel=1e-12) and show(unit.dimension) == dimension


@pytest.mark.parametrize(
    "text", ["", "furlong", "m^", "m^99", "m//s", "m s", "degC", "kkg", "m^12*m^12", "Qm^12", "x" * 60, "*m", "m*"]
)
def test_what_is_no_unit_is_refused(text: str) -> None:
    with pytest.raises(BadUnit):
        parse_unit(text)


def test_numbers_are_converted_there_and_back() -> None:
    speed = {"x": "km", "y": "h"}

    assert at("x / y", 100.0, 2.0, units=speed, out="vec.feat[B,D:1]:f32{unit=m/s}") == pytest.approx(100 / 7.2)
    assert at("sin(x)", 30.0, units={"x": "deg"}) == pytest.approx(0.5)
    assert at("x + 2[inch]", 1.0, units={"x": "cm"}, out="vec.feat[B,D:1]:f32{unit=mm}") == pytest.approx(60.8)
    assert at("asin(x)", 0.5, units={"x": "1"}, out="vec.feat[B,D:1]:f32{unit=deg}") == pytest.approx(30)
    assert at("max(x, 0)", -3.0, units={"x": "m"}, out="vec.feat[B,D:1]:f32{unit=m}") == 0


@pytest.mark.parametrize(
    ("expr", "units", "out", "words"),
    [
        ("x + y", {"x": "m", "y": "s"}, "m", ("in m and in s", "adds")),
        ("x * y", {"x": "m", "y": "s"}, "m", ("m*s", "m is wanted")),
        ("cos(x)", {"x": "m"}, "1", ("cos", "in m")),
        ("x ^ y", {"x": "m"}, "m", ("power that varies",)),
        ("2 ^ x", {"x": "m"}, "1", ("exponent in m",)),
        ("min(x, y)", {"x": "m", "y": "kg"}, "m", ("in m and in kg",)),
        ("where(x < y, x, x)", {"x": "m", "y": "kg"}, "m", ("in m and in kg",)),
        ("x + 1[s]", {"x": "m"}, "m", ("in m and in s",)),
        ("x + 1[furlong]", {"x": "m"}, "m", ("'furlong' is not known",)),
        ("x", {"x": "deg"}, "m", ("in 1, and m is wanted",)),
        ("x^0.123", {"x": "m"}, "m", ("power 0.123",)),
    ],
)
def test_units_that_do_not_fit_are_refused_and_both_named(
    expr: str, units: dict[str, str], out: str, words: tuple[str, ...]
) -> None:
    with pytest.raises(BadFormula) as caught:
        made(expr, units=units, out=f"vec.feat[B,D:1]:f32{{unit={out}}}")

    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_the_pendulum_of_the_specification_stands_with_and_without_units() -> None:
    plain = {"expr": PENDULUM, "out": "vec.feat[B,D:1]:f32{unit=rad}"}
    checked = {**plain, "expr": PENDULUM.replace("9.81", "9.81[m/s^2]"), "units": UNITS}
    x = torch.rand(20, 3) + 0.2
    wanted = x[:, 1] * torch.cos(torch.sqrt(9.81 / x[:, 0]) * x[:, 2])

    for config in (plain, checked):
        function: Any = find_function("formula")(config)
        assert torch.allclose(function.module(ROW)(x)[:, 0], wanted, atol=1e-5)
        assert str(function_signature("formula", config, parse(ROW))) == "vec.feat[B,D:1]:f32{unit=rad}"
    with pytest.raises(BadFormula, match="cos of a value in"):
        function_signature("formula", {**plain, "units": UNITS}, parse(ROW))


# Torch


EXPRESSIONS = [
    "x * y + sin(x) / (1 + y^2)",
    "sqrt(hypot(x, y)) * exp(-x) + log(y) - tanh(x * y)",
    "where(x < y, x^3, y) + softplus(x) + sigmoid(y) + erf(x)",
    "max(x, y) - min(x, 2) + atan2(x, y) + x^1.5 + 2^x",
]


@pytest.mark.parametrize("expr", EXPRESSIONS)
def test_gradients_of_formulas_are_right(expr: str) -> None:
    module = made(expr).double()
    x = (torch.rand(6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 0.1).requires_grad_(True)

    assert torch.autograd.gradcheck(module, (x,))


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_exported_formulas_and_steps_equal_eager_at_other_batch_sizes() -> None:
    ode: Any = find_function("ode_step")(
        {"rhs": {"x": "y", "y": "-?k * x"}, "learn": {"k": {"start": 2.0, "low": 0.0}}}
    )
    batch = torch.export.Dim("batch", min=1, max=4_096)

    for module in (made(EXPRESSIONS), ode.module("tab.num[B,C:2]:f32{cols=x|y}")):
        program = torch.export.export(module.eval(), (torch.rand(4, 2) + 0.1,), dynamic_shapes=({0: batch},)).module()
        for n in (1, 2, 31):
            x = torch.rand(n, 2) + 0.1
            assert torch.allclose(program(x), module(x), atol=1e-6)


def test_learned_constants_start_where_they_should_stay_inside_and_are_found() -> None:
    learn = {"g": {"start": 5.0, "low": 1.0, "high": 20.0}, "c": {"start": 0.5, "low": 0.0}, "d": {"start": 0.0}}
    module = made("x * ?g + ?c * y + ?d", learn=learn)
    x = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    y = x[:, :1] * 9.81 + 0.25 * x[:, 1:] + 1.5
    assert torch.allclose(module(x), x[:, :1] * 5 + 0.5 * x[:, 1:], atol=1e-5)

    optimizer = torch.optim.Adam(module.parameters(), lr=0.1)
    for _ in range(400):
        optimizer.zero_grad()
        (module(x) - y).square().mean().backward()
        optimizer.step()

    found: Any = module.learned
    values = {name: float(value.detach()) for name, value in found.values().items()}
    assert values == pytest.approx({"g": 9.81, "c": 0.25, "d": 1.5}, abs=0.02)


@pytest.mark.parametrize("learn", [{"g": {"start": 1.0, "low": 1.0}}, {"g": {"start": 3.0, "low": 1.0, "high": 2.0}}])
def test_a_start_outside_its_interval_is_refused(learn: dict[str, Any]) -> None:
    with pytest.raises(BadManifest, match="start"):
        made("x * ?g", learn=learn)


def test_columns_need_names_and_as_many_outputs_as_formulas() -> None:
    function: Any = find_function("formula")({"expr": "a + b", "cols": ["a", "b"]})
    assert function.module("vec.feat[B,D:2]:f32")(torch.ones(1, 2)).item() == 2
    with pytest.raises(BadManifest, match="one name a column"):
        function.module("vec.feat[B,D:3]:f32")
    with pytest.raises(BadManifest, match="of 2 formulas"):
        made(["x", "y"], out="vec.feat[B,D:1]:f32")


# Equations of motion


def steps(method: str, dt: float, count: int) -> np.ndarray:
    function: Any = find_function("ode_step")(
        {"rhs": {"x": "v", "v": "-x"}, "dt": dt, "steps": count, "method": method, "cols": ["x", "v"]}
    )
    module = function.module("tab.num[B,C:2]:f32").double()
    return np.asarray(module(torch.tensor([[1.0, 0.0]], dtype=torch.float64)).detach())


@pytest.mark.parametrize(("method", "order"), [("euler", 1), ("midpoint", 2), ("rk4", 4)])
def test_halving_the_step_divides_the_error_by_two_to_the_order(method: str, order: int) -> None:
    exact = np.array([math.cos(1), -math.sin(1)])

    errors = [np.abs(steps(method, 1 / n, n) - exact).max() for n in (20, 40)]

    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.2)


def test_steps_agree_with_scipy_in_any_unit_and_give_the_path() -> None:
    from scipy.integrate import solve_ivp

    config = {
        "rhs": {"angle": "speed", "speed": "-9.81[m/s^2] / length * sin(angle) - ?drag * speed"},
        "units": {"angle": "deg", "speed": "deg/s", "length": "cm"},
        "learn": {"drag": {"start": 0.3, "low": 0.0, "high": 5.0, "unit": "1/s"}},
        "dt": 10.0,
        "time_unit": "ms",
        "steps": 100,
        "path": True,
    }
    function: Any = find_function("ode_step")(config)
    in_type = "tab.num[B,C:3]:f32{cols=angle|speed|length}"
    found = function.module(in_type).double()(torch.tensor([[60.0, 0.0, 50.0]], dtype=torch.float64)).detach()[0]

    def rhs(t: float, s: np.ndarray) -> list[float]:
        return [s[1], -9.81 / 0.5 * math.sin(s[0]) - 0.3 * s[1]]

    wanted = solve_ivp(rhs, (0, 1), [math.radians(60), 0.0], rtol=1e-10, atol=1e-12).y[:, -1]
    assert found.shape == (101, 2) and function.output_type_for(in_type) == "series.num[B,T:101,C:2]:f32"
    assert np.allclose(np.deg2rad(found[-1].numpy()), wanted, atol=1e-5)


def test_gradients_go_through_every_step() -> None:
    config = {"rhs": {"x": "-x * y + t"}, "steps": 5, "method": "rk4", "dt": "h", "cols": ["x", "y", "h"]}
    function: Any = find_function("ode_step")(config)
    x = torch.tensor([[1.0, 0.5, 0.1], [2.0, 1.5, 0.2]], dtype=torch.float64, requires_grad=True)

    assert torch.autograd.gradcheck(function.module("tab.num[B,C:3]:f32").double(), (x,))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"rhs": {"z": "x"}}, "no column"),
        ({"rhs": {"x": "x"}, "units": {"x": "m"}}, "m*s\\^-1 is wanted|m/s is wanted"),
        ({"rhs": {"x": "y"}, "dt": "nothing"}, "no column"),
        ({"rhs": {"x": "+".join(["x"] * 100)}, "steps": 1_000}, "operations in all"),
        ({"rhs": {"x": "1"}, "steps": 0}, "steps"),
    ],
)
def test_impossible_equations_are_refused(config: dict[str, Any], words: str) -> None:
    with pytest.raises(BadManifest, match=words):
        find_function("ode_step")({"cols": ["x", "y"], **config}).module("tab.num[B,C:2]:f32")  # type: ignore[attr-defined]
