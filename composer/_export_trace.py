"""The module of a composition as one traced program, and how well a written file agrees with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram
from torch.export.dynamic_shapes import refine_dynamic_shapes_from_suggested_fixes

from composer._lower_host import DTYPES, HostInput, HostStep
from composer.lower import Lowered
from priors.errors import AppError, UserError

TOLERANCE = 1e-4
"""Largest difference to eager that an exported file may show, in parts of the largest output where that is above 1."""

TRACED = (3, 11)
"""Batch and length of the example: neither 0 nor 1, which torch takes for constants, nor equal, nor a usual width."""

CHECKED = ((1, 5), (2, 32), (7, 19))
"""Batches and lengths compared with eager afterwards; a batch of one is what a service sends most."""

TEXT = "the cat sat on a red mat and 7 dogs ran under it, but nobody saw them: why not? It was DARK …"

Shapes = tuple[dict[int, Any], ...]
"""For each input: the free axes and their symbols."""

Run = Callable[[tuple[Tensor, ...]], Sequence[Tensor]]
"""A program that was written and read back: inputs -> outputs."""


@dataclass(frozen=True)
class Parity:
    """How well a file agrees with eager: the largest difference over all outputs and all sizes that were tried."""

    max_abs_diff: float
    checked: tuple[tuple[int, int], ...] = CHECKED

    def to_dict(self) -> dict[str, Any]:
        return {"max_abs_diff": self.max_abs_diff, "rows_and_lengths": [list(size) for size in self.checked]}


def trace(lowered: Lowered) -> ExportedProgram:
    """The module after the host operations; batch and lengths stay free as the port types say.

    Raises UserError for what cannot be traced.
    """
    batch = Dim("batch", min=1)
    free = {name: Dim(name, min=1) for names in symbols(lowered) for name in names.values() if name != "batch"}
    free["batch"] = batch
    shapes = tuple({at: free[name] for at, name in names.items()} for names in symbols(lowered))
    inputs = examples(lowered, *TRACED)
    with torch.no_grad():
        try:
            try:
                program = torch.export.export(lowered.module, inputs, dynamic_shapes=(shapes,))
            except torch._dynamo.exc.UserError as error:
                # A network with so many positions bounds the length, which no type says.
                bounded = _bounded(error, shapes)
                program = torch.export.export(lowered.module, inputs, dynamic_shapes=(bounded,))
        except (torch._dynamo.exc.UserError, torch._dynamo.exc.Unsupported) as error:
            cause = str(error).strip().splitlines()[0]
            raise UserError(
                f"{lowered.lock.name!r} cannot be traced by torch.export ({cause}). Keep it in Python."
            ) from error
    for node in program.graph.nodes:
        for key in ("stack_trace", "nn_module_stack", "source_fn_stack"):  # paths of this machine, names of classes
            node.meta.pop(key, None)
    return program


def _bounded(error: torch._dynamo.exc.UserError, shapes: Shapes) -> Shapes:
    """`shapes` with the bounds that tracing found; the error again when an axis would not be free any more."""
    try:
        refined: Any = refine_dynamic_shapes_from_suggested_fixes(error.msg, (shapes,))
    except (ValueError, KeyError):
        raise error from None
    [found] = refined
    if any(isinstance(dim, int) for axes in found for dim in axes.values()):
        raise error
    return tuple(found)


def symbols(lowered: Lowered) -> list[dict[int, str]]:
    """For each input: which of its axes are free, and what they are called.

    One name a value and axis: a mask is as long as its value, two values have lengths of their own.
    """
    lengths: dict[tuple[str, str], str] = {}

    def free(given: HostInput) -> dict[int, str]:
        found = {0: "batch"}
        for at, axis in enumerate(given.port_type.axes[1:], start=1):
            if not isinstance(axis.dim, int):
                found[at] = lengths.setdefault((given.node, axis.name), f"length_{len(lengths)}")
        return found

    return [free(given) for given in lowered.inputs]


def examples(lowered: Lowered, rows: int, length: int) -> tuple[Tensor, ...]:
    """Inputs of `rows` rows, about `length` long: noise, or ids of a text, as their range is not in the type."""
    generator = torch.Generator().manual_seed(rows * 1_000 + length)
    made: list[Tensor] = []
    for step in lowered.host:
        made += _example(step, rows, length, generator)
    return tuple(made)


def _example(step: HostStep, rows: int, length: int, generator: torch.Generator) -> Sequence[Tensor]:
    value = step.inputs[0].port_type
    if value.kind == "text.ids" and step.node != step.source:
        words = TEXT.split()  # a row begins at its own word
        counts = [max(1, length - row) for row in range(rows)]
        return step.encode(
            [" ".join(words[(7 * row + at) % len(words)] for at in range(n)) for row, n in enumerate(counts)]
        )
    shape = [rows, *(axis.dim if isinstance(axis.dim, int) else length for axis in value.axes[1:])]
    noise = torch.randn(shape, generator=generator)
    signed = value.dtype.startswith(("f", "b"))
    made = [(noise if signed else noise.abs()).to(DTYPES[value.dtype])]
    if len(step.inputs) > 1:
        ends = torch.tensor([max(1, length - row) for row in range(rows)])
        made.append(torch.arange(length) < ends[:, None])
    return made


def compare(lowered: Lowered, run: Run) -> Parity:
    """How far `run` is from eager over `CHECKED`. Raises AppError when that is not small."""
    largest = 0.0
    with torch.no_grad():
        for rows, length in CHECKED:
            inputs = examples(lowered, rows, length)
            for name, ours, theirs in zip(lowered.outputs, lowered.module(*inputs), run(inputs), strict=True):
                difference = float((ours - theirs).abs().max())
                if not difference <= TOLERANCE * max(1.0, float(ours.abs().max())):  # `not <=`: NaN is a difference too
                    raise AppError(
                        f"the exported {name!r} differs from eager by {difference:.2g} ({rows} rows of {length}), "
                        f"more than {TOLERANCE:g}; nothing was written."
                    )
                largest = max(largest, difference)
    return Parity(largest)
