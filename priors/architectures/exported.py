"""Networks that are a graph of torch's own operators, such as torch.export gives: run node by node, never as code.

`priors.families.exported` says what a graph may be; `priors.sources.exported` makes one of an archive.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from priors.architectures._network import Network
from priors.errors import BadManifest
from priors.families.exported import MAKERS, Call, ExportedConfig, Node, Step
from priors.registry import architecture
from priors.types import parse

MAX_NUMBERS = 1 << 28
"""How many numbers a value may have for two short rows: 1 GiB as float32."""
MAX_STEPS = 1 << 14
"""How often a step may be repeated for them."""
_ROWS, _LENGTH = 2, 8

_DTYPES = {
    "bool": torch.bool, "u8": torch.uint8, "i8": torch.int8, "i16": torch.int16, "i32": torch.int32,
    "i64": torch.int64, "f16": torch.float16, "bf16": torch.bfloat16, "f32": torch.float32, "f64": torch.float64,
}  # fmt: skip
_LENGTHS: dict[str, Callable[..., Any]] = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "floordiv": operator.floordiv,
    "mod": operator.mod, "neg": operator.neg, "max": torch.sym_max, "min": torch.sym_min,
}  # fmt: skip


@architecture("exported")
class Exported(Network[ExportedConfig]):
    """Ports and taps are the graph's; weights keep the names that its files give them."""

    def build(self, taps: tuple[str, ...]) -> nn.Module:
        """A module of `forward(*inputs) -> tuple of the taps`: no node that they do not follow from.

        Raises BadManifest for a graph that does not run, gives other shapes than its taps promise, or makes values that
        are too large: found on meta tensors, before anything is computed.
        """
        wanted = self.wanted(taps)
        module = _GraphModule(self.config, wanted)
        _check(self.config, wanted, module)
        return module

    def key_map(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        places = _places(self.config)
        return {
            places[name]: state[weight.tensor] for name, weight in self.config.weights.items() if weight.tensor in state
        }


def _places(config: ExportedConfig) -> dict[str, str]:
    """What each weight is called in the module: its own name may be anything."""
    return {name: f"w{at}" for at, name in enumerate(config.weights)}


class _GraphModule(nn.Module):
    def __init__(self, config: ExportedConfig, taps: tuple[str, ...]) -> None:
        super().__init__()
        self._takes, self._gives = config.takes, [config.outputs[tap].value for tap in taps]
        nodes = config.needed(taps)
        read = {*self._gives, *(name for node in nodes for name in node.reads)}
        self._weights = {name: place for name, place in _places(config).items() if name in read}
        for name, place in self._weights.items():
            weight = config.weights[name]
            tensor = torch.zeros(weight.shape, dtype=_DTYPES[weight.dtype])
            if tensor.is_floating_point() and not weight.fixed:
                self.register_parameter(place, nn.Parameter(tensor))
            else:
                self.register_buffer(place, tensor)
        self._steps = _Steps(nodes, self._gives)

    def forward(self, first: Tensor, second: Tensor | None = None, *more: Tensor) -> tuple[Tensor, ...]:
        # Two of them have names, so that torch.export knows most graphs' arguments one by one.
        inputs = (first, *more) if second is None else (first, second, *more)
        return self.run(inputs, {name: getattr(self, place) for name, place in self._weights.items()})

    def run(
        self, inputs: tuple[Tensor, ...], weights: Mapping[str, Tensor], watch: Callable[[Any], None] | None = None
    ) -> tuple[Tensor, ...]:
        """The outputs for these inputs and weights; `watch` sees each value that is made."""
        known: dict[str, Any] = {**weights, **dict(zip(self._takes, inputs, strict=True))}
        return self._steps(known, inputs[0].device, watch)


class _Steps:
    """Nodes in order, their operators looked up."""

    def __init__(self, nodes: Sequence[Call], gives: list[str]) -> None:
        calls = [
            _Scan(node, node.step) if isinstance(node, Node) and node.step is not None else _Operator(node)
            for node in nodes
        ]
        self._calls, self._gives = list(zip(calls, _last_uses(nodes, gives), strict=True)), gives

    def __len__(self) -> int:
        return len(self._calls)

    def __call__(
        self, known: dict[str, Any], device: torch.device, watch: Callable[[Any], None] | None = None
    ) -> tuple[Any, ...]:
        """What is to be given, of what is known, which is used up."""
        for call, ended in self._calls:
            for name, value in call(known, device, watch):
                known[name] = value
                if watch is not None:
                    watch(value)
            for name in ended:  # memory is given back as soon as nothing else reads it
                del known[name]
        return tuple(known[name] for name in self._gives)


class _Operator:
    """One call of an operator."""

    def __init__(self, node: Call) -> None:
        self._node = node
        name, _, overload = node.op.partition(".")
        if name == "length":
            self._call: Callable[..., Any] = _LENGTHS[overload]
            return
        packet = getattr(torch.ops.aten, name, None)
        if overload not in (packet.overloads() if packet is not None else ()):
            raise BadManifest(f"architecture 'exported': this torch has no {node.op}. Export the model again.")
        self._call = getattr(packet, overload)

    def __call__(
        self, known: Mapping[str, Any], device: torch.device, watch: Callable[[Any], None] | None
    ) -> list[tuple[str, Any]]:
        node = self._node
        args = [_value(one, known, device) for one in node.args]
        if node.op.startswith("dropout."):  # nothing is dropped: a prior gives the same whenever it is asked
            return [(node.out[0], args[0])]
        kwargs = {key: _value(one, known, device) for key, one in node.kwargs.items()}
        if node.op.partition(".")[0] in MAKERS:
            kwargs["device"] = device
        found = self._call(*args, **kwargs)
        return list(zip(node.out, found, strict=True)) if node.many else [(node.out[0], found)]


class _Scan:
    """A step that is repeated along the first axis of sequences."""

    def __init__(self, node: Node, step: Step) -> None:
        self._node, self._takes = node, step.takes
        self._once = _Steps(step.nodes, step.gives)

    def __call__(
        self, known: Mapping[str, Any], device: torch.device, watch: Callable[[Any], None] | None
    ) -> list[tuple[str, Any]]:
        carried, sequences, fixed = (_value(part, known, device) for part in self._node.args)

        def once(*given: Any) -> tuple[Any, ...]:
            return self._once(dict(zip(self._takes, given, strict=True)), device, watch)

        if torch.compiler.is_exporting():  # stays one step, for sequences of any length
            from torch._higher_order_ops.scan import scan_op  # a prototype of torch's; half a second

            found = scan_op(once, carried, sequences, tuple(fixed))
        elif sequences[0].is_meta:
            found = _shapes(once, carried, sequences, fixed)
        else:
            kept = []
            for slices in zip(*sequences, strict=True):
                given = once(*carried, *slices, *fixed)
                carried = list(given[: len(carried)])
                kept.append(given[len(carried) :])
            found = (*carried, *(torch.stack(part) for part in zip(*kept, strict=True)))
        return list(zip(self._node.out, found, strict=True))


def _shapes(
    once: Callable[..., tuple[Any, ...]], carried: list[Any], sequences: list[Any], fixed: list[Any]
) -> tuple[Tensor, ...]:
    """What a scan gives, from one step: every other gives the same shapes."""
    lengths = {len(one) for one in sequences}
    if len(lengths) != 1 or not 0 < max(lengths) <= MAX_STEPS:
        raise BadManifest(f"architecture 'exported': a step is repeated {lengths} times; 1 to {MAX_STEPS:,} are taken.")
    given = once(*carried, *(one[0] for one in sequences), *fixed)
    for before, after in zip(carried, given, strict=False):
        if before.shape != after.shape or before.dtype != after.dtype:
            raise BadManifest(
                f"architecture 'exported': a step is given {tuple(before.shape)} {before.dtype} and carries "
                f"{tuple(after.shape)} {after.dtype} on."
            )
    kept = (one.new_empty((len(sequences[0]), *one.shape)) for one in given[len(carried) :])
    return (*given[: len(carried)], *kept)


def _value(one: Any, known: Mapping[str, Any], device: torch.device) -> Any:
    if isinstance(one, list):
        return [_value(each, known, device) for each in one]
    if not isinstance(one, str):
        return one
    if one == "@":
        return device
    kind, text = one[0], one[1:]
    return known[text] if kind == "%" else _DTYPES[text] if kind == "#" else text


def _last_uses(nodes: Sequence[Call], gives: list[str]) -> list[list[str]]:
    """For each node the values that nothing reads after it."""
    seen, ended = set(gives), []
    for node in reversed(nodes):
        last = (node.reads | set(node.out)) - seen
        seen |= last
        ended.append(sorted(last))
    return ended[::-1]


def _check(config: ExportedConfig, taps: tuple[str, ...], module: _GraphModule) -> None:
    inputs = []
    for text in config.inputs().values():
        port = parse(text)
        shape = [
            axis.dim if isinstance(axis.dim, int) else _ROWS if axis.name == "B" else _LENGTH for axis in port.axes
        ]
        inputs.append(torch.zeros(shape, dtype=_DTYPES.get(port.dtype, torch.float32), device="meta"))
        if port.attr("mask"):
            inputs.append(torch.zeros(shape[:2], dtype=torch.bool, device="meta"))
    weights = {
        name: torch.zeros(weight.shape, dtype=_DTYPES[weight.dtype], device="meta")
        for name, weight in config.weights.items()
    }

    def watch(value: Any) -> None:
        if isinstance(value, Tensor) and value.numel() > MAX_NUMBERS:
            raise BadManifest(
                f"architecture 'exported': a value of its graph has shape {tuple(value.shape)}: too large."
            )

    try:
        with torch.inference_mode():
            outputs = module.run(tuple(inputs), weights, watch)
    except BadManifest:
        raise
    except Exception as err:  # whatever an operator raises for arguments that are not its own
        raise BadManifest(f"architecture 'exported': its graph does not run ({str(err)[:200]}).") from err
    for tap, out in zip(taps, outputs, strict=True):
        port = parse(config.outputs[tap].type)
        fixed = [axis.dim if isinstance(axis.dim, int) else None for axis in port.axes]
        if len(fixed) != out.dim() or any(n not in (None, m) for n, m in zip(fixed, out.shape, strict=True)):
            raise BadManifest(f"architecture 'exported': tap {tap!r} is {port}, its graph gives {tuple(out.shape)}.")
