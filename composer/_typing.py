"""The typing rule of each op: what its inputs must be, and what it gives.

A rule reads its inputs' types through a `Scope`, asks it to adapt them, and returns the node with its inputs replaced
by the adapted ones. Rules raise PortMismatch for edges that cannot be, BadGraph for a node that cannot be.
"""

from collections.abc import Callable, Mapping

from composer import _rules_combine as combine
from composer import _rules_interop as interop
from composer import _rules_priors as priors
from composer._scope import Scope, Typed
from composer.graph import Node

_RULES: Mapping[str, Callable[[Node, Scope], Typed]] = {
    "input": priors.input_rule,
    "const": priors.const_rule,
    "load": priors.load_rule,
    "net": priors.net_rule,
    "fn": priors.fn_rule,
    "encode": priors.encode_rule,
    "decode": priors.decode_rule,
    "proj": interop.proj_rule,
    "resample": interop.resample_rule,
    "pool": interop.pool_rule,
    "expand": interop.expand_rule,
    "layout": interop.layout_rule,
    "cast": interop.cast_rule,
    "bridge": interop.bridge_rule,
    "sum": combine.sum_rule,
    "concat": combine.concat_rule,
    "gate": combine.gate_rule,
    "attend": combine.attend_rule,
    "route": combine.route_rule,
    "head": combine.head_rule,
    "merge": priors.derive_rule,
    "delta": priors.derive_rule,
    "splice": priors.derive_rule,
    "retok": priors.derive_rule,
}


def type_node(node: Node, scope: Scope) -> Typed:
    """Applies the rule of the node's op."""
    return _RULES[node.op](node, scope)
