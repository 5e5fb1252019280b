"""/repos/…/uploads: where bytes go, asked before they are sent.

To a bucket, when the store is one: a worker reads and verifies there what arrived. Else to the hub's own routes; there
too goes what is so small that to say where it goes costs a good part of what it is.
"""

from __future__ import annotations

from typing import Any

from ninja import Router

from hub.accounts import rates
from hub.accounts.models import User
from hub.api.auth import Somebody
from hub.api.repositories import find
from hub.api.schemas import AddressesOut, AddressOut, ArrivedIn, OfType, UploadIn, UploadsIn, Waiting
from hub.errors import TooLarge
from hub.repos import quotas
from hub.repos.models import Blob, Repository
from hub.repos.objects import bucket
from hub.xet import direct, known
from hub.xet.direct import Begun
from hub.xet.tokens import scope_of
from hub.xet.xorbs import MAX_BODY_BYTES

router = Router(tags=["uploads"])
_DIRECT_FROM = 32 * 1024
"""An address, the headers and the answers are about 2 KB."""
_WAIT_S = 1.0  # of a web thread, of which a push can have eight; clients ask again


@router.post("/{ns}/{name}/uploads", auth=Somebody(), response=AddressesOut, summary="Where to send these bytes")
def begin(request: Any, ns: str, name: str, payload: UploadsIn, type: OfType = None) -> AddressesOut:
    repository = find(request, ns, name, "write", type=type)
    items = []
    for item in payload.items:
        rates.charge(request, "upload", request.auth)
        items.append(_address(item, repository, request.auth))
    return AddressesOut(items=items)


@router.post(
    "/{ns}/{name}/uploads/arrived",
    auth=Somebody(),
    response=Waiting,
    summary="Say that bytes are in the bucket, and wait until they are checked",
)
def arrived(request: Any, ns: str, name: str, payload: ArrivedIn, type: OfType = None) -> Waiting:
    find(request, ns, name, "write", type=type)
    begun = direct.begun_by(request.auth, payload.uploads)
    for upload in begun:
        direct.arrived(upload)
    return Waiting(waiting=direct.unfinished([upload.pk for upload in begun], seconds=_WAIT_S))


def _address(item: UploadIn, repository: Repository, user: User) -> AddressOut:
    begun: Begun | None = None
    if item.kind == "blob":
        if Blob.objects.usable_by(user).filter(pk=item.name, size=item.size).exists():
            return AddressOut(to="nowhere")
        if item.size > _DIRECT_FROM and bucket() is not None:
            with quotas.reserved(repository.namespace, item.size, sha256=item.name) as room:
                begun = direct.begin(user=user, sha256=item.name, size=item.size, parts=False)
                room.settle(item.name, item.size)  # counts from here on
    else:
        if item.size > MAX_BODY_BYTES:
            raise TooLarge(f"The xorb has more than {MAX_BODY_BYTES} bytes. Cut it into several.")
        scope = scope_of(user, repository)
        if known.touch(scope, item.name):
            return AddressOut(to="nowhere")
        if item.size > _DIRECT_FROM and bucket() is not None:
            if (there := direct.xorb_there(scope, item.name, item.size)) is not None:
                return AddressOut(to="nowhere", upload=there.pk)
            begun = direct.begin_xorb(
                scope=scope, user=user, payer=repository.namespace, name=item.name, size=item.size
            )
    if begun is None:
        return AddressOut(to="hub")
    return AddressOut(to="bucket", url=begun.urls[0], upload=begun.upload.pk)
