"""Adapters between any two types: they end at a subtype or an error, in the one order, the same for the same edge."""

from hypothesis import given
from hypothesis import strategies as st

from composer.adapters import MAX_STEPS, Edge, next_repair
from composer.errors import PortMismatch
from priors.types import AXES, LEVELS, Axis, PortType, is_subtype

kinds = st.sampled_from([(m, level) for m, levels in LEVELS.items() for level in levels])


@st.composite
def values(draw: st.DrawFn) -> PortType:
    modality, level = draw(kinds)
    names = draw(st.lists(st.sampled_from(AXES[1:]), max_size=4, unique=True))
    axes = (Axis("B"), *(Axis(name, draw(st.none() | st.integers(1, 6))) for name in names))
    attrs = draw(st.sampled_from([(), (("unit", "rad"),), (("vocab", "bert"),), (("mask", "m"),)]))
    return PortType(
        modality,
        level,
        axes,
        draw(st.sampled_from(["f32", "f64", "f16", "i64"])),
        draw(st.sampled_from([None, "a/b/c"])),
        attrs,
    )


@given(values(), values())
def test_repairs_come_to_an_end_at_a_subtype_or_an_error_that_names_both(gives: PortType, wants: PortType) -> None:
    edge, steps = Edge("source", "target", gives, wants), []
    try:
        while (repair := next_repair(edge)) is not None:
            steps.append(repair.op)
            assert len(steps) < MAX_STEPS
            assert next_repair(edge) == repair  # one edge, one repair
            edge = Edge("source", "target", repair.gives, wants)
    except PortMismatch as err:
        assert str(edge.gives) in str(err)
        assert str(wants) in str(err)
        return

    order = ["encode", "bridge", "pool", "expand", "layout", "resample", "proj", "cast"]
    assert sorted(steps, key=order.index) == steps
    assert len([op for op in steps if op not in ("pool", "expand", "resample")]) <= 7
    open_lengths = {axis.name: edge.gives.dim(axis.name) for axis in wants.axes if axis.dim is None}
    assert is_subtype(edge.gives, wants.with_(dims=open_lengths))
