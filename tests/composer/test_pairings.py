"""Two ports at a time: more than 200 pairings that are refused, each with the code that says why, and more than 200
that are accepted with exactly the adapters they need.

A row is what a producer gives, what a consumer wants, which adapters may be put in, and what must come of it. The rows
are every kind of tensor (`KINDS`) times every way to be wrong or right in one respect only.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from composer.check import Checked, check
from composer.errors import PortMismatch
from composer.graph import Graph
from composer.license import Use, judge
from composer.lock import Lock
from priors.manifest import PriorManifest, PriorRef
from tests.composer._placeholders import network, resolve

KINDS = {
    "features": "vec.feat[B,D:8]",
    "tokens": "text.tokens[B,T:16,D:8]",
    "patches": "image.patches[B,S:4,D:8]",
    "map": "image.map[B,D:8,H:4,W:4]",
    "pixels": "image.pixels[B,C:3,H:8,W:8]",
    "wave": "audio.wave[B,T:400]",
    "mel": "audio.mel[B,T:16,F:40]",
    "frames": "audio.frames[B,T:16,D:8]",
    "table": "tab.num[B,C:8]",
    "series": "series.num[B,T:16,C:3]",
}
"""Tensors of every modality, without their dtype."""

RAW = {"text": "text.raw[B]:str", "image": "image.raw[B]:u8", "audio": "audio.raw[B]:f32"}
ENCODED = {
    "text": ["text.ids[B,T]:i64{vocab=words}"],
    "image": ["image.pixels[B,C:3,H:7,W:7]:f32", "image.pixels[B,C:3,H:9,W:9]:f32{norm=imagenet}"],
    "audio": ["audio.wave[B,T]:f32{sr=16000}", "audio.mel[B,T,F:40]:f32"],
}


@dataclass(frozen=True)
class Row:
    """`expected` is the code of the error, or the adapters in order."""

    gives: str
    wants: str
    adapt: str
    expected: str | tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.gives} -> {self.wants} ({self.adapt})"


def _f32(kind: str, more: str = "") -> str:
    return f"{KINDS[kind]}:f32{more}"


def wrong() -> Iterator[Row]:
    for kind in KINDS:
        for given, wanted in (("{unit=rad}", "{unit=deg}"), ("{unit=m}", "{unit=s}"), ("", "{unit=kg}")):
            yield Row(_f32(kind, given), _f32(kind, wanted), "lossy", "unit-mismatch")
        for given, wanted in (
            ("{norm=plain}", "{norm=imagenet}"),
            ("", "{range=0|1}"),
            ("{range=0|1}", "{range=-1|1}"),
        ):
            yield Row(_f32(kind, given), _f32(kind, wanted), "lossy", "meaning-mismatch")
        yield Row(_f32(kind, "{cols=a|b}"), _f32(kind, "{cols=b|a}"), "lossy", "meaning-mismatch")
        for given, wanted in (("i64", "f32"), ("f32", "i64"), ("f64", "i32"), ("i32", "f32")):
            yield Row(f"{KINDS[kind]}:{given}", f"{KINDS[kind]}:{wanted}", "lossy", "dtype-mismatch")
        yield Row(f"{KINDS[kind]}:f16", f"{KINDS[kind]}:f32", "none", "dtype-mismatch")
    for kind in ("wave", "mel", "frames", "series"):
        for given, wanted in (("{sr=44100}", "{sr=16000}"), ("{sr=8000}", "{sr=16000}"), ("", "{sr=16000}")):
            yield Row(_f32(kind, given), _f32(kind, wanted), "lossy", "sample-rate-mismatch")
    for given, wanted in (("a", "b"), ("bert", "gpt2"), ("bert-cased", "bert-uncased"), ("t5", "llama")):
        ids = "text.ids[B,T]:i64"
        yield Row(f"{ids}{{vocab={given}}}", f"{ids}{{vocab={wanted}}}", "lossy", "vocabulary-mismatch")
        yield Row(f"{ids}{{vocab={given}}}", f"{ids}{{vocab={wanted}}}", "lossless", "vocabulary-mismatch")
        yield Row(ids, f"{ids}{{vocab={wanted}}}", "lossy", "vocabulary-mismatch")
        yield Row(
            _f32("tokens", f"{{vocab={given}}}"), _f32("tokens", f"{{vocab={wanted}}}"), "lossy", "vocabulary-mismatch"
        )
    for modality, raw in RAW.items():
        for other, encoded in ENCODED.items():
            if other != modality:
                yield from (Row(raw, wanted, "lossy", "modality-mismatch") for wanted in encoded)
                yield Row(raw, RAW[other], "lossy", "modality-mismatch")
        for kind in KINDS:
            if not KINDS[kind].startswith(modality):
                yield Row(raw, _f32(kind), "lossy", "modality-mismatch")
        yield Row(ENCODED[modality][0], raw, "lossy", "modality-mismatch")
        yield Row(raw, ENCODED[modality][0], "none", "modality-mismatch")
    for kind in ("features", "tokens", "frames", "table"):
        yield Row(_f32(kind), "text.ids[B,T]:i64", "lossy", "modality-mismatch")
        yield Row("text.ids[B,T]:i64", _f32(kind), "lossy", "modality-mismatch")
    for given, wanted in (
        ("pixels", "mel"),
        ("mel", "pixels"),
        ("tokens", "wave"),
        ("patches", "frames"),
        ("series", "map"),
    ):
        yield Row(_f32(given), _f32(wanted), "lossy", "modality-mismatch")
    for kind in ("features", "tokens", "patches", "map", "frames"):
        for given in ("", "@bert/layer_3/aaaa", "@bert/layer_6/bbbb", "@vit/last/cccc"):
            yield Row(_f32(kind, given), _f32(kind, "@bert/layer_6/aaaa"), "lossless", "space-mismatch")
        yield Row(_f32(kind), _f32(kind).replace("D:8", "D:9"), "lossless", "shape-mismatch")
        yield Row(_f32(kind), _f32(kind).replace("D:8", "D:9"), "none", "shape-mismatch")
    for kind in ("tokens", "patches", "frames", "series", "wave"):
        for adapt in ("none", "lossless", "trainable"):
            longer = _f32(kind).replace("T:", "T:9").replace("S:", "S:9")
            yield Row(_f32(kind), longer, adapt, "shape-mismatch")
    for kind in ("tokens", "patches", "map", "frames"):
        yield Row(_f32(kind), _f32("features"), "lossless", "shape-mismatch")
    for kind in ("tokens", "patches", "frames"):
        yield Row(_f32("features"), _f32(kind), "lossless", "shape-mismatch")
    for level in ("logits", "probs"):
        for given, wanted in ((3, 5), (2, 10), (10, 2)):
            gives, wants = f"dist.{level}[B,K:{given}]:f32", f"dist.{level}[B,K:{wanted}]:f32"
            yield Row(gives, wants, "lossy", "shape-mismatch")
    yield Row("audio.mel[B,T:16,F:40]:f32", "audio.mel[B,T:16,F:80]:f32", "lossy", "shape-mismatch")
    yield Row("vec.feat[B,D:8,E:4]:f32", "vec.feat[B,D:8]:f32", "lossy", "shape-mismatch")
    yield Row("vec.feat[B,D]:f32", "vec.feat[B,D:8]:f32", "lossy", "shape-mismatch")
    yield Row("vec.feat[D:8]:f32", "vec.feat[B,D:8]:f32", "lossy", "shape-mismatch")


def right() -> Iterator[Row]:
    for kind, written in KINDS.items():
        for dtype in ("f32", "f16", "i64"):
            yield Row(f"{written}:{dtype}", f"{written}:{dtype}", "none", ())
        for more in ("{unit=rad}", "{norm=imagenet}", "{range=0|1}", "{mask=m}", "{cols=a|b}"):
            yield Row(_f32(kind, more), _f32(kind, more), "none", ())
            yield Row(_f32(kind, more), _f32(kind), "none", ())
        yield Row(_f32(kind), _f32(kind, "{mask=m}"), "none", ())
        for given, wanted in (("f16", "f32"), ("f32", "f64"), ("u8", "f32"), ("f64", "f32")):
            yield Row(f"{written}:{given}", f"{written}:{wanted}", "lossless", ("cast",))
        open_ended = (
            f"{written.split('[')[0]}[{','.join(a.split(':')[0] for a in written[:-1].split('[')[1].split(','))}]:f32"
        )
        yield Row(_f32(kind), open_ended, "none", ())
        yield Row(_f32(kind, "@any/where/aaaa"), _f32(kind), "none", ())
    for kind in ("features", "tokens", "patches", "map", "frames"):
        yield Row(_f32(kind, "@bert/layer_3/aaaa"), _f32(kind, "@bert/layer_3/aaaa"), "none", ())
        yield Row(_f32(kind, "@bert/layer_3/aaaa"), _f32(kind, "@bert/layer_6/aaaa"), "trainable", ("proj",))
        yield Row(_f32(kind), _f32(kind).replace("D:8", "D:9"), "trainable", ("proj",))
        yield Row(_f32(kind).replace("f32", "f16"), _f32(kind).replace("D:8", "D:9"), "trainable", ("proj", "cast"))
    for kind in ("tokens", "patches", "frames", "series", "wave"):
        longer = _f32(kind).replace("T:", "T:9").replace("S:", "S:9")
        yield Row(_f32(kind), longer, "lossy", ("resample",))
    for kind in ("tokens", "patches", "frames"):
        yield Row(_f32(kind), _f32("features"), "trainable", ("pool",))
        yield Row(_f32(kind), "vec.feat[B,D:9]:f32", "trainable", ("pool", "proj"))
        yield Row(_f32("features"), _f32(kind), "trainable", ("expand",))
        turned = _f32(kind).split("[")[0] + "[B,D:8," + ("S:4" if kind == "patches" else "T:16") + "]:f32"
        yield Row(_f32(kind), turned, "lossless", ("layout",))
        yield Row(turned, _f32(kind), "lossless", ("layout",))
        yield Row(turned, _f32("features"), "trainable", ("pool",))
    yield Row(_f32("map"), _f32("features"), "trainable", ("pool", "pool"))
    yield Row(_f32("pixels"), "image.pixels[B,C:3,H:16,W:8]:f32", "lossy", ("resample",))
    yield Row(_f32("pixels"), "image.pixels[B,C:3,H:16,W:16]:f32", "lossy", ("resample", "resample"))
    yield Row(_f32("pixels"), "image.pixels[B,H:8,W:8,C:3]:f32", "lossless", ("layout",))
    yield Row(_f32("pixels"), "image.pixels[B,C:1,H:8,W:8]:f32", "trainable", ("proj",))
    yield Row(_f32("table"), _f32("features"), "lossless", ("layout",))
    yield Row(_f32("features"), _f32("table"), "lossless", ("layout",))
    yield Row("tab.num[B,C:8]:f64", "vec.feat[B,D:8]:f32", "lossless", ("layout", "cast"))
    yield Row("tab.num[B,C:8]:f64", "vec.feat[B,D:3]:f32", "trainable", ("layout", "proj", "cast"))
    yield Row("dist.logits[B,K:3]:f32", "dist.probs[B,K:3]:f32", "lossless", ("cast",))
    yield Row("dist.probs[B,K:3]:f32", "dist.logits[B,K:3]:f32", "lossless", ("cast",))
    yield Row("dist.logits[B,K:3]:f32", "vec.feat[B,D:3]:f32", "lossless", ("layout",))
    for modality, raw in RAW.items():
        yield Row(raw, raw, "none", ())
        yield from (Row(raw, wanted, "lossless", ("encode",)) for wanted in ENCODED[modality])
    for vocab in ("words", "bert", "gpt2"):
        yield Row(f"text.ids[B,T]:i64{{vocab={vocab}}}", f"text.ids[B,T]:i64{{vocab={vocab}}}", "none", ())
    for sr in (8_000, 16_000, 44_100):
        yield Row(_f32("wave", f"{{sr={sr}}}"), _f32("wave", f"{{sr={sr}}}"), "none", ())


def paired(row: Row) -> Checked:
    """A network that reads `wants`, wired to an input that gives `gives`."""

    def resolve_port(ref: PriorRef) -> PriorManifest:
        return network("port", {"x": row.wants}, {"out": "vec.feat[B,D:4]:f32"}, architecture="port", sha256="abcd")

    nodes = {
        "given": {"op": "input", "type": row.gives},
        "w": {"op": "load", "prior": "prior://port"},
        "wanting": {"op": "net", "in": {"w": "w", "x": "given"}},
    }
    document = {"composition": 1, "adapt": row.adapt, "nodes": nodes, "outputs": {"y": "wanting"}}
    return check(Graph.from_dict(document), resolve_port)


def test_there_are_two_hundred_of_each_and_no_two_alike() -> None:
    for rows in (list(wrong()), list(right())):
        assert len(rows) >= 200
        assert [row for row, count in Counter(map(str, rows)).items() if count > 1] == []
    counts = Counter(row.expected for row in wrong())
    assert len(counts) == 8 and min(counts.values()) >= 10


@pytest.mark.parametrize("row", list(wrong()), ids=str)
def test_a_wrong_pairing_is_refused_for_what_is_wrong(row: Row) -> None:
    with pytest.raises(PortMismatch) as caught:
        paired(row)

    message = str(caught.value)
    assert (caught.value.code, row.gives.split("[")[0] in message) == (row.expected, True)
    assert "'given'" in message and "'wanting'" in message
    assert message.count(". ") >= 1 and "\n" not in message  # the cause, then what to do


@pytest.mark.parametrize("row", list(right()), ids=str)
def test_a_right_pairing_is_accepted_with_the_adapters_it_needs(row: Row) -> None:
    found = paired(row)

    assert tuple(node.op for node in found.inserted) == row.expected


def merged(first: str, second: str, op: str) -> Lock:
    """The lock of two networks under these licenses whose weights are merged, or whose values are put together."""
    nodes = {
        "text": {"op": "input", "type": "text.raw[B]:str"},
        "a": {"op": "load", "prior": "prior://minilm", "license": first},
        "b": {"op": "load", "prior": "prior://x", "license": second},
        "m": {"op": "merge", "in": ["a", "b"], "method": "linear"},
        "one": {"op": "net", "in": {"w": "m", "ids": "text"}},
        "two": {"op": "net", "in": {"w": "b", "ids": "text"}},
        "y": {"op": "concat", "in": ["one", "two"]},
    }
    if op == "concat":
        nodes["one"] = {"op": "net", "in": {"w": "a", "ids": "text"}}
        del nodes["m"]
    document = {"composition": 1, "adapt": "trainable", "nodes": nodes, "outputs": {"y": "y"}}
    return Lock.of(check(Graph.from_dict(document), resolve))


FREE = ("MIT", "Apache-2.0", "BSD-3-Clause", "CC-BY-4.0", "CC0-1.0")
FORBIDDING = {
    "no-derivatives": [("CC-BY-ND-4.0", other) for other in FREE],
    "share-alike": [("CC-BY-SA-4.0", "CC-BY-NC-SA-4.0"), ("AGPL-3.0-only", "CC-BY-NC-SA-4.0")],
}


@pytest.mark.parametrize(("code", "pair"), [(code, pair) for code, pairs in FORBIDDING.items() for pair in pairs])
def test_licenses_that_do_not_go_into_one_file_may_stand_side_by_side(code: str, pair: tuple[str, str]) -> None:
    [conflict, *_] = judge(merged(*pair, "merge")).conflicts

    assert conflict.code == code
    assert "m" in conflict.edge
    assert not judge(merged(*pair, "concat")).conflicts


@pytest.mark.parametrize("other", FREE)
def test_a_license_against_commerce_forbids_selling_even_side_by_side(other: str) -> None:
    lock = merged("CC-BY-NC-4.0", other, "concat")

    assert [conflict.code for conflict in judge(lock, Use(sell=True)).conflicts] == ["noncommercial"]
    assert not judge(lock).conflicts


@pytest.mark.parametrize("first", FREE)
@pytest.mark.parametrize("second", FREE)
def test_free_licenses_go_together_in_every_way(first: str, second: str) -> None:
    for op in ("merge", "concat"):
        assert not judge(merged(first, second, op), Use(sell=True)).conflicts
