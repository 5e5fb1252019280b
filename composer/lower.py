"""From a lock to torch: the host side that reads raw values, and one module with everything after it.

    lowered = lower(lock, library)
    lowered.load_learned(load_weights("model.safetensors"))
    logits = lowered.module(*lowered.encode({"text": ["free entry, text WIN"]}))[0]

The cut lies at the host operations (`encode`, and functions of raw values), so the module is tensors only: it compiles
and exports. Networks are loaded when a part that contains them is first asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from composer._lower_batches import Padded, batches
from composer._lower_host import HostInput, HostStep
from composer._lower_priors import PriorCache
from composer._lower_steps import lower_nodes
from composer._lower_wiring import Wiring, needed
from composer.errors import BadGraph
from composer.lock import Lock
from priors.errors import BadTable, BadWeights
from priors.library import Library
from priors.registry import find_function

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["HostInput", "HostStep", "Lowered", "lower"]

Progress = Callable[[int, int], None]
"""Called with (rows done, rows in all) after each batch; what it raises stops the work."""


def lower(lock: Lock, library: Library, *, folder: Path | None = None) -> Lowered:
    """The lock as torch modules; the priors come from `library` when they are needed, constants' files from `folder`.

    Raises BadGraph naming the node for an operation or option that this version cannot run.
    """
    return Lowered(lock, library, folder=folder)


class Lowered:
    """A lowered composition.

    host     the steps before the module, in the order of the lock
    inputs   the module's positional inputs: the host steps' tensors, a mask right after its value
    outputs  output name -> node; the module returns a tuple in this order, before `words` makes text of some of it
    steps    the calls of the whole module; slots  node -> where its value lies between them; masks  node -> (axis,
             slot of its mask)
    learned  node -> module, for the nodes with parameters or fitted buffers; shared by all parts
    priors   the priors it uses, verified, each loaded once
    folder   where the files lie that its constants name
    """

    def __init__(self, lock: Lock, library: Library, *, folder: Path | None = None, depth: int = 0) -> None:
        self.lock, self.folder = lock, folder
        self.priors = PriorCache(library, depth)
        plan = lower_nodes(lock, self.priors, folder)
        self.host: tuple[HostStep, ...] = tuple(plan.host)
        self.inputs: tuple[HostInput, ...] = tuple(given for step in plan.host for given in step.inputs)
        self.outputs = dict(lock.outputs)
        self.learned: Mapping[str, nn.Module] = plan.learned
        self.steps = tuple(plan.steps)
        self.slots: Mapping[str, str] = plan.slots
        self.masks: Mapping[str, tuple[str, str]] = plan.masks
        self._decoders = plan.decoders

    @cached_property
    def module(self) -> Wiring:
        """forward(*inputs) -> tuple of the outputs, with the networks; in eval mode."""
        return self.part([given.slot for given in self.inputs], list(self.outputs.values()))

    def part(self, given: Sequence[str], wanted: Sequence[str]) -> Wiring:
        """forward(*values of the `given` nodes) -> tuple of the values of the `wanted` nodes.

        Holds, and loads, only what lies in between: a part that begins behind the networks trains on cached features.
        Raises BadGraph when the wanted values need more than is given, masks included.
        """
        slots = [self.slots.get(name, name) for name in given]
        try:
            return Wiring(slots, self.steps, [self.slots.get(name, name) for name in wanted]).eval()
        except LookupError as error:
            raise BadGraph(f"{error}. Give those nodes too.") from error

    def encode(self, columns: Mapping[str, Sequence[Any]]) -> tuple[Tensor, ...]:
        """The module's inputs for raw values by input node, all rows at once."""
        _rows(columns, {step.source for step in self.host})
        return tuple(tensor for step in self.host for tensor in step.encode(columns[step.source]))

    def words(self, outputs: Sequence[Tensor]) -> dict[str, Tensor | list[str]]:
        """What the module gave, by output name, with what `decode` nodes make of it: a text a row."""
        found: dict[str, Tensor | list[str]] = {}
        for (name, node), value in zip(self.outputs.items(), outputs, strict=True):
            found[name] = self._decoders[node](value) if node in self._decoders else value
        return found

    def features(
        self, columns: Mapping[str, Sequence[Any]], nodes: Sequence[str], *, progress: Progress | None = None
    ) -> dict[str, NDArray[np.float32]]:
        """The values of `nodes` for every row: {node: (n, D) or (n, ...) float32}, in one pass over shared networks.

        columns  raw values by input node; only the columns that the nodes depend on are needed

        Rows run without gradients in batches of similar length, in the current state of `learned`. Equal calls give
        equal bits. Raises BadGraph for a node whose value is not of one size.
        """
        for node in nodes:
            self._check_rows(node)
        found = self.padded(columns, nodes, progress=progress)
        return {
            node: value if len(value) else np.empty((0, *self._shape(node)), np.float32)
            for node, value in found.items()
        }

    def padded(
        self, columns: Mapping[str, Sequence[Any]], names: Sequence[str], *, progress: Progress | None = None
    ) -> dict[str, NDArray[np.float32]]:
        """The same of nodes and slots of masks: sequences are as long as the longest, with zeros behind the others."""
        slots = [self.slots.get(name, name) for name in names]
        used = needed([given.slot for given in self.inputs], self.steps, slots)
        read = {slot for step in used for slot in step.takes} | set(slots)
        host = [step for step in self.host if any(given.slot in read for given in step.inputs)]
        inputs = [given for step in host for given in step.inputs]
        part = self.part([given.slot for given in inputs], names)
        count = _rows(columns, {step.source for step in host})
        found = {name: Padded(count) for name in names}
        done = 0
        with torch.inference_mode():
            for rows, tensors in batches(host, columns, count):
                for name, value in zip(names, part(*tensors), strict=True):
                    found[name].put(rows, value.float())
                done += len(rows)
                if progress:
                    progress(done, count)
        return {name: one.tensor().numpy() for name, one in found.items()}

    def fit_function(self, node: str, x: Tensor) -> None:
        """Fit the function of a `fn` node, such as standardize, on its input's values x (n, D) for labelled rows."""
        attrs = self.lock.node(node).attrs
        function: Any = find_function(attrs["fn"])(dict(attrs.get("config", {})))
        self.learned[node].load_state_dict(function.fit(x))

    def learned_state(self) -> dict[str, Tensor]:
        """Everything learned as `<node>.<parameter>` -> tensor: what model.safetensors holds, and no prior's weights.

        They share memory with the modules. An inserted node's name has '/' for '~', which tensor names may not hold.
        """
        return {
            f"{node.replace('~', '/')}.{name}": value
            for node, module in self.learned.items()
            for name, value in module.state_dict().items()
            if name in getattr(module, "saved", (name,))
        }

    def load_learned(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `learned_state` gave. Raises BadWeights unless names and shapes are this composition's."""
        wanted = self.learned_state()
        odd = sorted(wanted.keys() ^ state.keys())
        if odd:
            cause = "is missing from" if odd[0] in wanted else "does not belong in"
            raise BadWeights(
                f"{odd[0]!r} {cause} the learned parameters of this composition. Use the file saved with it."
            )
        for name, value in wanted.items():
            if state[name].shape != value.shape:
                shapes = f"{tuple(state[name].shape)}, and the composition has {tuple(value.shape)}"
                raise BadWeights(f"learned parameter {name!r} is {shapes}. Use the file saved with it.")
        with torch.no_grad():
            for name, value in wanted.items():
                value.copy_(state[name])
        self.__dict__.pop("module", None)  # it may hold networks with the deltas as they were

    def _check_rows(self, node: str) -> None:
        t = self.lock.node(node).type
        fixed = t is not None and all(isinstance(axis.dim, int) for axis in t.axes[1:])
        if t is None or t.is_raw or len(t.axes) < 2 or (len(t.axes) > 2 and not fixed):
            raise BadGraph(f"node {node!r} gives {t or 'weights'}, not one row of numbers a value. Pool it first.")

    def _shape(self, node: str) -> tuple[int, ...]:
        t = self.lock.node(node).type
        return tuple(axis.dim if isinstance(axis.dim, int) else 0 for axis in t.axes[1:]) if t else (0,)


def _rows(columns: Mapping[str, Sequence[Any]], wanted: set[str]) -> int:
    missing = sorted(wanted - columns.keys())
    if missing:
        raise BadTable(
            f"no values are given for input {missing[0]!r}. Given: {', '.join(sorted(columns)) or 'nothing'}."
        )
    lengths = {name: len(columns[name]) for name in wanted}
    if len(set(lengths.values())) > 1:
        raise BadTable(f"the inputs have different numbers of rows: {lengths}. Give one value a row for each.")
    return next(iter(lengths.values()), 0)
