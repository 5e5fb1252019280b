"""Whether a file's tensors bear out what a config says of them."""

from __future__ import annotations

from typing import Protocol

from priors.families.text import Shapes
from priors.weights import Header


class Described(Protocol):
    """A family's config, which knows tensors of its file by name and shape."""

    @property
    def prefixes(self) -> tuple[str, ...]: ...
    @property
    def layer_path(self) -> str: ...
    @property
    def depth(self) -> int: ...
    def shapes(self) -> Shapes: ...
    def layer_shapes(self) -> Shapes: ...


def fits(config: Described, header: Header) -> bool:
    """Whether the tensors have the sizes that the config says, in as many equal layers; a depth of 0 counts none."""
    shapes = {}
    for name, info in header.tensors.items():
        bare = next((name.removeprefix(one) for one in config.prefixes if name.startswith(one)), name)
        shapes[bare] = info.shape
    wanted = dict(config.shapes())
    for layer in range(config.depth):
        wanted |= {f"{config.layer_path}.{layer}.{name}": shape for name, shape in config.layer_shapes().items()}
    if any(shapes.get(name) != shape for name, shape in wanted.items()):
        return False
    deeper = f"{config.layer_path}.{config.depth}."
    return config.depth == 0 or not any(name.startswith(deeper) for name in shapes)
