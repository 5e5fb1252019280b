"""Port types: the text and the value say the same, and the order between types is one."""

import pickle
import subprocess
import sys
import time

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from priors.errors import BadType
from priors.types import (
    ATTRIBUTES,
    AXES,
    DTYPES,
    LEVELS,
    MAX_DIM,
    Axis,
    PortType,
    Sym,
    is_subtype,
    parse,
    rename_symbols,
    resolve,
    substitute,
    unify,
    widens,
)

kinds = st.sampled_from([(modality, level) for modality, levels in LEVELS.items() for level in levels])
symbols = st.sampled_from(["n", "m", "ids.T"])
lengths = st.integers(1, 12)
syms = st.builds(Sym, symbols, st.sampled_from("*/+-"), lengths)
dims = st.none() | lengths | symbols | syms
words = st.text(st.characters(categories=["Ll", "Lu", "Nd"], include_characters="|_-./"), min_size=1, max_size=12)


@st.composite
def port_types(draw: st.DrawFn, dim: st.SearchStrategy = dims) -> PortType:
    modality, level = draw(kinds)
    names = draw(st.lists(st.sampled_from(AXES), min_size=1, max_size=4, unique=True))
    attrs = draw(st.dictionaries(st.sampled_from(ATTRIBUTES), words, max_size=3))
    return PortType(
        modality,
        level,
        tuple(Axis(name, draw(dim)) for name in names),
        draw(st.sampled_from(DTYPES)),
        draw(st.none() | st.sampled_from(["bert/layer_3/8f2c", "mlp/output/00ff~near:aaaa"])),
        tuple(sorted(attrs.items())),
    )


@st.composite
def neighbours(draw: st.DrawFn, count: int) -> list[PortType]:
    """Types each of which often fits into the next: a part is kept, or drawn anew with a preference for what fits."""
    open_dims = st.sampled_from([None, "n", "m", Sym("n", "*", 2), Sym("n", "+", 1)])
    names = draw(st.sampled_from([("B",), ("B", "D"), ("B", "D", "K")]))
    found = [
        PortType("vec", "feat", tuple(Axis(name, draw(open_dims | st.integers(1, 4))) for name in names), "f16", "a/b")
    ]
    while len(found) < count:
        last = found[-1]
        found.append(
            PortType(
                last.modality,
                last.level,
                tuple(Axis(axis.name, draw(st.just(axis.dim) | open_dims)) for axis in last.axes),
                draw(st.sampled_from([last.dtype, last.dtype, "f64"])),
                draw(st.sampled_from([last.space, last.space, None])),
                draw(st.sampled_from([(), (), (("unit", "rad"),)])),
            )
        )
    return found


@given(port_types())
def test_parsing_what_was_printed_gives_the_type_back(t: PortType) -> None:
    assert parse(str(t)) == t
    assert parse(t) is t
    assert pickle.loads(pickle.dumps(t)) == t


@given(port_types())
def test_white_space_between_the_parts_changes_nothing(t: PortType) -> None:
    text = str(t)
    for mark in ",[]{}=":
        text = text.replace(mark, f" {mark} ")

    assert parse(text.rstrip()) == t


@given(st.text(max_size=60) | st.text("textvc.raw[]{}B,D:=1*2f3@ ", max_size=40))
def test_any_text_parses_or_raises_bad_type_alone(text: str) -> None:
    try:
        found = parse(text)
    except BadType as err:
        assert str(err).count("\n") <= text.count("\n")
    else:
        assert parse(str(found)) == found


@pytest.mark.parametrize(
    ("text", "where", "fix"),
    [
        ("txt.raw[B]:str", "character 1", "text, image, audio"),
        ("text.words[B]:str", "character 6", "raw, ids, tokens"),
        ("text.raw(B):str", "character 9", "modality.level"),
        ("vec.feat[B,Q:3]:f32", "character 12", "B, T, S"),
        ("vec.feat[B,D:0]:f32", "character 14", "from 1 to"),
        ("vec.feat[B,D:1000000000]:f32", "character 14", "16,777,216"),
        ("vec.feat[B,D:n*]:f32", "character 16", "n*2"),
        ("vec.feat[B,B]:f32", "appears twice", "once"),
        ("vec.feat[B,D:3]:float", "character 17", "f32"),
        ("vec.feat[B,D:3]", "the end", "dtype"),
        ("vec.feat[B]:f32{color=red}", "character 17", "vocab"),
        ("vec.feat[B]:f32{unit=m,unit=s}", "appears twice", "a|b|c"),
        ("vec.feat[B]:f32 and more", "character 17", "Nothing may follow"),
        ("", "character 1", "Use one of"),
    ],
)
def test_a_bad_type_names_the_position_and_the_fix(text: str, where: str, fix: str) -> None:
    with pytest.raises(BadType) as caught:
        parse(text)

    assert where in str(caught.value)
    assert fix in str(caught.value)


