"""What to merge, in one value: a method, its inputs whole or in slices of layers, and parameters by scope."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from composer.merge.settings import Settings


@dataclass(frozen=True)
class Part:
    """One input of a slice: a model, by a path or whatever the caller resolves, and where given [first, end) layers."""

    model: str
    parameters: Settings = field(default_factory=dict)
    layers: tuple[int, int] | None = None


@dataclass(frozen=True)
class Slice:
    """Inputs that become one run of layers; with `base` its own base."""

    parts: tuple[Part, ...]
    parameters: Settings = field(default_factory=dict)
    base: str | None = None


@dataclass(frozen=True)
class MergeSpec:
    """A merge. One slice whose parts have no layers is a merge of whole models.

    parameters  for all slices; those of a slice, and then those of a part, come first
    dtype       float32 | bfloat16 | float16: what is computed in; by default what the inputs' dtypes promote to
    out_dtype   what is written; by default `dtype`
    seed        of everything that is drawn (DARE, DELLA), together with the tensor's name and the input's place
    """

    method: str
    slices: tuple[Slice, ...]
    base: str | None = None
    parameters: Settings = field(default_factory=dict)
    dtype: str | None = None
    out_dtype: str | None = None
    seed: int = 0

    @classmethod
    def of(
        cls,
        method: str,
        models: Sequence[str],
        *,
        base: str | None = None,
        weights: Sequence[float] | None = None,
        parameters: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> MergeSpec:
        """Whole models, with one weight each where given."""
        each: list[Settings] = [{}] * len(models) if weights is None else [{"weight": w} for w in weights]
        parts = tuple(Part(model, own) for model, own in zip(models, each, strict=True))
        return cls(method, (Slice(parts),), base, dict(parameters or {}), **more)

    @property
    def models(self) -> tuple[str, ...]:
        """Every model that is read, once each: the inputs in order, then bases that are no inputs."""
        named = [part.model for one in self.slices for part in one.parts]
        bases = [base for base in (self.base, *(one.base for one in self.slices)) if base is not None]
        return tuple(dict.fromkeys([*named, *bases]))
