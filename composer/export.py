"""A composition as a file that runs without this program: the module through torch.export or as ONNX, and beside it
what has to be done before.

    report = export(composition, "spam.onnx", format="onnx")    # also writes spam.preprocessing.json and tokenizers
    report.max_abs_diff                                         # against eager, at other batch sizes and lengths

The file starts after the host operations (tokenizing, reading images, counting characters); the JSON beside it
describes those completely, with the order and types of the inputs and the meaning of the outputs. `composer.runner`
runs an ONNX file by it, without torch.
"""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO, Literal, Protocol, cast, get_args

import torch

from composer._export_describe import describe
from composer._export_trace import Parity, compare, trace
from composer.errors import NotReady
from composer.lower import Lowered
from composer.runner import beside
from priors.errors import UserError

Format = Literal["pt2", "onnx"]
FORMATS: tuple[str, ...] = get_args(Format)


@dataclass(frozen=True)
class ExportReport:
    """What was written and how well it agrees with eager.

    max_abs_diff  over all outputs, read back from the file, at batch sizes and lengths other than the traced ones
    inputs        name -> type of each positional input, in order
    files         everything that was written, the path first
    """

    max_abs_diff: float
    inputs: Mapping[str, str]
    path: Path
    preprocessing: Path
    files: tuple[Path, ...]


class HasLowered(Protocol):
    """A composition: it can be lowered with its learned parameters in place."""

    @property
    def lowered(self) -> Lowered: ...


def export(composition: HasLowered | Lowered, path: Path | str, format: str = "pt2") -> ExportReport:
    """Write the composition's module to `path`, and its preprocessing beside it as `<stem>.preprocessing.json`.

    Batch and lengths stay free as the port types say. Nothing appears unless the file agrees with eager. Raises
    NotReady before a fit, UserError for an unknown format or a composition that cannot be written in it, AppError when
    the file does not agree with eager.
    """
    lowered = composition if isinstance(composition, Lowered) else composition.lowered
    path = Path(path)
    if format not in FORMATS:
        raise UserError(f"export to {format!r} is not possible in this version. Use format {' or '.join(FORMATS)}.")
    if not lowered.lock.ready and not isinstance(composition, Lowered):
        raise NotReady(f"{lowered.lock.name!r} was never fitted. Run fit first, then export.")
    described = beside(path)
    with scratch_beside(path) as scratch:
        parity = (_write_onnx if format == "onnx" else _write_pt2)(lowered, scratch / "made")
        document, tokenizers = describe(lowered, path.stem, parity)
        (scratch / described.name).write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
        for name, content in tokenizers.items():
            (scratch / name).write_bytes(content)
        for name in (*tokenizers, described.name):
            (scratch / name).replace(path.with_name(name))
        (scratch / "made").replace(path)
    inputs = {given.name: str(given.port_type) for given in lowered.inputs}
    files = (path, described, *(path.with_name(name) for name in tokenizers))
    return ExportReport(parity.max_abs_diff, inputs, path, described, files)


@contextmanager
def scratch_beside(path: Path) -> Iterator[Path]:
    """A folder beside `path` for what becomes it, removed in the end. Raises UserError where the disk gives no room."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".export-") as folder:
            yield Path(folder)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}. Choose another place.") from error


class _Sink(io.RawIOBase):
    """A file for torch's writer, which ends the process when a write fails: the failure is kept for `finish`."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file = file
        self._error: OSError | None = None

    def write(self, data: Any) -> int:
        if self._error is None:
            try:
                self._file.write(data)
            except OSError as error:
                self._error = error
        return len(data)

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return 0  # torch rewinds what it wrote for whoever reads on; nobody does

    def finish(self) -> None:
        """Raises what went wrong."""
        if self._error is not None:
            raise self._error
        self._file.flush()


def _write_pt2(lowered: Lowered, path: Path) -> Parity:
    program = trace(lowered)
    with path.open("wb") as file:  # given a path, torch insists on its ending
        sink = _Sink(file)
        torch.export.save(program, cast(IO[bytes], sink))
        sink.finish()
    with path.open("rb") as file:
        read = torch.export.load(file).module()
    return compare(lowered, lambda inputs: read(*inputs))


def _write_onnx(lowered: Lowered, path: Path) -> Parity:
    from composer._export_onnx import OPSET, runner, to_onnx, with_facts

    model = to_onnx(trace(lowered), lowered)
    parity = compare(lowered, runner(model.SerializeToString()))
    lock = lowered.lock
    facts = {"composition": lock.name, "structure": lock.structure, "model": lock.model, "opset": OPSET}
    path.write_bytes(with_facts(model, {**facts, "parity": parity.to_dict()}))
    return parity
