"""The commands that make weights from weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from composer._cli_hub import AsJson
from composer._console import emit, progress

if TYPE_CHECKING:
    from composer.merge import MergeSpec

app = typer.Typer()

Out = Annotated[Path, typer.Option("--out", help="The folder to make.")]


@app.command()
def merge(
    models: Annotated[list[str], typer.Argument(help="Checkpoints: folders or files; or one recipe.yaml of mergekit.")],
    out: Out,
    method: Annotated[str | None, typer.Option("--method", help="linear, slerp, ties, dare, della, karcher, …")] = None,
    base: Annotated[str | None, typer.Option("--base", help="What task vectors are taken from.")] = None,
    weight: Annotated[list[float] | None, typer.Option("--weight", help="One a model, in order.")] = None,
    parameter: Annotated[
        list[str] | None, typer.Option("--set", help="name=value, or name=a,b,c over the depth; may be given again.")
    ] = None,
    dtype: Annotated[str | None, typer.Option(help="What is computed in; the models' own when left out.")] = None,
    out_dtype: Annotated[str | None, typer.Option("--out-dtype", help="What is written.")] = None,
    like: Annotated[
        str | None, typer.Option("--like", help="Whose config and tokenizer; the base's otherwise.")
    ] = None,
    shard_mb: Annotated[float | None, typer.Option("--shard-mb", min=1, help="Most megabytes of a file.")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of what is drawn (DARE, DELLA).")] = 0,
    as_json: AsJson = False,
) -> None:
    """Merge models of one architecture into a new one, as a recipe of mergekit or these options say."""
    from composer.merge.engine import merge as run
    from composer.merge.recipe import load_recipe

    recipe = models[0] if len(models) == 1 and models[0].endswith((".yaml", ".yml")) else None
    if recipe:
        if method or base or weight or parameter:
            raise typer.BadParameter("the recipe says how; leave out --method, --base, --weight, --set")
        spec = load_recipe(Path(recipe))
    elif method is None:
        raise typer.BadParameter("say how with --method, or give a recipe.yaml", param_hint="--method")
    else:
        spec = _spec(models, method, base, weight, parameter, dtype=dtype, out_dtype=out_dtype, seed=seed)
    with progress() as report:
        made = run(
            spec, out, like=like, report=report, shard_bytes=None if shard_mb is None else int(shard_mb * 1_000_000)
        )
    files = {name: {"sha256": file.sha256, "size": file.size} for name, file in made.files.items()}
    emit(
        {
            "folder": str(out),
            "method": spec.method,
            "tensors": made.tensors,
            "parameters": made.parameters,
            "files": files,
        },
        f"{spec.method}: {made.parameters:,} parameters in {made.tensors:,} tensors, written to {out}",
        as_json=as_json,
    )


lora = typer.Typer(help="Low-rank adapters: into weights, and out of them.")
app.add_typer(lora, name="lora")


@lora.command("fold")
def lora_fold(
    base: Annotated[Path, typer.Argument(help="The checkpoint the adapter was trained on.")],
    adapter: Annotated[Path, typer.Argument(help="A folder of PEFT: adapter_config.json, adapter_model.safetensors.")],
    out: Out,
    as_json: AsJson = False,
) -> None:
    """Put a LoRA adapter into the weights of its base."""
    from composer.merge import fold

    with progress() as report:
        made = fold(base, adapter, out, report=report)
    files = {name: {"sha256": file.sha256, "size": file.size} for name, file in made.files.items()}
    emit({"folder": str(out), "files": files}, f"{adapter} folded into {base}, written to {out}", as_json=as_json)


@lora.command("extract")
def lora_extract(
    base: Annotated[Path, typer.Argument(help="The checkpoint it began as.")],
    tuned: Annotated[Path, typer.Argument(help="The checkpoint it became.")],
    out: Out,
    rank: Annotated[int, typer.Option("--rank", min=1, max=4096, help="Of the matrices.")] = 16,
    target: Annotated[
        list[str] | None, typer.Option("--target", help="Pattern of module names; again for more.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write what fine-tuning changed as a LoRA adapter."""
    from composer.merge import extract

    with progress() as report:
        made = extract(base, tuned, out, rank=rank, targets=tuple(target or ("*",)), report=report)
    least = min(made.kept, key=lambda name: made.kept[name])
    emit(
        {"folder": str(out), "kept": made.kept, "left_out": list(made.left_out)},
        f"{len(made.kept)} matrices of rank {rank} in {out}; least kept: {made.kept[least]:.1%} of {least}; "
        f"{len(made.left_out)} changed tensors are left out",
        as_json=as_json,
    )


@app.command()
def retok(
    model: Annotated[Path, typer.Argument(help="A checkpoint with its tokenizer.json.")],
    tokenizer: Annotated[Path, typer.Argument(help="A tokenizer.json, or the folder of one.")],
    out: Out,
    fallback: Annotated[
        Literal["mean", "subtokens", "zero"], typer.Option(help="Rows of tokens that the model does not have.")
    ] = "subtokens",
    as_json: AsJson = False,
) -> None:
    """Give a checkpoint another tokenizer's vocabulary."""
    from composer.merge import retok as run

    with progress() as report:
        made = run(model, tokenizer, out, fallback=fallback, report=report)
    emit(
        {"folder": str(out), "kept": made.kept, "from_subtokens": made.from_subtokens, "otherwise": made.otherwise},
        f"{made.kept:,} tokens kept their row, {made.from_subtokens:,} got that of their parts, {made.otherwise:,} no",
        as_json=as_json,
    )


def _spec(
    models: list[str],
    method: str,
    base: str | None,
    weight: list[float] | None,
    parameter: list[str] | None,
    **more: Any,
) -> MergeSpec:
    from composer.merge.plan import find_method
    from composer.merge.spec import MergeSpec

    if weight is not None and len(weight) != len(models):
        raise typer.BadParameter(f"{len(weight)} weights for {len(models)} models", param_hint="--weight")
    known = find_method(method).parameters
    if weight is None and "weight" in known:
        weight = [1.0] * len(models)
    settings: dict[str, Any] = {}
    for item in parameter or ():
        name, equals, value = item.partition("=")
        if not equals:
            raise typer.BadParameter(f"{item!r} is not name=value", param_hint="--set")
        values = [{"true": True, "false": False}.get(one, one) for one in value.split(",")]
        settings[name] = values[0] if len(values) == 1 else values
    return MergeSpec.of(method, models, base=base, weights=weight, parameters=settings, **more)
