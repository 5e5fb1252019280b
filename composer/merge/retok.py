"""Vocabulary transplant: a checkpoint with the rows of another tokenizer's vocabulary.

A token that both vocabularies have keeps its row. A new one gets, by `fallback`, the mean of the rows that the old
tokenizer splits its text into (subtokens; the mean of all rows where that gives none), the mean of all rows, or zeros.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from composer.errors import BadGraph
from composer.merge.engine import Merged
from composer.merge.folder import furnish, new_folder
from composer.merge.group import BLOCK
from composer.merge.lora import _bytes, _read
from composer.merge.source import Checkpoint, Info, Output, Source, copied
from composer.merge.writer import Report, write
from priors.errors import BadWeights

Fallback = Literal["mean", "subtokens", "zero"]
TOKENIZER = "tokenizer.json"


@dataclass(frozen=True)
class Origin:
    """A new token: whether the old vocabulary has it, and the old ids that are it, or that its text splits into."""

    same: bool
    ids: tuple[int, ...]


@dataclass(frozen=True)
class Transplanted:
    """What was written, and how many tokens kept a row, got one from subtokens, or by the rest of the fallback."""

    merged: Merged
    kept: int
    from_subtokens: int
    otherwise: int


def retok(
    model: Path | str,
    tokenizer: Path | str,
    out: Path | str,
    *,
    fallback: Fallback = "subtokens",
    report: Report | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Transplanted:
    """The checkpoint `model` for the tokenizer in another folder, as the new folder `out`.

    Its config.json says vocab_size; every tensor whose first axis has that length is one row a token. Raises BadGraph,
    BadWeights.
    """
    from tokenizers import Tokenizer  # Rust, of the extra `compose`

    source, given = Checkpoint(model), Path(tokenizer)
    paths = [source.directory / TOKENIZER, given / TOKENIZER if given.is_dir() else given]
    try:
        old, new = (Tokenizer.from_file(str(path)) for path in paths)
    except Exception as error:  # the library raises no class of its own
        raise BadGraph(
            f"{paths[0]} or {paths[1]} is not a tokenizer ({str(error)[:80]}). Give tokenizer.json."
        ) from error
    size = source.config.get("vocab_size")
    if not isinstance(size, int) or size < old.get_vocab_size():
        raise BadGraph(f"config.json of {model} says vocab_size {size}, its tokenizer has {old.get_vocab_size()}.")
    rows = origins(old, new)
    outputs = retok_outputs(source, size, rows, fallback)
    with new_folder(Path(out)) as folder:
        files = write(outputs, folder, report=report, cancelled=cancelled)
        furnish(
            folder, source, {str(model): source}, outputs, files,
            name=Path(out).name, made_by={"method": "retok", "tokenizer": str(tokenizer), "fallback": fallback},
        )  # fmt: skip
        shutil.copyfile(paths[1], folder / TOKENIZER)
        config = {**json.loads((folder / "config.json").read_text()), "vocab_size": len(rows)}
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    merged = Merged(Path(out), files, len(outputs), sum(output.info.size for output in outputs.values()))
    kept = sum(row.same for row in rows)
    split = sum(bool(row.ids) and not row.same for row in rows) if fallback == "subtokens" else 0
    return Transplanted(merged, kept, split, len(rows) - kept - split)


def origins(old: Any, new: Any) -> list[Origin]:
    """For every id of the new tokenizer where its row comes from."""
    known: Mapping[str, int] = old.get_vocab()
    found = [Origin(False, ())] * (max(new.get_vocab().values(), default=-1) + 1)
    for token, place in new.get_vocab().items():
        if token in known:
            found[place] = Origin(True, (known[token],))
            continue
        text = new.decode([place], skip_special_tokens=False)
        unknown = {known[t] for t in ("[UNK]", "<unk>") if t in known}
        ids = old.encode(text, add_special_tokens=False).ids if text else []
        found[place] = Origin(False, tuple(i for i in ids if i not in unknown))
    return found


def retok_outputs(source: Source, size: int, rows: Sequence[Origin], fallback: Fallback) -> dict[str, Output]:
    """The tensors of a source whose vocabulary of `size` becomes `rows` (see `origins`)."""
    outputs = {name: copied(source, name) for name in sorted(source.tensors)}
    wide = [name for name, info in source.tensors.items() if info.shape and info.shape[0] == size]
    if not wide:
        raise BadWeights(f"no tensor has {size:,} rows, one a token. Correct vocab_size in config.json.")
    for name in wide:
        outputs[name] = _replaced(source, name, rows, fallback)
    return outputs


def _replaced(source: Source, name: str, rows: Sequence[Origin], fallback: Fallback) -> Output:
    old = source.tensors[name]
    info = Info(old.dtype, (len(rows), *old.shape[1:]))
    step = max(1, BLOCK // max(1, old.size // old.shape[0]))

    def blocks() -> Iterator[memoryview]:
        total = np.zeros(old.shape[1:], np.float64)
        for first in range(0, old.shape[0], step):
            total += _read(source, name, first, min(step, old.shape[0] - first)).sum(0, dtype=np.float64)
        mean = (total / old.shape[0]).astype(np.float32)
        other = np.zeros_like(mean) if fallback == "zero" else mean
        for first in range(0, len(rows), step):
            made = np.stack([_row(source, name, row, other, fallback) for row in rows[first : first + step]])
            yield _bytes(made, info)

    return Output(info, blocks)


def _row(source: Source, name: str, row: Origin, other: Any, fallback: Fallback) -> Any:
    if not row.same and (fallback != "subtokens" or not row.ids):
        return other
    return np.mean([_read(source, name, i, 1)[0] for i in row.ids], axis=0, dtype=np.float64).astype(np.float32)
