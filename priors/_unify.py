"""The order of port types: which fits where, and what that says about symbols."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from priors._port_type import INFORMATIVE, MAX_DIM, WIDER, Axis, Dim, PortType, Sym
from priors.errors import BadType

Bindings = Mapping[str, Dim]


def is_subtype(producer: PortType, consumer: PortType) -> bool:
    """Whether every value of type `producer` can be used where `consumer` is wanted.

    The consumer's symbols are free to be solved, the producer's stand for lengths that nobody knows yet. Reflexive and
    transitive.
    """
    mine, theirs = _unknown(rename_symbols(producer, "p")), rename_symbols(consumer, "c")
    try:
        _unify(mine, theirs, {}, frozenset(_symbols(mine)))
    except BadType:
        return False
    return True


def unify(producer: PortType, consumer: PortType, bindings: Bindings | None = None) -> dict[str, Dim]:
    """The bindings under which `producer` fits `consumer`; raises BadType saying what does not fit.

    Same modality, level and axis names in order; lengths solve; the dtype is the same or wider in the consumer; the
    consumer's space is absent or the producer's; the consumer's attributes are among the producer's. `bindings` are
    those found on earlier edges; symbols of different signatures must have been renamed apart before. A producer's free
    length fits a symbol without binding it, and nothing else.
    """
    found = dict(bindings or {})
    _unify(producer, consumer, found, frozenset())
    return found


def _unify(producer: PortType, consumer: PortType, found: dict[str, Dim], rigid: frozenset[str]) -> None:
    if producer.kind != consumer.kind:
        raise _unfit(producer, consumer, f"{producer.kind} is not {consumer.kind}")
    if producer.axis_names != consumer.axis_names:
        raise _unfit(
            producer, consumer, f"axes {','.join(producer.axis_names)} are not {','.join(consumer.axis_names)}"
        )
    for mine, theirs in zip(producer.axes, consumer.axes, strict=True):
        if not _solve(mine.dim, theirs.dim, found, rigid):
            raise _unfit(producer, consumer, f"axis {mine} cannot be {theirs}")
    if not widens(producer.dtype, consumer.dtype):
        raise _unfit(producer, consumer, f"{producer.dtype} does not fit into {consumer.dtype}")
    if consumer.space is not None and consumer.space != producer.space:
        raise _unfit(producer, consumer, f"space {producer.space or 'any'} is not {consumer.space}")
    for key, value in consumer.attrs:
        if key not in INFORMATIVE and producer.attr(key) != value:
            raise _unfit(producer, consumer, f"{key} is {producer.attr(key) or 'not given'}, wanted {value}")


def widens(dtype: str, wider: str) -> bool:
    """Whether `wider` holds every value of `dtype` exactly (the same dtype does)."""
    return wider == dtype or wider in WIDER[dtype]


def _unfit(producer: PortType, consumer: PortType, cause: str) -> BadType:
    return BadType(f"{producer} does not fit {consumer}: {cause}. Put an adapter between them.")


def resolve(dim: Dim, bindings: Bindings) -> Dim:
    """`dim` with bound symbols replaced. Raises BadType for one that cannot be: 3/2, 1-4, two steps of arithmetic."""
    seen = set()
    while isinstance(dim, str) and dim in bindings:
        if dim in seen:
            raise BadType(f"length {dim} is defined by itself. Give one of its lengths as a number.")
        seen.add(dim)
        dim = bindings[dim]
    if not isinstance(dim, Sym):
        return dim
    base = resolve(dim.symbol, bindings)
    if base == dim.symbol:
        return dim
    if base is None:
        return None
    if isinstance(base, str):
        return Sym(base, dim.op, dim.value)
    if isinstance(base, int):
        return _compute(base, dim)
    if base.op == dim.op:
        value = base.value * dim.value if dim.op in "*/" else base.value + dim.value
        if value <= MAX_DIM:
            return Sym(base.symbol, dim.op, value)
    raise BadType(f"length {dim} of {base} takes two steps of arithmetic. Give one of the lengths as a number.")


def substitute(t: PortType, bindings: Bindings) -> PortType:
    """`t` with each bound symbol replaced by what it stands for."""
    return replace(t, axes=tuple(Axis(axis.name, resolve(axis.dim, bindings)) for axis in t.axes))


def rename_symbols(t: PortType, prefix: str) -> PortType:
    """`t` with each symbol `n` called `<prefix>.n`, so that it cannot be confused with another signature's `n`."""
    return replace(t, axes=tuple(Axis(axis.name, _renamed(axis.dim, prefix)) for axis in t.axes))


