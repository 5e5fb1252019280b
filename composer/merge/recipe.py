"""A mergekit recipe (YAML) as a merge. What has no counterpart here is refused by name, never left out silently."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from composer._document import MAX_YAML, read_yaml
from composer.errors import BadGraph
from composer.merge.plan import find_method
from composer.merge.spec import MergeSpec, Part, Slice

_KEYS = {
    "merge_method", "models", "slices", "modules", "base_model", "parameters", "dtype", "out_dtype", "tokenizer_source",
    "tokenizer", "chat_template", "seed",
}  # fmt: skip
_OTHERS = {"ramplus_tl", "arcee_fusion"}


def read_recipe(text: str) -> MergeSpec:
    """The merge a mergekit recipe describes; a `seed` of ours may stand beside its keys. Raises BadGraph.

    Understood: models or slices (or one of `modules`), base_model, parameters at every level with their filters and
    gradients, dtype, out_dtype, `tokenizer_source: base` and its long form. Models are taken as they are written.
    """
    recipe = read_yaml(text)
    if not isinstance(recipe, dict) or "merge_method" not in recipe:
        raise BadGraph(
            "a recipe is a table with merge_method, and models or slices. Start it with 'merge_method: ties'."
        )
    _known(recipe, _KEYS, "the recipe")
    method = str(recipe["merge_method"])
    if method in _OTHERS:
        raise BadGraph(f"merge_method {method} is mergekit's alone. Use ram, ties or sce.")
    find_method(method)
    _same_tokenizer(recipe)
    given = [key for key in ("models", "slices", "modules") if recipe.get(key)]
    if len(given) != 1:
        raise BadGraph(f"a recipe has one of models, slices and modules, this one has {given or 'none'}. Keep one.")
    inner = recipe
    if given == ["modules"]:
        if not isinstance(recipe["modules"], dict) or len(recipe["modules"]) != 1:
            raise BadGraph("recipes of several modules are not understood. Write one for each.")
        [inner] = recipe["modules"].values()
        inner = _table(inner, "modules")
        _known(inner, {"models", "slices", "parameters"}, "modules")
    outer = _table(recipe.get("parameters") or {}, "parameters")
    if inner is not recipe:
        outer = {**outer, **_table(inner.get("parameters") or {}, "parameters")}
    base = recipe.get("base_model")
    return MergeSpec(
        method=method,
        slices=_slices(inner),
        base=None if base is None else _model(base),
        parameters=outer,
        dtype=_dtype(recipe.get("dtype")),
        out_dtype=_dtype(recipe.get("out_dtype")),
        seed=_whole(recipe.get("seed", 0), "seed"),
    )


def load_recipe(path: Path) -> MergeSpec:
    """The recipe in a file; relative models that exist beside it are found there. Raises BadGraph."""
    try:
        with path.open("rb") as file:
            return read_recipe(file.read(MAX_YAML + 1).decode())
    except OSError as error:
        raise BadGraph(f"{path} cannot be read ({error.strerror}). Give the path of a recipe.") from error
    except UnicodeDecodeError as error:
        raise BadGraph(f"{path} is not UTF-8 text. Save it as UTF-8.") from error


def _slices(recipe: Mapping[str, Any]) -> tuple[Slice, ...]:
    if recipe.get("models"):
        return (Slice(tuple(_part(item, layered=False) for item in _list(recipe["models"], "models"))),)
    found = []
    for item in _list(recipe.get("slices"), "slices"):
        one = _table(item, "a slice")
        _known(one, {"sources", "base_model", "parameters", "residual_weight"}, "a slice")
        if one.get("residual_weight") is not None:
            raise BadGraph("residual_weight is not supported. Remove it.")
        base = one.get("base_model")
        found.append(
            Slice(
                tuple(_part(source, layered=True) for source in _list(one.get("sources"), "sources")),
                _table(one.get("parameters") or {}, "parameters"),
                None if base is None else _model(base),
            )
        )
    return tuple(found)


def _part(item: Any, *, layered: bool) -> Part:
    one = _table(item, "a model")
    _known(one, {"model", "parameters", *(["layer_range"] if layered else [])}, "a model")
    layers = one.get("layer_range")
    if layered and not (isinstance(layers, list) and len(layers) == 2 and all(type(n) is int for n in layers)):
        raise BadGraph(f"layer_range is {str(layers)[:40]}. Write [first, end], the end not included.")
    parameters = _table(one.get("parameters") or {}, "parameters")
    return Part(_model(one.get("model")), parameters, (layers[0], layers[1]) if layers else None)


def _model(value: Any) -> str:
    if isinstance(value, dict):  # mergekit's long form
        _known(value, {"model", "lora"}, "a model")
        if value.get("lora"):
            raise BadGraph(
                "a model with a lora: fold it first, priorhub lora fold BASE ADAPTER --out FOLDER, and name that."
            )
        value = value.get("model")
        value = value.get("path") if isinstance(value, dict) else value
    if not isinstance(value, str) or not value:
        raise BadGraph(f"{str(value)[:60]!r} is no model. Write the path of a checkpoint.")
    if "+" in value and not Path(value).exists():
        raise BadGraph(
            f"{value[:80]!r} names a LoRA after '+'. Fold it first: priorhub lora fold BASE ADAPTER --out FOLDER."
        )
    return value


def _same_tokenizer(recipe: Mapping[str, Any]) -> None:
    source = recipe.get("tokenizer_source")
    if isinstance(recipe.get("tokenizer"), dict):
        extra = set(recipe["tokenizer"]) - {"source"}
        if extra:
            raise BadGraph(f"tokenizer.{min(extra)} is not supported. Transplant vocabularies first: priorhub retok.")
        source = recipe["tokenizer"].get("source")
    if source not in (None, "base"):
        raise BadGraph(
            f"tokenizer source {str(source)[:60]!r}: only 'base'. Transplant vocabularies first: priorhub retok."
        )
    if recipe.get("chat_template") is not None:
        raise BadGraph("chat_template is not supported. Remove it, and edit the tokenizer of the result.")


def _dtype(value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise BadGraph(f"dtype is {str(value)[:40]!r}. Use bfloat16, float16 or float32.")
    return value


def _whole(value: Any, name: str) -> int:
    if type(value) is not int or value < 0:
        raise BadGraph(f"{name} is {str(value)[:40]!r}. Write a whole number from 0.")
    return value


def _table(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadGraph(f"{what} is {str(value)[:60]!r}, not a table of keys. Correct the recipe.")
    return value


def _list(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise BadGraph(f"{what} is {str(value)[:60]!r}, not a list. Correct the recipe.")
    return value


def _known(table: Mapping[str, Any], keys: set[str], what: str) -> None:
    odd = sorted(set(table) - keys)
    if odd:
        raise BadGraph(f"{what} has the key {odd[0][:60]!r}. Known here: {', '.join(sorted(keys))}.")