@pytest.mark.parametrize(
    "text", ["vec.feat[" + "B," * 200_000 + "]:f32", "vec.feat[B,D:" + "9" * 4_000 + "]:f32", "[" * 4_000, None, 7]
)
def test_hostile_texts_are_refused_at_once(text: object) -> None:
    start = time.perf_counter()

    with pytest.raises(BadType):
        parse(text)  # type: ignore[arg-type]

    assert time.perf_counter() - start < 0.5


def test_twice_a_symbol_and_a_symbol_twice_are_the_same_length() -> None:
    assert parse("vec.feat[B,D:2*m]:f32") == parse("vec.feat[B,D:m*2]:f32")


@given(port_types())
def test_every_type_is_its_own_subtype(t: PortType) -> None:
    assert is_subtype(t, t)


@given(neighbours(3))
def test_subtyping_is_transitive(types: list[PortType]) -> None:
    a, b, c = types
    assume(is_subtype(a, b) and is_subtype(b, c))

    assert is_subtype(a, c)


@given(neighbours(2))
def test_the_subtype_relation_does_not_depend_on_the_names_of_symbols(types: list[PortType]) -> None:
    a, b = types

    assert is_subtype(a, b) == is_subtype(rename_symbols(a, "x"), rename_symbols(b, "y"))


@given(neighbours(2))
def test_a_subtype_always_unifies(types: list[PortType]) -> None:
    a, b = rename_symbols(types[0], "p"), rename_symbols(types[1], "c")
    assume(is_subtype(a, b))

    found = unify(a, b)

    assert unify(a, b, found) == found


@given(st.lists(st.integers(1, 3) | st.none(), min_size=2, max_size=4), st.randoms())
def test_unifying_several_edges_does_not_depend_on_their_order(given_lengths: list, random) -> None:
    wants = parse("vec.feat[B,D:n]:f32")
    edges = [wants.with_(dims={"D": length}) for length in given_lengths]

    def solve(order: list[PortType]) -> dict | None:
        found: dict = {}
        try:
            for edge in order:
                found = unify(edge, wants, found)
        except BadType:
            return None
        return found

    shuffled = list(edges)
    random.shuffle(shuffled)
    assert solve(edges) == solve(shuffled)


def test_symbols_are_solved_along_an_edge() -> None:
    wants = parse("tab.num[B,C:n]:f32")
    gives = parse("vec.feat[B,D:n*2]:f32")

    found = unify(parse("tab.num[B,C:6]:f32"), wants)

    assert found == {"n": 6}
    assert str(substitute(gives, found)) == "vec.feat[B,D:12]:f32"


def test_computed_lengths_are_solved_where_one_symbol_says_it() -> None:
    def solve(gives: str, wants: str) -> dict:
        return unify(parse(f"vec.feat[B,D:{gives}]:f32"), parse(f"vec.feat[B,D:{wants}]:f32"))

    assert solve("n*4", "k*2") == {"k": Sym("n", "*", 2)}
    assert solve("n+3", "k+1") == {"k": Sym("n", "+", 2)}
    assert solve("n/4", "k/2") == {"k": Sym("n", "/", 2)}
    assert solve("n-1", "k-1") == {"k": "n"}
    for gives, wants in (("n*2", "k*3"), ("n*2", "k+1"), ("n*2", "n*4")):
        with pytest.raises(BadType):
            solve(gives, wants)


def test_a_subtype_of_a_subtype_fits_through_two_computed_lengths() -> None:
    a, b, c = (parse(f"vec.feat[{axes}]:f32") for axes in ("B:n*2,D:n*4", "B:n,D:n*2", "B:m,D:n*2"))

    assert is_subtype(a, b)
    assert is_subtype(b, c)
    assert is_subtype(a, c)


