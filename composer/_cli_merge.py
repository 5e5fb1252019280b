"""The commands that make weights from weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
