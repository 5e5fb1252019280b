"""The errors of graphs, locks and fitting; the rest of the tree is in `priors.errors`.

PriorhubError
└── UserError
    ├── BadGraph         a composition that is not one: unknown op or key, cycle, wrong attribute
    ├── PortMismatch     two nodes that do not fit; names the edge, both types and the shortest fix
    ├── NotReady         a composition with parts that were never fitted
    ├── BadLock          a lock that is not valid, or not that of its graph
    ├── NoBackend        KERNELS= asks for what cannot run here
    └── Cancelled        somebody stopped the work
"""

from typing import ClassVar

from priors.errors import UserError


class BadGraph(UserError):
    """A composition cannot be read, or is not a graph of known ops; names the node and what to write instead."""

    code: ClassVar[str] = "bad-graph"


class PortMismatch(UserError):
    """The value on an edge is not what its consumer takes, and no allowed adapter makes it so."""

    code: ClassVar[str] = "port-mismatch"

    @classmethod
    def on_edge(cls, source: str, target: str, *, wants: object, gives: object, fix: str) -> "PortMismatch":
        """The standard sentence: the edge, both types, and the shortest fix."""
        return cls(f"edge {source!r} -> {target!r}: {target!r} wants {wants}, {source!r} gives {gives}. {fix}")


class NotReady(UserError):
    """Parts of the composition have random or no parameters; fit it first."""

    code: ClassVar[str] = "not-ready"
    status: ClassVar[int] = 409


class BadLock(UserError):
    """A lock cannot be read, or differs from what its graph checks to."""

    code: ClassVar[str] = "bad-lock"


class NoBackend(UserError):
    """KERNELS= in the environment names a backend that does not exist or cannot run on this machine."""

    code: ClassVar[str] = "no-backend"


class Cancelled(UserError):
    """The work was stopped on request; nothing was kept."""

    code: ClassVar[str] = "cancelled"
    status: ClassVar[int] = 409
