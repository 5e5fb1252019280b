"""A traced program as ONNX: standard operators, weights inside, no trace of where it was made.

The exporter writes the same bytes for the same program and versions of torch, onnx and onnxscript; what it notes about
source files and Python objects is taken out again, and free axes get the names of `_export_trace.symbols`.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from composer._export_trace import Run, symbols
from composer.lower import Lowered
from priors.errors import UserError

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET = 20
"""The newest that the exporter writes without converting; onnxruntime 1.17 and newer run it."""

MAX_BYTES = 2**31 - 2**24
"""A protobuf message ends at 2 GiB, and the graph itself needs room."""


def to_onnx(program: ExportedProgram, lowered: Lowered) -> ModelProto:
    """The program as one ONNX model. Raises UserError for one above 2 GB or with an operator that ONNX lacks."""
    size = sum(value.nbytes for value in program.state_dict.values())
    if size > MAX_BYTES:
        raise UserError(
            f"{lowered.lock.name!r} holds {size / 1e9:.1f} GB of weights, and an ONNX file without others beside it "
            "ends at 2 GB. Export it as pt2."
        )
    try:
        with _quiet():
            made = torch.onnx.export(
                program,
                dynamo=True,
                external_data=False,
                opset_version=OPSET,
                input_names=[given.name for given in lowered.inputs],
                output_names=list(lowered.outputs),
                verbose=False,
            )
        if made is None:
            raise RuntimeError("the exporter gave nothing")
        model: ModelProto = made.model_proto
    except ImportError as error:
        raise UserError(f"ONNX needs more packages ({error.name}). Run: pip install 'priorhub[onnx]'") from error
    except (torch.onnx.errors.OnnxExporterError, RuntimeError) as error:
        raise UserError(
            f"{lowered.lock.name!r} cannot be written as ONNX ({_cause(error)}). Export it as pt2."
        ) from error
    foreign = sorted({f"{node.domain}::{node.op_type}" for node in model.graph.node if node.domain})
    if foreign or model.functions:
        raise UserError(f"{lowered.lock.name!r} needs operators beyond ONNX's own ({foreign}). Export it as pt2.")
    _strip(model)
    _name_axes(model, symbols(lowered))
    return model


def with_facts(model: ModelProto, facts: Mapping[str, Any]) -> bytes:
    """The file's bytes, with `facts` among its metadata as `priorhub.<name>`, in JSON unless they are text."""
    for key, value in sorted(facts.items()):
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        model.metadata_props.add(key=f"priorhub.{key}", value=text)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def runner(content: bytes) -> Run:
    """The file run by onnxruntime. Raises UserError without it."""
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError("checking ONNX needs onnxruntime. Run: pip install 'priorhub[onnx]'") from error
    try:
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    except Exception as error:  # its classes derive from Exception alone
        raise UserError(f"onnxruntime cannot run what was made ({_cause(error)}). Export it as pt2.") from error
    names = [given.name for given in session.get_inputs()]

    def run(inputs: tuple[Tensor, ...]) -> Sequence[Tensor]:
        feed = {name: value.numpy() for name, value in zip(names, inputs, strict=True)}
        return [torch.from_numpy(value) for value in session.run(None, feed)]

    return run


def _strip(model: ModelProto) -> None:
    """Leaves out stack traces, names of Python classes and shapes in between: paths of this machine among them."""
    graph = model.graph
    del graph.value_info[:]
    for part in (*graph.node, *graph.input, *graph.output, *graph.initializer, graph, model):
        del part.metadata_props[:]
        part.doc_string = ""


def _name_axes(model: ModelProto, wanted: Sequence[Mapping[int, str]]) -> None:
    names: dict[str, str] = {}
    for given, axes in zip(model.graph.input, wanted, strict=True):
        for at, name in axes.items():
            dim = given.type.tensor_type.shape.dim[at]
            names[dim.dim_param] = dim.dim_param = name
    for output in model.graph.output:
        for dim in output.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_param = names.get(dim.dim_param, dim.dim_param)


def _cause(error: BaseException) -> str:
    """The innermost message, one line of it."""
    while error.__cause__ is not None:
        error = error.__cause__
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter and its parts log each step and that torchvision is absent, and warn of their own internals."""
    logs = {log: log.level for log in map(logging.getLogger, ("torch.onnx", "onnx_ir", "onnxscript"))}
    for log in logs:
        log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for log, level in logs.items():
            log.setLevel(level)
