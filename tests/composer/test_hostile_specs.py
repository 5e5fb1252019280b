"""Compositions written to do harm: each is refused in under a second of work, in little memory, with one line."""

import json
import subprocess
import sys
import textwrap
import time
import tracemalloc
from typing import Any

import pytest

from composer.check import check
from composer.graph import MAX_NODES, Graph
from priors.errors import UserError
from tests.composer._placeholders import resolve
from tests.processor_time import within

ROW = {"op": "input", "type": "vec.feat[B,D:8]:f32"}
TOKENS = {"op": "input", "type": "text.tokens[B,T,D:8]:f32"}
MOST_BYTES = 64 << 20


def document(nodes: dict[str, Any], output: str = "y", **more: Any) -> dict[str, Any]:
    return {"composition": 1, "adapt": "lossy", "nodes": nodes, "outputs": {"y": output}, **more}


def chain(count: int, op: dict[str, Any], first: dict[str, Any] = ROW) -> dict[str, Any]:
    nodes = {"n0": first} | {f"n{i}": {**op, "in": [f"n{i - 1}"]} for i in range(1, count)}
    return document(nodes, f"n{count - 1}")


def doubling(op: str, count: int = 30) -> dict[str, Any]:
    """Every node reads the one before it twice: 2^count if anything follows the wires one by one."""
    nodes = {"n0": ROW} | {f"n{i}": {"op": op, "in": [f"n{i - 1}"] * 2} for i in range(1, count)}
    return document(nodes, f"n{count - 1}")


def formula(expr: str) -> dict[str, Any]:
    row = {"op": "input", "type": "tab.num[B,C:2]:f32{cols=a|b}"}
    fn = {"op": "fn", "fn": "formula", "in": ["x"], "config": {"out": "vec.feat[B,D:1]:f32", "expr": expr}}
    return document({"x": row, "y": fn})


def with_y(y: dict[str, Any], **more: Any) -> dict[str, Any]:
    return document({"x": ROW, "t": TOKENS, "y": y, **more})


