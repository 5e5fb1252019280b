"""Low-rank adapters (PEFT's files): folded into a checkpoint, or extracted from the difference of two.

fold      W + alpha / r * B A; DoRA: every row of that at the adapter's length
extract   the best matrices of rank r for what a fine-tuned checkpoint changed of its base
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from composer.errors import BadGraph
from composer.merge.engine import Merged
from composer.merge.folder import furnish, new_folder
from composer.merge.group import BLOCK
from composer.merge.source import Checkpoint, Info, Output, Source, copied
from composer.merge.writer import Report, write
from kernels.merge import DTYPES, Raw, combine, values
from priors.errors import BadWeights

ADAPTER, ADAPTER_CONFIG = "adapter_model.safetensors", "adapter_config.json"
_PREFIX = "base_model.model."
EXACT = 256
"""Up to this length of the shorter side the singular values are computed whole; beyond by subspace iteration."""
OVERSAMPLED, TURNS = 16, 4

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Extracted:
    """What was written, how much of the change it holds by tensor (1: all of it), and what it cannot hold."""

    folder: Path
    kept: dict[str, float]
    left_out: tuple[str, ...]


def fold(
    base: Path | str,
    adapter: Path | str,
    out: Path | str,
    *,
    report: Report | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Merged:
    """The checkpoint `base` with a LoRA adapter in its weights, as the new folder `out`. Raises BadWeights."""
    source, folded = Checkpoint(base), Checkpoint(Path(adapter) / ADAPTER)
    config = _config(Path(adapter))
    outputs = fold_outputs(source, folded, config)
    with new_folder(Path(out)) as folder:
        files = write(outputs, folder, report=report, cancelled=cancelled)
        furnish(
            folder, source, {str(base): source}, outputs, files,
            name=Path(out).name, made_by={"method": "lora fold", "adapter": folded.header_digest},
        )  # fmt: skip
    return Merged(Path(out), files, len(outputs), sum(output.info.size for output in outputs.values()))


def fold_outputs(base: Source, adapter: Source, config: dict[str, Any]) -> dict[str, Output]:
    """The base's tensors, those that the adapter has matrices for with them added."""
    outputs = {name: copied(base, name) for name in sorted(base.tensors)}
    modules: dict[str, set[str]] = {}
    for name in adapter.tensors:
        module, _, part = name.removeprefix(_PREFIX).rpartition(".lora_")
        known = ("A.weight", "B.weight", "magnitude_vector", "magnitude_vector.weight")
        if not module or part not in known:
            raise BadWeights(
                f"the adapter's tensor {name} is not part of a LoRA of matrices. Fold it with its own library."
            )
        modules.setdefault(module, set()).add(part)
    for module, parts in modules.items():
        target = f"{module}.weight"
        if target not in base.tensors or not {"A.weight", "B.weight"} <= parts:
            cause = "the base has no such tensor" if target not in base.tensors else "A or B is missing"
            raise BadWeights(f"the adapter changes {target}: {cause}. Take the base it was trained on.")
        outputs[target] = _folded(base, adapter, module, config)
    return outputs


