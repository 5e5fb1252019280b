"""Writes tensors as safetensors, one after the other: header first, hashed on the way, in shards where wanted."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from composer.errors import BadGraph, Cancelled
from composer.merge._direct import Sequential
from composer.merge.source import INDEX, Info, Output
from priors.errors import BadWeights
from priors.weights import MAX_TENSORS, WEIGHTS, check_header

Report = Callable[..., None]
STOP_EVERY = 64
"""Blocks between two questions whether to go on: at most some tens of milliseconds."""


@dataclass(frozen=True)
class Written:
    """A file: its content's sha256 in hex, and its bytes."""

    sha256: str
    size: int


def write(
    outputs: Mapping[str, Output],
    folder: Path,
    *,
    shard_bytes: int | None = None,
    report: Report | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> dict[str, Written]:
    """Writes model.safetensors, or shards of at most `shard_bytes` with their index; gives what each file is.

    On disk when this returns. Raises Cancelled, BadWeights; what was written by then is the caller's to remove.
    """
    if not outputs:
        raise BadGraph("nothing is left to write. Check the slices.")
    if len(outputs) > MAX_TENSORS:
        raise BadWeights(f"{len(outputs):,} tensors, the limit is {MAX_TENSORS:,}. Write fewer layers.")
    total = sum(output.info.bytes for output in outputs.values())
    shards = _shards(outputs, shard_bytes)
    done, found = 0, {}
    for name, shard in shards.items():
        digest, size = hashlib.sha256(), 0
        with Sequential(folder / name) as file:
            for number, (tensor, block) in enumerate(_blocks(shard)):
                if number % STOP_EVERY == 0:
                    if cancelled is not None and cancelled():
                        raise Cancelled("the merge was stopped; nothing was kept.")
                    if report is not None:
                        report(done, total, tensor)
                file.write(block)
                digest.update(block)
                size += len(block)
                done += len(block) if tensor else 0
        check_header(folder / name)
        found[name] = Written(digest.hexdigest(), size)
    if len(shards) > 1:
        index = {
            "metadata": {"total_size": total},
            "weight_map": {tensor: name for name, shard in shards.items() for tensor in shard},
        }
        text = (json.dumps(index, indent=1, sort_keys=True) + "\n").encode()
        (folder / INDEX).write_bytes(text)
        found[INDEX] = Written(hashlib.sha256(text).hexdigest(), len(text))
    if report is not None:
        report(total, total, "written")
    return found


def header_of(infos: Mapping[str, Info]) -> bytes:
    """The beginning of a file with these tensors in this order: same tensors, same bytes."""
    at, table = 0, {"__metadata__": {"format": "pt"}}
    for name, info in infos.items():
        table[name] = {"dtype": info.dtype, "shape": list(info.shape), "data_offsets": [at, at + info.bytes]}  # type: ignore[dict-item]
        at += info.bytes
    text = json.dumps(table, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _blocks(shard: Mapping[str, Output]) -> Iterator[tuple[str, memoryview]]:
    yield "", memoryview(header_of({name: output.info for name, output in shard.items()}))
    for name, output in shard.items():
        size = 0
        for block in output.blocks():
            size += len(block)
            yield name, block
        if size != output.info.bytes:
            raise BadWeights(f"tensor {name} came out as {size:,} bytes, its header says {output.info.bytes:,}.")


def _shards(outputs: Mapping[str, Output], most: int | None) -> dict[str, dict[str, Output]]:
    runs: list[dict[str, Output]] = [{}]
    size = 0
    for name, output in outputs.items():
        if most is not None and runs[-1] and size + output.info.bytes > most:
            runs.append({})
            size = 0
        runs[-1][name] = output
        size += output.info.bytes
    if len(runs) == 1:
        return {WEIGHTS: runs[0]}
    return {f"model-{i:05}-of-{len(runs):05}.safetensors": run for i, run in enumerate(runs, start=1)}
