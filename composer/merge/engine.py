"""Merging files into a folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from composer.errors import BadGraph
from composer.merge.folder import furnish, new_folder
from composer.merge.layers import Stacks
from composer.merge.plan import plan
from composer.merge.source import Checkpoint
from composer.merge.spec import MergeSpec
from composer.merge.writer import Report, Written, write

Locate = Callable[[str], Path]


@dataclass(frozen=True)
class Merged:
    """What was written: the folder, and each file of weights."""

    folder: Path
    files: dict[str, Written]
    tensors: int
    parameters: int


def merge(
    spec: MergeSpec,
    out: Path | str,
    *,
    locate: Locate = Path,
    like: str | None = None,
    shard_bytes: int | None = None,
    report: Report | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Merged:
    """Merge checkpoints into the new folder `out`: weights, config, tokenizer, card, and prior.json of a prior.

    locate       the folder or file of a model that the merge names
    like         the model whose config and tokenizer are taken: the base, or the first, when not said
    shard_bytes  most bytes of a file of weights
    report       report(bytes done, bytes in all, tensor)
    cancelled    asked as it goes; True raises Cancelled

    All headers are compared before weights are read. Memory is a few blocks, whatever the size of the models. Raises
    BadGraph, BadWeights, BadManifest; then, as when it is cancelled or killed, there is no `out`.
    """
    out = Path(out)
    sources = {model: Checkpoint(locate(model)) for model in spec.models}
    try:
        like = like or spec.base or spec.models[0]
        if like not in sources:
            raise BadGraph(f"{like!r} is none of the merged models. Take config and tokenizer from one of them.")
        outputs = plan(spec, sources)
        sliced = any(part.layers for one in spec.slices for part in one.parts)
        stacks = Stacks.of(outputs) if sliced else None
        with new_folder(out) as folder:
            files = write(outputs, folder, shard_bytes=shard_bytes, report=report, cancelled=cancelled)
            furnish(
                folder, sources[like], sources, outputs, files,
                name=out.name, made_by=asdict(spec), layers=stacks.sizes[stacks.main] if stacks else None,
            )  # fmt: skip
    finally:
        for source in sources.values():
            source.close()
    return Merged(out, files, len(outputs), sum(output.info.size for output in outputs.values()))
