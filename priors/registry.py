"""The closed sets of architectures and functions: a decorator and a dict for each. Imports neither torch nor numpy.

    @architecture("bert")            @function("char_ngrams")
    class Bert: ...                  class CharNgrams: ...

A manifest names an id; the code behind it ships with this package. `priors.architectures` and
`priors.functions.everything` import their modules explicitly, and are imported on the first lookup: most need torch.
`function_signature` gives a function's types without importing its class.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

from priors.errors import UnknownArchitecture, UnknownFunction
from priors.families import FAMILY_IDS, config_class
from priors.families._config import ArchitectureConfig
from priors.functions.signatures import FUNCTION_IDS as FUNCTION_IDS
from priors.functions.signatures import find_signature as find_signature
from priors.functions.signatures import function_signature as function_signature

if TYPE_CHECKING:
    from torch import Tensor, nn

ARCHITECTURE_IDS = tuple(sorted(FAMILY_IDS))
"""What `priors.architectures` registers, known without torch so that a manifest can be checked; a test compares."""


class Architecture(Protocol):
    """What a class under `@architecture` offers. Everything but `build` and `key_map` works without weights."""

    name: ClassVar[str]

    def __init__(self, config: dict[str, Any]) -> None:
        """Raises BadManifest for a config this family does not have."""

    def inputs(self) -> dict[str, str]:
        """Port name -> port type, in the order of `forward`'s arguments (a mask follows the port it belongs to)."""

    def taps(self) -> dict[str, str]:
        """Tap name -> port type of that output."""

    def averages(self) -> dict[str, list[str]]:
        """Taps that are the mean of other taps -> those taps."""

    def build(self, taps: tuple[str, ...]) -> nn.Module:
        """A module whose `forward(*inputs)` gives a tuple of tensors in the order of `taps`, and computes no more."""

    def key_map(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """A published state dict under the names of `build`'s module."""


class Function(Protocol):
    """What every class under `@function` offers; see `priors.functions` for the host and the tensor kind."""

    host: ClassVar[bool]
    fitted: ClassVar[bool]

    def __init__(self, config: dict[str, Any]) -> None:
        """Raises BadManifest for a config this function does not have."""


A = TypeVar("A", bound=type)

_architectures: dict[str, type[Architecture]] = {}
_functions: dict[str, type[Function]] = {}


def architecture(name: str) -> Callable[[A], A]:
    """Class decorator: registers a network family under its architecture id, which becomes its `name`."""
    register = _register(_architectures, name)

    def put(cls: A) -> A:
        cls.name = name  # type: ignore[attr-defined]
        return register(cls)

    return put


def function(name: str) -> Callable[[A], A]:
    """Class decorator: registers a function prior under its function id."""
    return _register(_functions, name)


def find_architecture(name: str) -> type[Architecture]:
    """The class behind an architecture id. Raises UnknownArchitecture with the nearest ids. Imports torch."""
    require_architecture(name)
    import_module("priors.architectures")
    return _architectures[name]


def find_function(name: str) -> type[Function]:
    """The class behind a function id. Raises UnknownFunction with the nearest ids. Imports numpy, perhaps torch."""
    import_module("priors.functions.everything")
    if name not in _functions:
        raise UnknownFunction(f"no function prior is called {name!r}. {_near(name, _functions)}")
    return _functions[name]


def find_host_function(name: str) -> type[Function]:
    """The class behind the id of a function of raw values. Raises UnknownFunction. Imports numpy and no torch."""
    if not find_signature(name).host:
        raise UnknownFunction(f"{name!r} is no function of raw values. It is a part of the model.")
    import_module(f"priors.functions.{name}")
    return _functions[name]


def require_architecture(name: str) -> None:
    """Raises UnknownArchitecture unless this version ships `name`. Imports nothing."""
    if name not in ARCHITECTURE_IDS:
        raise UnknownArchitecture(f"no architecture is called {name!r}. {_near(name, ARCHITECTURE_IDS)}")


def architecture_schema(name: str) -> dict[str, Any]:
    """The JSON schema of an architecture's config. Raises UnknownArchitecture. Imports pydantic, and no torch."""
    require_architecture(name)
    return config_class(name, ArchitectureConfig).model_json_schema()


def architectures() -> Mapping[str, type[Architecture]]:
    """All registered families by id. Imports torch."""
    import_module("priors.architectures")
    return dict(_architectures)


def functions() -> Mapping[str, type[Function]]:
    """All registered functions by id. Imports numpy and torch."""
    import_module("priors.functions.everything")
    return dict(_functions)


def _register(table: dict[str, Any], name: str) -> Callable[[A], A]:
    def put(cls: A) -> A:
        # The same class again is a module that was imported twice; two classes of one name are a mistake in our code.
        if name in table and table[name].__qualname__ != cls.__qualname__:
            raise RuntimeError(f"{name!r} is registered twice: {table[name].__qualname__} and {cls.__qualname__}")
        table[name] = cls
        return cls

    return put


def _near(name: str, known: Any) -> str:
    names = list(known)
    near = get_close_matches(name, names, n=3, cutoff=0.5)
    return f"Nearest: {', '.join(near)}." if near else f"Known: {', '.join(sorted(names))}."
