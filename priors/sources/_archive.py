"""The zip file that torch.export writes, read by its directory: nothing is unpacked, evaluated or unpickled."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from priors.errors import BadWeights

if TYPE_CHECKING:
    from torch import Tensor

MAX_BYTES = 16 << 30
MAX_GRAPH = 32 << 20
MAX_FILES = 20_000

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_.][A-Za-z0-9_.-]*)*")
_NEVER = ("aotinductor", "executorch", "custom_obj", "opaque_obj")
"""Parts of names under which archives keep compiled programs and pickled objects."""
_DTYPES = {1: "uint8", 2: "int8", 3: "int16", 4: "int32", 5: "int64", 6: "float16", 7: "float32", 8: "float64",
           12: "bool", 13: "bfloat16"}  # fmt: skip


class Archive:
    """An archive with one model. Raises BadWeights, naming what is wrong, from whatever it is asked."""

    def __init__(self, path: Path) -> None:
        self._name = path.name
        size = path.stat().st_size
        with path.open("rb") as file:
            file.seek(max(size - 22, 0))
            end = file.read()
        # The end of a zip file without a comment, its count of files below the mark for "more than this can say".
        if size > MAX_BYTES or len(end) < 22 or end[:4] != b"PK\x05\x06" or end[20:] != b"\0\0":
            raise self._bad("it is not a zip file as torch.export writes it")
        if int.from_bytes(end[10:12], "little") > MAX_FILES:
            raise self._bad(f"it holds more than {MAX_FILES:,} files")
        try:
            self._zip = zipfile.ZipFile(path)
            self._check(size)
        except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError, ValueError) as err:
            raise self._bad(f"its directory cannot be read ({err})") from err

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def graph(self) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """The graph and its signature: what is computed, and which values are weights."""
        models = [name for name in self._files if name.startswith("models/")]
        if len(models) != 1 or not models[0].endswith(".json"):
            raise self._bad(f"it holds {len(models)} models, and one is taken")
        module = self._table(models[0])["graph_module"]
        try:
            graph, signature = module["graph"], module["signature"]
            found = [*graph["nodes"], *signature["input_specs"], *signature["output_specs"]]
            whole = isinstance(graph["tensor_values"], dict) and all(isinstance(one, dict) for one in found)
        except (TypeError, KeyError) as err:
            raise self._bad("its graph is not as torch.export writes it") from err
        if not whole:
            raise self._bad("its graph is not as torch.export writes it")
        return graph, signature

    def tensors(self, names: set[str]) -> dict[str, Tensor]:
        """These weights and constants."""
        found: dict[str, Tensor] = {}
        for part in ("weights", "constants"):
            for path in self._files:
                if re.fullmatch(rf"data/{part}/[A-Za-z0-9_.-]+_config\.json", path):
                    listed = self._table(path)["config"]
                    found |= {name: self._tensor(part, name, listed[name]) for name in names & set(listed)}
        if missing := names - found.keys():
            raise self._bad(f"tensor {min(missing)!a} is not in it")
        return found

    def _tensor(self, part: str, name: str, entry: Any) -> Tensor:
        import torch  # here: whoever only looks at the directory needs none

        try:
            meta, path = entry["tensor_meta"], entry["path_name"]
            if entry["use_pickle"] is not False:
                raise self._bad(f"tensor {name!a} is kept as pickle, which can run code")
            dtype = getattr(torch, _DTYPES[meta["dtype"]])
            shape = [_length(one["as_int"]) for one in meta["sizes"]]
            strides = [_length(one["as_int"]) for one in meta["strides"]]
            offset = _length(meta["storage_offset"]["as_int"])
            info = self._files[f"data/{part}/{path}"]
        except (KeyError, TypeError, ValueError) as err:
            raise self._bad(f"tensor {name!a} is described otherwise than torch.export does") from err
        reach = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True)) + 1
        if not shape:
            reach = offset + 1
        if 0 in shape or len(shape) > 8 or reach * dtype.itemsize > info.file_size or prod(shape) > info.file_size:
            raise self._bad(f"tensor {name!a} of shape {shape} does not lie within its {info.file_size:,} bytes")
        content = bytearray(self._zip.read(info))
        whole = torch.frombuffer(content, dtype=dtype, count=len(content) // dtype.itemsize)
        return torch.as_strided(whole, shape, strides, offset).clone(memory_format=torch.contiguous_format)

    def _check(self, size: int) -> None:
        entries = self._zip.infolist()
        root = entries[0].filename.partition("/")[0] if entries else ""
        self._files: dict[str, zipfile.ZipInfo] = {}
        for info in entries:
            name = info.filename.removeprefix(f"{root}/")
            if not _NAME.fullmatch(info.filename) or ".." in info.filename or name == info.filename:
                raise self._bad(f"it holds a file called {info.filename[:60]!a}")
            if name in self._files:
                raise self._bad(f"it holds {name!a} twice")
            if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 or info.file_size != info.compress_size:
                raise self._bad(f"{name!a} is compressed or encrypted, which torch.export never does")
            if any(part in name for part in _NEVER):
                raise self._bad(f"{name!a} is a compiled program or an object: code")
            self._files[name] = info
        if sum(info.file_size for info in entries) > size:
            raise self._bad("its files are larger than itself")

    def _table(self, name: str) -> dict[str, Any]:
        info = self._files[name]
        if info.file_size > MAX_GRAPH:
            raise self._bad(f"{name} has {info.file_size:,} bytes, the limit is {MAX_GRAPH:,}")
        try:
            found = json.loads(self._zip.read(info).decode("utf-8"))
        except (ValueError, RecursionError, zipfile.BadZipFile) as err:
            raise self._bad(f"{name} is not JSON") from err
        if not isinstance(found, dict):
            raise self._bad(f"{name} is no table")
        return found

    def _bad(self, cause: str) -> BadWeights:
        return BadWeights(f"{self._name} is not an archive we take: {cause}. Save it again by torch.export.save.")


def _length(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 50:
        raise ValueError("no length")
    return value
