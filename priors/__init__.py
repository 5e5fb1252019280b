"""Priors: things that already know something before they see your labels, and the client that fetches them.

    from priors import Hub, Task

Names are imported on first use, so that `import priors` costs nothing and a light client never pulls in torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from priors.client import Hub as Hub
    from priors.library import Entry as Entry
    from priors.library import Library as Library
    from priors.library import LocalLibrary as LocalLibrary
    from priors.load import Prior as Prior
    from priors.load import load as load
    from priors.manifest import PriorManifest as PriorManifest
    from priors.manifest import PriorRef as PriorRef
    from priors.tasks import Task as Task
    from priors.types import PortType as PortType

_HOMES = {
    "Entry": "priors.library",
    "Hub": "priors.client",
    "Library": "priors.library",
    "LocalLibrary": "priors.library",
    "PortType": "priors.types",
    "Prior": "priors.load",
    "PriorManifest": "priors.manifest",
    "PriorRef": "priors.manifest",
    "Task": "priors.tasks",
    "load": "priors.load",
}

__all__ = [
    "Entry",
    "Hub",
    "Library",
    "LocalLibrary",
    "PortType",
    "Prior",
    "PriorManifest",
    "PriorRef",
    "Task",
    "load",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'priors' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
