"""Compositions as text: what people write is read, and what would hurt is refused quickly and says why."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from composer.errors import BadGraph
from composer.graph import MAX_NODES, Graph
from tests.processor_time import within

IR = Path(__file__).parent / "ir"
EXAMPLES = sorted(IR.glob("*.yaml"))
QUICK = 1.0
"""Seconds: generous, for a busy machine."""


def document(**changes: Any) -> dict[str, Any]:
    nodes = {
        "x": {"op": "input", "type": "tab.num[B,C:3]:f32"},
        "y": {"op": "head", "in": ["x"], "labels": ["a", "b"]},
    }
    return {"composition": 1, "nodes": nodes, "outputs": {"y": "y"}} | changes


def with_node(body: Any, name: str = "z") -> dict[str, Any]:
    found = document()
    found["nodes"][name] = body
    found["outputs"]["z"] = name
    return found


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_read_and_write_themselves(path: Path) -> None:
    graph = Graph.load(path)

    assert Graph.from_json(graph.to_json()) == graph
    assert Graph.from_dict(graph.to_dict()) == graph


def test_defaults_are_written_out_and_function_settings_gathered() -> None:
    graph = Graph.load(IR / "ex3_tabular_fourier_mlp.yaml")
    by_name = {node.name: node for node in graph.nodes}

    assert by_name["four"].attrs["config"] == {"m": 64, "scale": 1.0, "seed": 7}
    assert by_name["m"].inputs == (("w", "wm"), ("x", "z"))
    assert by_name["y"].sources == ("phys", "res")
    assert (graph.seed, graph.adapt, graph.opset) == (7, "lossless", {"core": 1, "fn": 1, "arch": 1})


def test_nodes_may_stand_in_any_order() -> None:
    found = document()
    found["nodes"] = dict(reversed(found["nodes"].items()))

    assert [node.name for node in Graph.from_dict(found).nodes] == ["x", "y"]


def test_plain_words_stay_text_and_numbers_are_numbers() -> None:
    text = """
    composition: 1
    nodes:
      x: {op: input, type: "tab.num[B,C:3]:f32"}
      y: {op: head, in: [x], labels: [no, on, 2024-01-01, "7"], init: zero}
    outputs: {y: y}
    fit: {lr: 1.0e-3, text: 0x10, seed: 7, note: ~, fast: true}
    """

    graph = Graph.from_yaml(text)

    assert graph.nodes[1].attrs["labels"] == ["no", "on", "2024-01-01", "7"]
    assert graph.fit == {"lr": 0.001, "text": "0x10", "seed": 7, "note": None, "fast": True}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"composition": 2}, "composition: 1"),
        ({"fit": {"steps": "many"}}, "steps 'many' is not a whole number"),
        ({"fit": {"lr": {"body": 0.1}}}, "Roles are head, adapter, delta, net"),
        ({"fit": {"lr": -1}}, "lr '-1' is not a number from 0 to 1"),
        ({"fit": {"precision": "f16"}}, "Write auto or f32"),
        ({"opset": {"core": 2}}, "newest is 1"),
        ({"opset": {"cor": 1}}, "core, fn, arch"),
        ({"node": {}}, "Did you mean 'nodes'"),
        ({"nodes": {}}, "'nodes' is missing or empty"),
        ({"outputs": {}}, "'outputs' is missing or empty"),
        ({"outputs": {"y": "z"}}, "not a node"),
        ({"outputs": {"Y!": "y"}}, "output name"),
        ({"adapt": "all"}, "none, lossless, trainable, lossy"),
        ({"strict": "yes"}, "true or false"),
        ({"name": ""}, "'name'"),
        ({"name": "a\nb"}, "'name'"),
        ({"dims": {"T": [9, 1]}}, "[least, most]"),
        ({"dims": {"T": True}}, "[least, most]"),
        ({"fit": {"seed": -1}}, "seed"),
        ({"fit": {"seed": 1.5}}, "seed"),
        ({"fit": []}, "'fit'"),
    ],
)
def test_a_wrong_section_says_what_to_write(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(BadGraph) as caught:
        Graph.from_dict(document(**changes))

    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"op": "python_eval", "in": ["x"]}, "the set is closed"),
        ({"op": "poool", "in": ["x"]}, "pool"),
        ({"op": ["pool"], "in": ["x"]}, "the set is closed"),
        ({"in": ["x"]}, "unknown op"),
        ("pool", "not a table"),
        ({"op": "pool", "in": ["x"]}, "axis"),
        ({"op": "pool", "in": ["x"], "axis": "Q"}, "axis"),
        ({"op": "pool", "in": ["x"], "axis": "T", "code": "os.system"}, "code"),
        ({"op": "pool", "in": "x", "axis": "T"}, "a list of nodes"),
        ({"op": "pool", "in": ["x", "x"], "axis": "T"}, "it takes 1"),
        ({"op": "pool", "in": [["x"]], "axis": "T"}, "a list of nodes"),
        ({"op": "concat", "in": ["x"] * 65}, "at most 64"),
        ({"op": "net", "in": ["x", "x"]}, "a table of port: node"),
        ({"op": "gate", "in": ["y", "xx"]}, "Nearest: x"),
        ({"op": "proj", "in": ["x"], "d_out": 10**9}, "d_out"),
        ({"op": "proj", "in": ["x"], "d_out": "8"}, "d_out"),
        ({"op": "input", "type": "tab.num[B,C:1000000000]:f32"}, "out of range"),
        ({"op": "input", "type": "tab.num[B"}, "expected"),
        ({"op": "load", "prior": "../../etc/passwd"}, "prior reference"),
        ({"op": "head", "in": ["x"]}, "'labels' for classes"),
        ({"op": "head", "in": ["x"], "labels": ["a", "a"]}, "twice"),
        ({"op": "head", "in": ["x"], "labels": [1, 2]}, "labels"),
        ({"op": "head", "in": ["x"], "labels": ["a", "b"], "loss": "mse"}, "cross_entropy"),
        ({"op": "head", "in": ["x"], "target": "t", "loss": "cross_entropy"}, "mse"),
        ({"op": "fn", "fn": "pca", "in": ["x"], "config": {"k": 2}, "k": 2}, "stands beside"),
        ({"op": "cast", "in": ["x"]}, "dtype"),
        ({"op": "cast", "in": ["x"], "unit": "rad"}, "scale"),
        ({"op": "const", "type": "scalar.value[B]:f32"}, "'value'"),
        ({"op": "net", "in": {"w": "x", "x": "x"}, "train": "half"}, "train"),
    ],
)
def test_a_wrong_node_is_named_with_what_to_write(body: Any, says: str) -> None:
    with pytest.raises(BadGraph) as caught:
        Graph.from_dict(with_node(body))

    assert "'z'" in str(caught.value)
    assert says in str(caught.value)


@pytest.mark.parametrize("name", ["", "a b", "../x", "a~pool~b", "é", "x" * 101, "1x", "<script>"])
def test_a_node_name_that_could_confuse_is_refused(name: str) -> None:
    with pytest.raises(BadGraph, match="node name"):
        Graph.from_dict(with_node({"op": "cast", "in": ["x"], "dtype": "f32"}, name))


def test_a_cycle_is_shown_in_the_direction_values_flow() -> None:
    found = with_node({"op": "sum", "in": ["x", "b"]}, "a")
    found["nodes"]["b"] = {"op": "cast", "in": ["c"], "dtype": "f32"}
    found["nodes"]["c"] = {"op": "cast", "in": ["a"], "dtype": "f32"}

    with pytest.raises(BadGraph, match="a -> c -> b -> a"):
        Graph.from_dict(found)
    with pytest.raises(BadGraph, match="z -> z"):
        Graph.from_dict(with_node({"op": "sum", "in": ["z"]}))


def long_chain(count: int) -> dict[str, Any]:
    nodes: dict[str, Any] = {"n0": {"op": "input", "type": "vec.feat[B,D:3]:f32"}}
    for i in range(1, count):
        nodes[f"n{i}"] = {"op": "cast", "in": [f"n{i - 1}"], "dtype": "f32"}
    return {"composition": 1, "nodes": nodes, "outputs": {"y": f"n{count - 1}"}}


def nested(depth: int, opening: str = "[", closing: str = "]") -> str:
    return "composition: " + opening * depth + closing * depth


ALIASES = "a: &a [x, x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)}, *{chr(97 + i)}]\n" for i in range(20)
)
HOSTILE_YAML = {
    "a YAML bomb": ALIASES,
    "an anchor alone": "composition: &a 1\n",
    "an alias alone": "composition: *a\n",
    "a merge key": "a: {<<: *b}\n",
    "a Python object": "composition: !!python/object/apply:os.system ['id']\n",
    "a Python name": "composition: !!python/name:os.system\n",
    "a local tag": "composition: !x 1\n",
    "a core tag": "composition: !!int 1\n",
    "a verbatim tag": "composition: !<tag:yaml.org,2002:str> 1\n",
    "deep lists": nested(100_000),
    "deep tables": nested(100_000, "{a: ", "}"),
    "deep lists in blocks": "".join(f"{' ' * i}-\n" for i in range(1, 900)),
    "a hundred thousand nodes": json.dumps(long_chain(100_000)),
    "a hundred thousand values": "a: [" + "1, " * 110_000 + "1]",
    "an endless line": "a: " + "x" * 600_000,
    "two documents": "composition: 1\n---\ncomposition: 1\n",
    "nothing": "",
    "only a comment": "# nothing\n",
    "a list": "- composition\n",
    "a word": "composition",
    "a duplicate key": "composition: 1\ncomposition: 1\n",
    "a key that is a list": "[a]: 1\n",
    "a key that is a number": "1: 1\n",
    "a number of 5,000 digits": "composition: " + "9" * 5_000,
    "infinity by exponent": "composition: 1e999\n",
    "unclosed": "composition: [1\n",
    "a tab": "composition:\n\t- 1\n",
    "a control character": "composition: \x07\n",
    "many question marks": "? " * 100_000,
    "many colons": "a: " * 50_000,
}


@pytest.mark.parametrize("name", HOSTILE_YAML)
def test_hostile_yaml_is_refused_quickly(name: str) -> None:
    with within(QUICK), pytest.raises(BadGraph) as caught:
        Graph.from_yaml(HOSTILE_YAML[name])
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


HOSTILE_JSON = {
    "deep lists": '{"composition": ' + "[" * 100_000,
    "deep tables": '{"a": ' * 50_000,
    "a hundred thousand nodes": json.dumps(long_chain(100_000)),
    "NaN": '{"composition": NaN}',
    "infinity": '{"composition": 1e999}',
    "a number of 5,000 digits": '{"composition": ' + "9" * 5_000 + "}",
    "a duplicate key": '{"composition": 1, "composition": 1}',
    "a lone surrogate": '{"composition": 1, "name": "\\ud800"}',
    "nothing": "",
    "text behind it": "{} {}",
}


@pytest.mark.parametrize("name", HOSTILE_JSON)
def test_hostile_json_is_refused_quickly(name: str) -> None:
    with within(QUICK), pytest.raises(BadGraph):
        Graph.from_json(HOSTILE_JSON[name])


@pytest.mark.parametrize(
    "value",
    [
        long_chain(100_000),
        document(fit={"a": float("nan")}),
        document(fit={"a": 10**400}),
        document(fit={"a": object()}),
        document(fit={1: 2}),
        document(fit={"a": [0] * 200_000}),
        [],
        None,
        "composition: 1",
    ],
    ids=["nodes", "nan", "huge", "object", "key", "values", "list", "none", "text"],
)
def test_hostile_values_are_refused_quickly(value: Any) -> None:
    with within(QUICK), pytest.raises(BadGraph):
        Graph.from_dict(value)


def test_values_that_hold_themselves_are_refused() -> None:
    loop: dict[str, Any] = {}
    loop["a"] = loop

    with pytest.raises(BadGraph, match="nested too deeply"):
        Graph.from_dict(document(fit=loop))


def test_the_largest_graph_is_read_quickly_and_one_more_node_is_not() -> None:
    with within(QUICK):
        assert len(Graph.from_dict(long_chain(MAX_NODES)).nodes) == MAX_NODES
    with pytest.raises(BadGraph, match="limit is 1,000"):
        Graph.from_dict(long_chain(MAX_NODES + 1))


@given(st.text(max_size=80) | st.text("compsitn:1 \n-[]{}&*!'\"#|>%@`?,ax", max_size=60))
def test_any_text_is_a_graph_or_a_bad_graph(text: str) -> None:
    for read in (Graph.from_yaml, Graph.from_json):
        with pytest.raises(BadGraph):
            read(text)


def test_a_file_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes("näme: 1".encode("latin-1"))

    with pytest.raises(BadGraph, match="No such file"):
        Graph.load(tmp_path / "nothing.yaml")
    with pytest.raises(BadGraph, match="UTF-8"):
        Graph.load(tmp_path / "latin.yaml")
    with pytest.raises(BadGraph, match="json cannot be read"):
        Graph.load(tmp_path)


def test_a_graph_does_not_share_what_it_was_made_from() -> None:
    found = document(fit={"lr": {"head": 0.1}})
    graph = Graph.from_dict(found)

    found["fit"]["lr"]["head"] = 9.0

    assert graph.fit == {"lr": {"head": 0.1}}


def test_the_package_names_functions_whatever_was_imported_before() -> None:
    import composer
    import composer.graph

    assert composer.Graph is Graph
    assert set(composer.__all__) <= set(dir(composer))
    with pytest.raises(AttributeError):
        composer.nothing  # noqa: B018
