"""What a method merges: one tensor of every input, read a block at a time into buffers that are used again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from composer.errors import BadGraph
from composer.merge.source import Info, Source
from kernels.errors import NotFinite
from kernels.merge import Dtype, Raw
from priors.errors import BadWeights

BLOCK = 1 << 16
"""Elements of a block: 128 KiB of bf16 an input. Three inputs and an output stay in a second-level cache of 1 MiB."""
MAX_ROW = 1 << 26
"""Most elements of a row where a method ranks within rows, which have to be in memory whole."""

T = TypeVar("T")


class Reader:
    """One tensor of one input. A block is valid until the next is read."""

    def __init__(self, source: Source, name: str) -> None:
        self.source, self.name = source, name
        self.info: Info = source.tensors[name]
        self.dtype: Dtype = self.info.dtype  # type: ignore[assignment]  # the plan merges these dtypes only
        self._buffer = np.empty(0, np.uint8)

    def block(self, first: int, count: int) -> Raw:
        size = count * self.info.item
        if self._buffer.size < size:
            self._buffer = np.empty(size, np.uint8)
        found = self._buffer[:size]
        self.source.read(self.name, first, memoryview(found.data))
        return Raw(found.view(np.float32 if self.dtype == "F32" else np.uint16), self.dtype)


@dataclass
class Group:
    """The inputs of one output tensor.

    base      the base's tensor; others are those of the inputs that are not the base, in order
    shared    parameters of the method; each: those of an input, in the order of `others`
    base_own  the base's own, for methods that weigh it as an input (linear); base_at: where it stood among the inputs
    work      the dtype that steps are rounded to, where a method does so
    """

    name: str
    info: Info
    others: Sequence[Reader]
    base: Reader | None
    work: Dtype
    shared: Mapping[str, Any]
    each: Sequence[Mapping[str, Any]]
    base_own: Mapping[str, Any] = field(default_factory=dict)
    base_at: int = 0
    seed: int = 0

    @property
    def everything(self) -> list[tuple[Reader, Mapping[str, Any]]]:
        """All inputs with their parameters, in the order they were given."""
        found = list(zip(self.others, self.each, strict=True))
        if self.base is not None:
            found.insert(self.base_at, (self.base, self.base_own))
        return found

    def required_base(self) -> Reader:
        if self.base is None:
            raise BadGraph(f"{self.name}: the method needs a base. Name one with 'base'.")
        return self.base

    def key(self, place: int) -> int:
        """64 bits for draws: from the seed, the tensor's name and the input's place, and nothing else."""
        text = f"{self.seed}\0{self.name}\0{place}".encode()
        return int.from_bytes(hashlib.sha256(text).digest()[:8], "little")

    def ranges(self, step: int = BLOCK) -> Iterator[tuple[int, int]]:
        """(first element, count) of each block."""
        for first in range(0, self.info.size, step):
            yield first, min(step, self.info.size - first)

    def write(self, fill: Callable[[int, int, Raw], None], step: int = BLOCK) -> Iterator[memoryview]:
        """The bytes of the output, each block made by `fill(first, count, out)`. Raises BadWeights."""
        dtype: Dtype = self.info.dtype  # type: ignore[assignment]
        whole: NDArray[Any] = np.empty(min(step, self.info.size), np.float32 if dtype == "F32" else np.uint16)
        for first, count in self.ranges(step):
            out = whole[:count]
            self.checked(partial(fill, first, count, Raw(out, dtype)))
            yield memoryview(out.data).cast("B")

    def checked(self, call: Callable[[], T]) -> T:
        """What the kernel call gives, its complaint about values made one about this tensor."""
        try:
            return call()
        except NotFinite as error:
            models = ", ".join(reader.source.label for reader, _ in self.everything)
            raise BadWeights(f"tensor {self.name}: {error} ({models}). Merge weights that are finite.") from error


Scope = Literal["shared", "input", "other"]


@dataclass(frozen=True)
class Parameter:
    """A parameter of a method: of the merge, of every input, or of every input but the base. No default: required."""

    scope: Scope
    kind: type
    default: float | bool | None = None


@dataclass(frozen=True)
class Method:
    """A way to merge. `least` and `most` count the inputs that are not the base, or all where `base` is `ignored`."""

    run: Callable[[Group], Iterator[memoryview]]
    parameters: Mapping[str, Parameter]
    base: Literal["required", "optional", "ignored"]
    least: int = 1
    most: int | None = None