def _renamed(dim: Dim, prefix: str) -> Dim:
    if isinstance(dim, str):
        return f"{prefix}.{dim}"
    if isinstance(dim, Sym):
        return replace(dim, symbol=f"{prefix}.{dim.symbol}")
    return dim


def _unknown(t: PortType) -> PortType:
    """`t` with each free length as a symbol of its own: two lengths that nobody knows need not be the same."""
    return t.with_(dims={axis.name: f"?{axis.name}" for axis in t.axes if axis.dim is None})


def _symbols(t: PortType) -> list[str]:
    """The symbols in `t`, in the order of its axes."""
    return [
        axis.dim.symbol if isinstance(axis.dim, Sym) else axis.dim for axis in t.axes if isinstance(axis.dim, str | Sym)
    ]


def _solve(mine: Dim, theirs: Dim, found: dict[str, Dim], rigid: frozenset[str]) -> bool:
    """Whether the two lengths can be the same; writes into `found` what that says about symbols."""
    if theirs is None:
        return True
    if mine is None:
        return isinstance(theirs, str)
    try:
        mine, theirs = resolve(mine, found), resolve(theirs, found)
    except BadType:
        return False
    if mine == theirs:
        return True
    if isinstance(theirs, str) and theirs not in rigid:
        return _bind(theirs, mine, found)
    if isinstance(mine, str) and mine not in rigid:
        return _bind(mine, theirs, found)
    if isinstance(mine, Sym) and isinstance(theirs, Sym):
        return _solve_computed(mine, theirs, found, rigid)
    sym, length = (mine, theirs) if isinstance(mine, Sym) else (theirs, mine)
    if not isinstance(sym, Sym) or not isinstance(length, int) or sym.symbol in rigid:
        return False
    solution = _invert(length, sym)
    return solution is not None and _bind(sym.symbol, solution, found)


def _solve_computed(mine: Sym, theirs: Sym, found: dict[str, Dim], rigid: frozenset[str]) -> bool:
    """n*4 = k*2 is k = n*2, n+3 = k+1 is k = n+2, n/4 = k/2 is k = n/2: only what holds for every n is used."""
    for given, sought in ((mine, theirs), (theirs, mine)):
        rest = _rest(given, sought)
        if rest is not None and sought.symbol not in rigid:
            return _bind(sought.symbol, rest, found)
    return False


def _rest(given: Sym, sought: Sym) -> Dim:
    """`sought.symbol` in terms of `given.symbol` where both are the same length; None when no symbol says it."""
    if given.op != sought.op:
        return None
    if given.value == sought.value:
        return given.symbol
    if given.op in "*/":
        value = given.value // sought.value if given.value % sought.value == 0 else 0
    else:
        value = given.value - sought.value
    return Sym(given.symbol, given.op, value) if value > 0 else None


def _bind(symbol: str, dim: Dim, found: dict[str, Dim]) -> bool:
    if isinstance(dim, Sym) and dim.symbol == symbol:
        return False  # n = n*2 has no length
    found[symbol] = dim
    return True


def _compute(base: int, dim: Sym) -> int:
    match dim.op:
        case "*":
            length = base * dim.value
        case "+":
            length = base + dim.value
        case "-":
            length = base - dim.value
        case _:
            length = base // dim.value if base % dim.value == 0 else 0
    if not 1 <= length <= MAX_DIM:
        raise BadType(f"length {dim} of {base} is not a whole number from 1 to {MAX_DIM:,}. Change one of the two.")
    return length


def _invert(length: int, dim: Sym) -> int | None:
    match dim.op:
        case "*":
            base = length // dim.value if length % dim.value == 0 else 0
        case "+":
            base = length - dim.value
        case "-":
            base = length + dim.value
        case _:
            base = length * dim.value
    return base if 1 <= base <= MAX_DIM else None