HOSTILE: dict[str, dict[str, Any]] = {
    "a cycle of two": document({"a": {"op": "sum", "in": ["b"]}, "b": {"op": "sum", "in": ["a"]}}, "a"),
    "a cycle of one": document({"a": {"op": "sum", "in": ["a"]}}, "a"),
    "a cycle through an output of a node": document(
        {"w": {"op": "load", "prior": "minilm"}, "a": {"op": "net", "in": {"w": "w", "ids": "a.last_hidden"}}}, "a"
    ),
    "a long cycle": document(
        {f"n{i}": {"op": "cast", "in": [f"n{(i + 1) % 900}"], "dtype": "f32"} for i in range(900)}, "n0"
    ),
    "a hundred thousand nodes": chain(100_000, {"op": "cast", "dtype": "f32"}),
    "a thousand nodes that insert nothing and end in a mistake": chain(MAX_NODES, {"op": "pool", "axis": "T"}, TOKENS),
    "a billion features": with_y({"op": "proj", "in": ["x"], "d_out": 10**9}),
    "a matrix of 2^40": with_y(
        {"op": "proj", "in": ["big"], "d_out": 2**20}, big={"op": "proj", "in": ["x"], "d_out": 2**20}
    ),
    "a billion places": with_y({"op": "resample", "in": ["t"], "axis": "T", "n": 10**9}),
    "a billion prefixes": with_y({"op": "expand", "in": ["x"], "axis": "T", "n": 10**9, "kind": "prefix"}),
    "a billion in a type": document({"y": {"op": "input", "type": "vec.feat[B,D:1000000000]:f32"}}),
    "a length of many digits": document({"y": {"op": "input", "type": f"vec.feat[B,D:{'9' * 4_000}]:f32"}}),
    "features that double": doubling("concat", 40),
    "features that multiply": document(
        {"n0": ROW} | {f"n{i}": {"op": "concat", "in": [f"n{i - 1}"] * 64} for i in range(1, 12)}, "n11"
    ),
    "an axis flattened beyond all": document(
        {
            "x": {"op": "input", "type": "image.map[B,D:60000,H:60000,W:60000]:f32"},
            "y": {"op": "layout", "in": ["x"], "expr": "B,D,H,W -> B,S=D*H*W"},
        }
    ),
    "a layout without end": with_y({"op": "layout", "in": ["x"], "expr": "B,D" + "*D" * 5_000 + " -> B"}),
    "a layout that splits by nothing": with_y({"op": "layout", "in": ["x"], "expr": "B,D=E:0*C -> B,E,C"}),
    "a layout that is no expression": with_y({"op": "layout", "in": ["x"], "expr": "__import__('os')"}),
    "a unit with a comma": with_y({"op": "cast", "in": ["x"], "unit": "rad,unit=deg", "scale": 1.0}),
    "a unit that closes the type": with_y({"op": "cast", "in": ["x"], "unit": "m}{vocab=a", "scale": 1.0}),
    "a unit of spaces": with_y({"op": "cast", "in": ["x"], "unit": "m s", "scale": 1.0}),
    "a unit without end": with_y({"op": "cast", "in": ["x"], "unit": "m" * 10_000, "scale": 1.0}),
    "a unit without a scale": with_y({"op": "cast", "in": ["x"], "unit": "m"}),
    "a formula of a million signs": formula("a+" * 500_000 + "a"),
    "a formula of deep brackets": formula("(" * 5_000 + "a" + ")" * 5_000),
    "a formula of deep calls": formula("sin(" * 5_000 + "a" + ")" * 5_000),
    "a formula of signs": formula("-" * 5_000 + "a"),
    "a formula that imports": formula("__import__('os').system('id')"),
    "a formula with attributes": formula("a.__class__.__mro__"),
    "a formula that loops": formula("[a for a in b]"),
    "labels by the hundred thousand": with_y({"op": "head", "in": ["x"], "labels": [f"l{i}" for i in range(100_000)]}),
    "a label of a megabyte": with_y({"op": "head", "in": ["x"], "labels": ["a" * (1 << 20), "b"]}),
    "a constant of deep lists": with_y(
        {"op": "const", "type": "vec.feat[B,D:8]:f32", "value": json.loads("[" * 500 + "]" * 500)}
    ),
    "a constant of many numbers": with_y({"op": "const", "type": "vec.feat[B,D]:f32", "value": [0] * 200_000}),
    "weights by the thousand": with_y({"op": "sum", "in": ["x"] * 65}),
    "layers without end": with_y({"op": "attend", "in": {"q": "t", "kv": "t"}, "layers": 10**9}),
    "folds without end": with_y({"op": "head", "in": ["x"], "target": "t", "fit": {"oof": 10**9}}),
    "a name that is a path": document({"../../etc/passwd": ROW}, "../../etc/passwd"),
    "a prior that is a path": document({"y": {"op": "load", "prior": "../../etc/passwd"}}),
    "a file that is a path": with_y(
        {"op": "const", "type": "vec.feat[B,D:8]:f32", "file": "/etc/passwd", "tensor": "t", "sha256": "0" * 64}
    ),
    "a merge of depths without end": document(
        {"w": {"op": "load", "prior": "minilm"}, "y": {"op": "splice", "in": ["w"], "layers": [[0, 0, 1]] * 2_000}}
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_it_is_refused_in_under_a_second_and_64_megabytes(name: str) -> None:
    tracemalloc.start()
    start = time.process_time()
    try:
        with pytest.raises(UserError) as caught:
            check(Graph.from_dict(HOSTILE[name]), resolve)
        taken, (_, peak) = time.process_time() - start, tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert taken < 4.0  # tracing memory makes Python several times slower; without it see below
    assert peak < MOST_BYTES
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 2_000


@pytest.mark.parametrize("name", HOSTILE)
def test_it_is_refused_in_under_a_second(name: str) -> None:
    with within(1.0), pytest.raises(UserError):
        check(Graph.from_dict(HOSTILE[name]), resolve)


def test_a_tower_of_powers_is_counted_in_floats_and_not_in_whole_numbers() -> None:
    from composer.lock import Lock
    from composer.lower import lower
    from priors.library import LocalLibrary

    lock = Lock.of(check(Graph.from_dict(formula("9**9**9**9**9*a")), resolve))
    with within(5.0):  # most of it is what torch takes to begin
        lower(lock, LocalLibrary("/nowhere")).features({"x": [[1.0, 2.0]]}, ["y"])


def test_what_only_looks_large_is_checked_without_following_every_path() -> None:
    with within(1.0):
        check(Graph.from_dict(doubling("sum", 60)), resolve)
        check(Graph.from_dict(doubling("gate", 60)), resolve)


def test_the_largest_graph_there_may_be_is_checked_in_under_a_second() -> None:
    graph = Graph.from_dict(chain(MAX_NODES, {"op": "cast", "dtype": "f32"}))
    with within(1.0):
        assert len(check(graph, resolve).nodes) == MAX_NODES


def test_a_yaml_bomb_is_refused_under_a_hard_limit_of_memory() -> None:
    script = textwrap.dedent("""
        import resource
        from composer.errors import BadGraph
        from composer.graph import Graph

        bombs = [
            "a: &a [x, x]\\n" + "".join(f"b{i}: &b{i} [*{'a' if i == 0 else f'b{i - 1}'}, *a]\\n" for i in range(60)),
            "composition: " + "[" * 200_000,
            "composition: !!python/object/apply:os.system ['id']\\n",
        ]
        resource.setrlimit(resource.RLIMIT_AS, (512 << 20, 512 << 20))
        for bomb in bombs:
            try:
                Graph.from_yaml(bomb)
            except BadGraph:
                continue
            raise SystemExit("was read")
    """)

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)

    assert (done.returncode, done.stderr) == (0, "")


def test_check_loads_no_torch() -> None:
    script = textwrap.dedent("""
        import sys
        from composer.check import check
        from composer.graph import Graph
        from composer.alternatives import alternatives
        from composer.nested import resolver
        from tests.composer._placeholders import resolve

        check(Graph.load("tests/composer/ir/ex2_image_text.yaml"), resolve)
        print([name for name in ("torch", "numpy", "transformers", "safetensors") if name in sys.modules])
    """)

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)

    assert (done.stdout.strip(), done.stderr) == ("[]", "")
