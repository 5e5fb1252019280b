"""A node of a checked composition: what a graph's node becomes when its types are known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from priors.types import PortType


@dataclass(frozen=True)
class TypedNode:
    """A node of a checked composition or a lock.

    inputs        (port, source) pairs; sources include inserted adapters
    attrs         complete: defaults, taps, full prior references
    type          of the value it gives; None for weights, which have an `architecture` instead
    hash          sha256 in hex over what decides its value, given the values of the input nodes it depends on
    auto          inserted by `check`
    """

    name: str
    op: str
    inputs: tuple[tuple[str, str], ...]
    attrs: Mapping[str, Any]
    type: PortType | None
    architecture: str | None
    hash: str
    auto: bool = False

    @property
    def sources(self) -> tuple[str, ...]:
        """The nodes it reads, in order."""
        return tuple(source for _, source in self.inputs)

    @property
    def shown_type(self) -> str:
        """The type as a text: a port type, or `wt[architecture]`."""
        return f"wt[{self.architecture}]" if self.type is None else str(self.type)

    @property
    def learns(self) -> bool:
        """Whether fitting changes it: it is trained, or learns from the training rows."""
        match self.op:
            case "fn":
                return self.attrs.get("fit") == "train" or self.attrs.get("train") == "full"
            case "net":
                return bool(self.attrs.get("train", "frozen") != "frozen")
            case _:
                return self.has_parameters and self.attrs.get("train", "full") != "frozen"

    @property
    def has_parameters(self) -> bool:
        """Whether it has parameters of its own, which only a fit can give a meaning."""
        match self.op:
            case "proj" | "gate" | "attend" | "head" | "delta" | "retok":
                return True
            case "fn":
                return "fit" in self.attrs or "train" in self.attrs
            case "net":
                return self.attrs.get("train", "frozen") not in ("frozen", "delta")  # a delta node holds its own
            case "sum":
                return self.attrs.get("weights") in ("learned", "search")
            case "expand":
                return self.attrs.get("kind") == "prefix"
            case "pool":
                return self.attrs.get("kind") == "attn"
            case "resample":
                return self.attrs.get("mode") == "perceiver"
            case "route":
                return self.attrs.get("by") == "gate"
            case _:
                return False
