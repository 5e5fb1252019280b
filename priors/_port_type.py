"""The values of `priors.types`: port types, axes and lengths."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

LEVELS: Mapping[str, tuple[str, ...]] = {
    "text": ("raw", "ids", "tokens"),
    "image": ("raw", "pixels", "patches", "map"),
    "audio": ("raw", "wave", "mel", "frames"),
    "tab": ("raw", "row", "num"),
    "series": ("raw", "num"),
    "vec": ("feat",),
    "dist": ("logits", "probs"),
    "scalar": ("value",),
    "graph": ("raw",),
}
"""The closed set of modalities and, for each, its levels from what people have to what networks read and give."""

AXES = ("B", "T", "S", "H", "W", "C", "D", "K", "E", "F")
"""batch, time, slot, height, width, channel, feature, class, expert, frequency."""

ATTRIBUTES = ("vocab", "labels", "norm", "sr", "unit", "range", "mask", "cols")

WIDER: Mapping[str, tuple[str, ...]] = {
    "bool": ("u8", "i8", "i16", "i32", "i64", "f16", "bf16", "f32", "f64"),
    "u8": ("i16", "i32", "i64", "f16", "bf16", "f32", "f64"),
    "i8": ("i16", "i32", "i64", "f16", "bf16", "f32", "f64"),
    "i16": ("i32", "i64", "f32", "f64"),
    "i32": ("i64", "f64"),
    "i64": (),
    "f16": ("f32", "f64"),
    "bf16": ("f32", "f64"),
    "f32": ("f64",),
    "f64": (),
    "str": (),
}
"""dtype -> the dtypes that hold each of its values exactly. Transitive, so that subtyping is."""

DTYPES = tuple(WIDER)

MAX_DIM = 2**24
"""The longest fixed axis. Longer ones are mistakes or attacks: one float32 row of it is already 64 MiB."""

INFORMATIVE = frozenset({"mask"})
"""Attributes that only tell the run time how to treat a value; they never decide whether it fits."""


@dataclass(frozen=True)
class Sym:
    """A length computed from a symbol: `symbol op value`. Division is exact."""

    symbol: str
    op: str
    value: int

    def __str__(self) -> str:
        return f"{self.symbol}{self.op}{self.value}"


Dim = int | str | Sym | None
"""A fixed length, a symbol, a computed length, or free."""


@dataclass(frozen=True)
class Axis:
    """One axis: its meaning and its length."""

    name: str
    dim: Dim = None

    def __str__(self) -> str:
        return self.name if self.dim is None else f"{self.name}:{self.dim}"


@dataclass(frozen=True)
class PortType:
    """The type of a value. `space` names the latent space it lives in; `attrs` are sorted (key, value) pairs."""

    modality: str
    level: str
    axes: tuple[Axis, ...]
    dtype: str
    space: str | None = None
    attrs: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        space = f"@{self.space}" if self.space else ""
        attrs = ",".join(f"{key}={value}" for key, value in self.attrs)
        return f"{self.kind}[{','.join(map(str, self.axes))}]:{self.dtype}{space}{f'{{{attrs}}}' if attrs else ''}"

    @property
    def kind(self) -> str:
        """`modality.level`, such as `text.tokens`."""
        return f"{self.modality}.{self.level}"

    @property
    def is_raw(self) -> bool:
        """Whether this is what people have (strings, image files, recordings) rather than a tensor."""
        return self.level == "raw"

    @property
    def axis_names(self) -> tuple[str, ...]:
        return tuple(axis.name for axis in self.axes)

    def axis(self, name: str) -> Axis | None:
        """The axis called `name`, or None."""
        return next((axis for axis in self.axes if axis.name == name), None)

    def dim(self, name: str) -> Dim:
        """The length of axis `name`; None when it is free or absent."""
        axis = self.axis(name)
        return axis.dim if axis else None

    def attr(self, key: str) -> str | None:
        """The value of attribute `key`, or None."""
        return dict(self.attrs).get(key)

    def with_(
        self,
        *,
        modality: str | None = None,
        level: str | None = None,
        axes: tuple[Axis, ...] | None = None,
        dtype: str | None = None,
        attrs: Mapping[str, str] | None = None,
        dims: Mapping[str, Dim] | None = None,
    ) -> PortType:
        """A copy with some parts replaced; `dims` sets the lengths of named axes. The space stays: see `in_space`."""
        new = self.axes if axes is None else axes
        if dims:
            new = tuple(Axis(axis.name, dims[axis.name]) if axis.name in dims else axis for axis in new)
        return PortType(
            modality=self.modality if modality is None else modality,
            level=self.level if level is None else level,
            axes=new,
            dtype=self.dtype if dtype is None else dtype,
            space=self.space,
            attrs=self.attrs if attrs is None else tuple(sorted(attrs.items())),
        )

    def in_space(self, space: str | None) -> PortType:
        """A copy that lives in `space`; None is no particular one."""
        return replace(self, space=space)
