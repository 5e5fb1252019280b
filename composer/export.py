"""A composition as a file that runs without this program: the module through torch.export, and what to do before it.

    report = export(composition, "spam.pt2")        # also writes spam.preprocessing.json
    report.max_abs_diff                             # against eager, at other batch sizes and lengths

The file starts after the host operations (tokenizing, reading images, counting characters); the JSON beside it
describes those completely, with the order and types of the inputs and the labels of the outputs.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from composer._lower_host import DTYPES, HostInput
from composer.errors import NotReady
from composer.lower import Lowered
from priors.errors import AppError, UserError

TOLERANCE = 1e-4
"""Largest difference to eager that an exported file may show, in parts of the largest output where that is above 1."""

FORMATS = ("pt2",)
_TRACED = (3, 11)
"""Batch and length of the example: neither 0 nor 1, which torch takes for constants, nor equal, nor a usual width."""

_CHECKED = ((1, 5), (2, 32), (7, 19))
"""Batches and lengths compared with eager afterwards; a batch of one is what a service sends most."""


@dataclass(frozen=True)
class ExportReport:
    """What was written and how well it agrees with eager.

    max_abs_diff  over all outputs, read back from the file, at batch sizes and lengths other than the traced ones
    inputs        name -> type of each positional input, in order
    """

    max_abs_diff: float
    inputs: Mapping[str, str]
    path: Path
    preprocessing: Path


class HasLowered(Protocol):
    """A composition: it can be lowered with its learned parameters in place."""

    @property
    def lowered(self) -> Lowered: ...


def export(composition: HasLowered | Lowered, path: Path | str, format: str = "pt2") -> ExportReport:
    """Write the composition's module to `path`, and its preprocessing beside it as `<stem>.preprocessing.json`.

    Batch and lengths stay free as the port types say. Both files appear whole or not at all, after the check. Raises
    NotReady before a fit, UserError for a format other than pt2 or a composition that cannot be traced, AppError when
    the file does not agree with eager.
    """
    lowered = composition if isinstance(composition, Lowered) else composition.lowered
    path = Path(path)
    if format not in FORMATS:
        raise UserError(f"export to {format!r} is not possible in this version. Use format pt2.")
    if not lowered.lock.ready and not isinstance(composition, Lowered):
        raise NotReady(f"{lowered.lock.name!r} was never fitted. Run fit first, then export.")
    program = _trace(lowered)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".export-") as scratch:
        made, described = Path(scratch) / "made.pt2", Path(scratch) / "preprocessing.json"
        torch.export.save(program, made)
        difference = _compare(lowered, made)
        described.write_text(json.dumps(_describe(lowered), indent=1, ensure_ascii=False) + "\n")
        beside = path.with_suffix(".preprocessing.json")
        described.replace(beside)
        made.replace(path)
    return ExportReport(difference, {given.name: str(given.port_type) for given in lowered.inputs}, path, beside)


def _trace(lowered: Lowered) -> ExportedProgram:
    batch = Dim("batch", min=1)
    lengths: dict[tuple[str, str], Any] = {}

    def free(given: HostInput) -> dict[int, Any]:
        found: dict[int, Any] = {0: batch}
        for at, axis in enumerate(given.port_type.axes[1:], start=1):
            if not isinstance(axis.dim, int):
                # One symbol a value and axis: a mask is as long as its value, two values have lengths of their own.
                key = (given.node, axis.name)
                found[at] = lengths.setdefault(key, Dim(f"length_{len(lengths)}", min=1))
        return found

    shapes = tuple(free(given) for given in lowered.inputs)
    with torch.no_grad():
        try:
            return torch.export.export(lowered.module, _examples(lowered, *_TRACED), dynamic_shapes=(shapes,))
        except (torch._dynamo.exc.UserError, torch._dynamo.exc.Unsupported) as error:
            cause = str(error).strip().splitlines()[0]
            raise UserError(
                f"{lowered.lock.name!r} cannot be traced by torch.export ({cause}). Keep it in Python."
            ) from error


def _examples(lowered: Lowered, rows: int, length: int) -> tuple[Tensor, ...]:
    """Inputs of `rows` rows, about `length` long: noise, or ids of a real text, as their range is not in the type."""
    generator = torch.Generator().manual_seed(rows * 1_000 + length)
    made: list[Tensor] = []
    for step in lowered.host:
        value = step.inputs[0].port_type
        if value.kind == "text.ids":
            made += step.encode([" ".join(["the"] * max(1, length - row)) for row in range(rows)])
            continue
        shape = [rows, *(axis.dim if isinstance(axis.dim, int) else length for axis in value.axes[1:])]
        noise = torch.randn(shape, generator=generator)
        made.append(
            noise.to(DTYPES[value.dtype]) if value.dtype.startswith(("f", "b")) else noise.abs().to(DTYPES[value.dtype])
        )
        if len(step.inputs) > 1:
            ends = torch.tensor([max(1, length - row) for row in range(rows)])
            made.append(torch.arange(length) < ends[:, None])
    return tuple(made)


def _compare(lowered: Lowered, path: Path) -> float:
    """The largest difference between the file and eager over `_CHECKED`. Raises AppError when it is not small."""
    program, largest = torch.export.load(path).module(), 0.0
    with torch.no_grad():
        for rows, length in _CHECKED:
            inputs = _examples(lowered, rows, length)
            for name, ours, theirs in zip(lowered.outputs, lowered.module(*inputs), program(*inputs), strict=True):
                difference = float((ours - theirs).abs().max())
                if not difference <= TOLERANCE * max(1.0, float(ours.abs().max())):  # `not <=`: NaN is a difference too
                    raise AppError(
                        f"the exported {name!r} differs from eager by {difference:.2g} ({rows} rows of {length}), "
                        f"more than {TOLERANCE:g}; nothing was written."
                    )
                largest = max(largest, difference)
    return largest


def _describe(lowered: Lowered) -> dict[str, Any]:
    """What another program needs: the work on each raw input, then the tensors in order, then the outputs."""
    lock = lowered.lock
    return {
        "preprocessing": 1,
        "composition": lock.name,
        "structure": lock.structure,
        "model": lock.model,
        "steps": [
            {
                "reads": step.source,
                "column": lock.node(step.source).attrs.get("column", step.source),
                "gives": [given.name for given in step.inputs],
                **step.describe(),
            }
            for step in lowered.host
        ],
        "inputs": [
            {"name": given.name, "type": str(given.port_type), "mask": given.is_mask} for given in lowered.inputs
        ],
        "outputs": [_describe_output(lowered, name, node) for name, node in lowered.outputs.items()],
    }


def _describe_output(lowered: Lowered, name: str, node: str) -> dict[str, Any]:
    found = lowered.lock.node(node)
    described: dict[str, Any] = {"name": name, "type": found.shown_type}
    if found.op == "head":
        temperature = lowered.learned[node].state_dict()["temperature"]
        labels = {"labels": found.attrs["labels"]} if "labels" in found.attrs else {"target": found.attrs["target"]}
        described |= {**labels, "temperature": float(temperature)}
        if "labels" in found.attrs:
            described["probabilities"] = "softmax(output / temperature)"
    return described
