"""The errors of graphs, locks and fitting; the rest of the tree is in `priors.errors`.

PriorhubError
└── UserError
    ├── BadGraph         a composition that is not one: unknown op or key, cycle, wrong attribute
    ├── PortMismatch     two nodes that do not fit; names the edge, both types and the shortest fix
    │   ├── ShapeMismatch         axes, their order or their lengths
    │   ├── SpaceMismatch         the same shape, but of another latent space
    │   ├── VocabularyMismatch    ids of another tokenizer
    │   ├── UnitMismatch          numbers in another unit
    │   ├── RateMismatch          sound of another sample rate
    │   ├── MeaningMismatch       another normalization, range, set of labels or of columns
    │   ├── ModalityMismatch      text for images, raw for tensors
    │   ├── DtypeMismatch         numbers of a type that does not hold them
    │   └── WeightsMismatch       weights for a value, or of another architecture
    ├── NotReady         a composition with parts that were never fitted
    ├── BadLock          a lock that is not valid, or not that of its graph
    ├── NoBackend        KERNELS= asks for what cannot run here
    └── Cancelled        somebody stopped the work
"""

from typing import ClassVar, Self

from priors.errors import UserError


class BadGraph(UserError):
    """A composition cannot be read, or is not a graph of known ops; names the node and what to write instead."""

    code: ClassVar[str] = "bad-graph"


class PortMismatch(UserError):
    """The value on an edge is not what its consumer takes, and no allowed adapter makes it so.

    gives, wants   the two types, where the edge has both: `check` looks for priors that would fit between them
    """

    code: ClassVar[str] = "port-mismatch"

    def __init__(self, message: str, *, gives: object = None, wants: object = None) -> None:
        super().__init__(message)
        self.gives, self.wants = gives, wants

    @classmethod
    def on_edge(cls, source: str, target: str, *, wants: object, gives: object, fix: str) -> Self:
        """The standard sentence: the edge, both types, and the shortest fix."""
        message = f"edge {source!r} -> {target!r}: {target!r} wants {wants}, {source!r} gives {gives}. {fix}"
        return cls(message, gives=gives, wants=wants)


class ShapeMismatch(PortMismatch):
    """Axes, their order or their lengths differ."""

    code: ClassVar[str] = "shape-mismatch"


class SpaceMismatch(PortMismatch):
    """The shapes agree, but the two vectors come from different latent spaces."""

    code: ClassVar[str] = "space-mismatch"


class VocabularyMismatch(PortMismatch):
    """Token ids of one vocabulary are read as those of another."""

    code: ClassVar[str] = "vocabulary-mismatch"


class UnitMismatch(PortMismatch):
    """Numbers are in another unit; units are never guessed."""

    code: ClassVar[str] = "unit-mismatch"


class RateMismatch(PortMismatch):
    """Sound has another sample rate than its reader expects."""

    code: ClassVar[str] = "sample-rate-mismatch"


class MeaningMismatch(PortMismatch):
    """Another normalization, range, list of labels or of columns."""

    code: ClassVar[str] = "meaning-mismatch"


class ModalityMismatch(PortMismatch):
    """One modality where another is wanted, or raw values where tensors are."""

    code: ClassVar[str] = "modality-mismatch"


class DtypeMismatch(PortMismatch):
    """Numbers of a type that does not hold what arrives."""

    code: ClassVar[str] = "dtype-mismatch"


class WeightsMismatch(PortMismatch):
    """Weights where a value is wanted or the other way round, or weights of another architecture."""

    code: ClassVar[str] = "weights-mismatch"


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