def _folded(base: Source, adapter: Source, module: str, config: dict[str, Any]) -> Output:
    name = f"{module}.weight"
    info = base.tensors[name]
    stem = next(n for n in adapter.tensors if n.removeprefix(_PREFIX) == f"{module}.lora_A.weight")[: -len("A.weight")]
    shapes = [adapter.tensors[f"{stem}{part}.weight"].shape for part in "AB"]
    flipped = bool(config.get("fan_in_fan_out"))
    wanted = (shapes[1][0], shapes[0][-1]) if not flipped else (shapes[0][-1], shapes[1][0])
    if [len(s) for s in shapes] != [2, 2] or shapes[0][0] != shapes[1][1] or info.shape != wanted:
        raise BadWeights(
            f"{name} is {list(info.shape)} and its adapter B {list(shapes[1])} A {list(shapes[0])}: no fit."
        )
    if info.dtype not in DTYPES:
        raise BadWeights(f"{name} is {info.dtype}; adapters are folded into {', '.join(DTYPES)}. Convert it first.")
    r = int(_pattern(config, "rank_pattern", module) or shapes[0][0])
    alpha = float(_pattern(config, "alpha_pattern", module) or config.get("lora_alpha") or r)
    scale = alpha / (math.sqrt(r) if config.get("use_rslora") else r)
    length = next((n for n in adapter.tensors if n.startswith(f"{stem}magnitude_vector")), None)
    if length and flipped:
        raise BadWeights(f"{name}: DoRA of a transposed matrix is not supported. Fold it with its own library.")

    def blocks() -> Iterator[memoryview]:
        a, b = (_read(adapter, f"{stem}{part}.weight") for part in "AB")
        left, right = (a.T, b.T) if flipped else (b, a)
        rows = max(1, BLOCK // info.shape[1])
        sizes = _read(adapter, length).reshape(-1) if length else None
        for first in range(0, info.shape[0], rows):
            some = min(rows, info.shape[0] - first)
            made = _read(base, name, first, some) + np.float32(scale) * (left[first : first + some] @ right)
            if sizes is not None:
                made *= (sizes[first : first + some] / np.linalg.norm(made, axis=1))[:, None]
            yield _bytes(made, info)

    return Output(info, blocks)


def extract(
    base: Path | str,
    tuned: Path | str,
    out: Path | str,
    *,
    rank: int,
    targets: tuple[str, ...] = ("*",),
    report: Report | None = None,
) -> Extracted:
    """Write what `tuned` changed of `base` as a LoRA of `rank` into the new folder `out`, in PEFT's format.

    targets  patterns of module names; of those the matrices that are not embeddings. What else changed is `left_out`.

    Memory is a few of the largest matrix. Raises BadWeights, BadGraph.
    """
    below, above = Checkpoint(base), Checkpoint(tuned)
    if below.tensors.keys() != above.tensors.keys():
        odd = min(below.tensors.keys() ^ above.tensors.keys())
        raise BadWeights(f"tensor {odd} is in one of both checkpoints. Extract from models of one architecture.")
    made: dict[str, Floats] = {}
    kept: dict[str, float] = {}
    left: list[str] = []
    names = sorted(below.tensors)
    for number, name in enumerate(names):
        one, other = below.tensors[name], above.tensors[name]
        if one.shape != other.shape:
            raise BadWeights(f"tensor {name} is {list(one.shape)} in {base} and {list(other.shape)} in {tuned}.")
        if report is not None:
            report(number, len(names), name)
        if one.dtype not in DTYPES or other.dtype not in DTYPES:
            continue
        change = _read(above, name) - _read(below, name)
        if not np.isfinite(change).all():
            raise BadWeights(f"tensor {name} holds NaN or infinity. Extract from weights that are finite.")
        if not change.any():
            continue
        module = name.removesuffix(".weight")
        fits = len(one.shape) == 2 and name.endswith(".weight") and "embed" not in name and min(one.shape) >= rank
        if not fits or not any(fnmatchcase(module, pattern) for pattern in targets):
            left.append(name)
            continue
        u, s, v = _best(change, rank)
        root = np.sqrt(s)
        made[f"{_PREFIX}{module}.lora_A.weight"] = root[:, None] * v
        made[f"{_PREFIX}{module}.lora_B.weight"] = u * root
        kept[name] = float((s.astype(np.float64) ** 2).sum() / np.square(change, dtype=np.float64).sum())
    if not made:
        raise BadGraph("no matrix that is looked at was changed: there is nothing to extract. Widen the targets.")
    outputs = {name: _held(x) for name, x in sorted(made.items())}
    config = {
        "peft_type": "LORA", "task_type": None, "base_model_name_or_path": str(base), "r": rank, "lora_alpha": rank,
        "lora_dropout": 0.0, "bias": "none", "fan_in_fan_out": False, "inference_mode": True,
        "target_modules": sorted(name.removesuffix(".weight") for name in kept),
    }  # fmt: skip
    with new_folder(Path(out)) as folder:
        write(outputs, folder)
        (folder / "model.safetensors").rename(folder / ADAPTER)
        (folder / ADAPTER_CONFIG).write_text(json.dumps(config, indent=2) + "\n")
    return Extracted(Path(out), kept, tuple(left))


def _best(change: Floats, rank: int) -> tuple[Floats, Floats, Floats]:
    """U, S, V of the nearest matrix of the rank. Halko et al., arXiv:0909.4061, algorithm 4.4, from a fixed seed."""
    if min(change.shape) <= max(EXACT, 2 * rank):
        u, s, v = np.linalg.svd(change, full_matrices=False)
        return u[:, :rank], s[:rank], v[:rank]
    start = np.random.default_rng(0).standard_normal((change.shape[1], rank + OVERSAMPLED), np.float32)
    span = np.linalg.qr(change @ start)[0]
    for _ in range(TURNS):
        span = np.linalg.qr(change @ np.linalg.qr(change.T @ span)[0])[0]
    u, s, v = np.linalg.svd(span.T @ change, full_matrices=False)
    return (span @ u)[:, :rank], s[:rank], v[:rank]


def _pattern(config: dict[str, Any], key: str, module: str) -> Any:
    found = config.get(key) or {}
    return next((value for name, value in found.items() if module == name or module.endswith(f".{name}")), None)


def _config(adapter: Path) -> dict[str, Any]:
    try:
        config = json.loads((adapter / ADAPTER_CONFIG).read_bytes()[: 1 << 20])
    except (OSError, ValueError, RecursionError) as error:
        raise BadWeights(
            f"{adapter / ADAPTER_CONFIG} cannot be read. An adapter is a folder as PEFT writes it."
        ) from error
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        raise BadWeights(f"{adapter} is not a LoRA adapter. Fold it with its own library.")
    for key in ("modules_to_save", "layer_replication", "megatron_config"):
        if config.get(key):
            raise BadWeights(f"{adapter} has {key}, which is not folded here. Fold it with its own library.")
    if config.get("bias", "none") != "none":
        raise BadWeights(f"{adapter} trains biases, which are not folded here. Fold it with its own library.")
    return config


def _read(source: Source, name: str, first: int = 0, rows: int | None = None) -> Floats:
    """A tensor, or rows of it, as float32."""
    info = source.tensors[name]
    if info.dtype not in DTYPES:
        raise BadWeights(f"tensor {name} is {info.dtype}, not one of {', '.join(DTYPES)}. Convert it first.")
    shape = info.shape if rows is None else (rows, *info.shape[1:])
    width = math.prod(info.shape[1:])
    raw = np.empty(math.prod(shape), np.float32 if info.dtype == "F32" else np.uint16)
    source.read(name, first * width, memoryview(raw.data).cast("B"))
    return values(Raw(raw, next(d for d in DTYPES if d == info.dtype))).reshape(shape)


def _bytes(x: Floats, info: Info) -> memoryview:
    dtype = next(d for d in DTYPES if d == info.dtype)
    out = np.empty(x.size, np.float32 if dtype == "F32" else np.uint16)
    combine([Raw(np.ascontiguousarray(x).reshape(-1), "F32")], [1.0], 1.0, Raw(out, dtype))
    return memoryview(out.data).cast("B")


def _held(x: Floats) -> Output:
    info = Info("F32", x.shape)
    return Output(info, lambda: iter([memoryview(np.ascontiguousarray(x, np.float32).data).cast("B")]))
