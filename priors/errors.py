"""Every error of `kernels`, `priors` and their client, split by who can act on it.

    PriorhubError
    ├── UserError                 somebody can fix it: one line, exit code 1, a 4xx (or 503, 507) answer, no traceback
    │   ├── BadType               a port type that does not parse, or types that do not fit
    │   ├── BadManifest           prior.json, or an architecture or function config in it
    │   ├── BadWeights            a safetensors file that is hostile, broken or not what was promised
    │   ├── BadTable              rows and columns
    │   ├── BadText  BadImage  BadAudio     one value of a row
    │   ├── BadTask               task.json, splits, draws
    │   ├── UnknownPrior          404: no such prior in the library
    │   ├── UnknownArchitecture   an id outside the closed registry
    │   ├── UnknownFunction       the same for function priors
    │   ├── AddressRefused        a place on the network that this machine must not be sent to
    │   ├── RemoteFailed          502: another hub, which something is copied from, is away or answers nonsense
    │   └── HubError              what a hub answered
    │       ├── HubUnreachable    503: nobody answered
    │       ├── TokenRejected     401
    │       ├── NotAllowed        403
    │       ├── NotFound          404
    │       ├── Conflict          409
    │       └── StorageFull       507
    └── AppError                  our own fault: logged with its traceback, 500

`str(error)` is one line: the cause, then what to do. `code` is stable and kebab-case; `status` is the HTTP status.
`composer.errors` adds the errors of graphs and locks.
"""

from typing import ClassVar


class PriorhubError(Exception):
    """Base of all of them."""

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500


class UserError(PriorhubError):
    """Somebody outside this program can fix it; the message says how."""

    code: ClassVar[str] = "user-error"
    status: ClassVar[int] = 422


class BadType(UserError):
    """A port type does not parse, or a value of it does not fit where it was put."""

    code: ClassVar[str] = "bad-type"


class BadManifest(UserError):
    """A prior.json, or an architecture or function config, is not valid."""

    code: ClassVar[str] = "bad-manifest"


class BadWeights(UserError):
    """A weight file is hostile, broken, or not the file the manifest promised."""

    code: ClassVar[str] = "bad-weights"


class BadTable(UserError):
    """A table cannot be read, or holds what no model can use; names rows and columns."""

    code: ClassVar[str] = "bad-table"


class BadText(UserError):
    """A text value is too long or not text."""

    code: ClassVar[str] = "bad-text"


class BadImage(UserError):
    """An image cannot be decoded, or is too large."""

    code: ClassVar[str] = "bad-image"


class BadAudio(UserError):
    """A recording cannot be decoded, or holds no samples."""

    code: ClassVar[str] = "bad-audio"


class BadTask(UserError):
    """A task's description, split or draw is impossible."""

    code: ClassVar[str] = "bad-task"


class UnknownPrior(UserError):
    """A prior reference names nothing in the library."""

    code: ClassVar[str] = "unknown-prior"
    status: ClassVar[int] = 404


class UnknownArchitecture(UserError):
    """An architecture id that this version does not ship."""

    code: ClassVar[str] = "unknown-architecture"


class UnknownFunction(UserError):
    """A function id that this version does not ship."""

    code: ClassVar[str] = "unknown-function"


class AddressRefused(UserError):
    """An address that only means something inside this network, or of a kind that is not fetched."""

    code: ClassVar[str] = "address-refused"


class RemoteFailed(UserError):
    """The machine something was to be copied from is away, refuses, or sends what it should not."""

    code: ClassVar[str] = "remote-failed"
    status: ClassVar[int] = 502


class HubError(UserError):
    """A hub refused or failed; the message carries its detail."""

    code: ClassVar[str] = "hub-error"
    status: ClassVar[int] = 502


class HubUnreachable(HubError):
    """Nobody answers at the hub's address."""

    code: ClassVar[str] = "hub-unreachable"
    status: ClassVar[int] = 503


class TokenRejected(HubError):
    """The token is missing, unknown, expired or revoked."""

    code: ClassVar[str] = "token-rejected"
    status: ClassVar[int] = 401


class NotAllowed(HubError):
    """The token is good, but its owner or scope may not do this."""

    code: ClassVar[str] = "not-allowed"
    status: ClassVar[int] = 403


class NotFound(HubError):
    """The hub has no such thing, or it is not visible to this token."""

    code: ClassVar[str] = "not-found"
    status: ClassVar[int] = 404


class Conflict(HubError):
    """Somebody else was first: a taken name, or a branch that moved on."""

    code: ClassVar[str] = "conflict"
    status: ClassVar[int] = 409


class StorageFull(HubError):
    """The disk or the owner's quota is full; nothing was stored."""

    code: ClassVar[str] = "storage-full"
    status: ClassVar[int] = 507


class AppError(PriorhubError):
    """A promise this program makes to itself was broken, such as a hash that no longer matches on our own disk."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
