"""Small documents around one operation, for tests that run through check, lock and lowering."""

from typing import Any

from composer.check import check
from composer.graph import Graph
from composer.lock import Lock
from composer.lower import Lowered, lower
from priors.library import LocalLibrary, resolver

TOKENS = {"op": "input", "type": "text.tokens[B,T,D:6]:f32{mask=seen}"}
ROWS = {"op": "input", "type": "vec.feat[B,D:6]:f32"}


def lowered_nodes(
    nodes: dict[str, Any], outputs: str | dict[str, str] = "y", *, library: Any = None, **more: Any
) -> Lowered:
    """The lowered composition of these nodes; its lock has gone through JSON."""
    document = {
        "composition": 1,
        "adapt": "trainable",
        "nodes": nodes,
        "outputs": {"y": outputs} if isinstance(outputs, str) else outputs,
        **more,
    }
    library = library or LocalLibrary("/nowhere")
    checked = check(Graph.from_dict(document), resolver(library))
    return lower(Lock.from_json(Lock.of(checked).to_json()), library)