def test_an_equation_without_a_whole_solution_does_not_unify() -> None:
    for length, symbol in ((7, "n*2"), (3, "n+4"), (MAX_DIM, "n-4")):
        with pytest.raises(BadType):
            unify(parse(f"vec.feat[B,D:{length}]:f32"), parse(f"vec.feat[B,D:{symbol}]:f32"))
    with pytest.raises(BadType):
        unify(parse("vec.feat[B,D:n]:f32"), parse("vec.feat[B,D:n*2]:f32"))


def test_a_length_defined_by_itself_is_an_error_and_not_a_loop() -> None:
    with pytest.raises(BadType, match="defined by itself"):
        resolve("n", {"n": "m", "m": "n"})


@pytest.mark.parametrize(
    ("gives", "wants", "fits"),
    [
        ("text.tokens[B,T,D:384]:f32", "text.tokens[B,T,D]:f32", True),
        ("text.tokens[B,T,D]:f32", "text.tokens[B,T,D:384]:f32", False),  # nobody knows how many there will be
        ("text.tokens[B,T,D:384]:f32", "text.tokens[B,D:384,T]:f32", False),
        ("text.tokens[B,T,D:384]:f32", "vec.feat[B,D:384]:f32", False),
        ("vec.feat[B,D:3]:f16", "vec.feat[B,D:3]:f32", True),
        ("vec.feat[B,D:3]:f64", "vec.feat[B,D:3]:f32", False),
        ("vec.feat[B,D:3]:i64", "vec.feat[B,D:3]:f64", False),  # 2^53 + 1 would change
        ("vec.feat[B,D:3]:f32@bert/a/1", "vec.feat[B,D:3]:f32", True),
        ("vec.feat[B,D:3]:f32", "vec.feat[B,D:3]:f32@bert/a/1", False),
        ("vec.feat[B,D:3]:f32@bert/a/1", "vec.feat[B,D:3]:f32@bert/a/2", False),
        ("text.ids[B,T]:i64{mask=m,vocab=bert}", "text.ids[B,T]:i64{vocab=bert}", True),
        ("text.ids[B,T]:i64{vocab=bert}", "text.ids[B,T]:i64{vocab=other}", False),
        ("text.ids[B,T]:i64{vocab=bert}", "text.ids[B,T]:i64{mask=m,vocab=bert}", True),  # without a mask, all count
        ("vec.feat[B,D:1]:f32{unit=rad}", "vec.feat[B,D:1]:f32{unit=deg}", False),
        ("vec.feat[B,D:2,K:3]:f32", "vec.feat[B,D:n,K:n]:f32", False),
    ],
)
def test_which_type_fits_where(gives: str, wants: str, fits: bool) -> None:
    assert is_subtype(parse(gives), parse(wants)) is fits


def test_widening_is_transitive_and_never_goes_both_ways() -> None:
    for a in DTYPES:
        for b in DTYPES:
            assert a == b or not (widens(a, b) and widens(b, a))
            for c in DTYPES:
                assert not (widens(a, b) and widens(b, c)) or widens(a, c)


def test_copies_change_only_what_was_asked() -> None:
    t = parse("image.pixels[B,C:3,H:224,W:224]:f32{norm=imagenet}")

    smaller = t.with_(dims={"H": 32, "W": None})

    assert str(smaller) == "image.pixels[B,C:3,H:32,W]:f32{norm=imagenet}"
    assert (t.attr("norm"), t.attr("unit"), t.axis("K"), t.dim("C")) == ("imagenet", None, None, 3)
    assert t.in_space("vit/map/1").in_space(None) == t


def test_the_light_modules_import_neither_torch_nor_numpy_nor_django() -> None:
    modules = (
        "priors, priors.types, priors.manifest, priors.weights, priors.library, priors.registry, priors.errors, "
        "composer, composer.errors, composer.graph, composer.check, composer.lock"
    )
    heavy = "[m for m in ('torch', 'numpy', 'transformers', 'django', 'celery') if m in sys.modules]"

    done = subprocess.run(
        [sys.executable, "-c", f"import sys, {modules}; print({heavy})"], capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "[]"
