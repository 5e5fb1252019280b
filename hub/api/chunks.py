"""/repos/…/chunks: large files in pieces, of which only those travel that the hub lacks.

A client cuts the file where its content says so (priors/chunks), asks which chunks are missing, sends these some at a
time, and has the file put together. All of it can be asked again after any failure: what arrived is not missing then.
Where the store is a bucket, the client gets an address there for each run of chunks (uploads.py), and a worker puts the
file together.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from ninja import Router, Status

from hub.accounts import rates
from hub.api.auth import Somebody
from hub.api.blobs import body
from hub.api.repositories import find
from hub.api.schemas import BlobOut, ChunksIn, Missing, OfType, Waiting
from hub.errors import BadRequest, TooLarge
from hub.repos.names import check_sha256
from hub.repos.objects import bucket
from hub.xet import direct, known, receive
from hub.xet.tokens import scope_of
from priors.chunks import from_hex, to_hex
from priors.errors import Conflict

router = Router(tags=["chunks"])
_MAX_CHUNKS = 1 << 20


@router.post(
    "/{ns}/{name}/chunks/missing", auth=Somebody(), response=Missing, summary="Which of these chunks have to be sent"
)
def missing(request: Any, ns: str, name: str, payload: ChunksIn, type: OfType = None) -> Missing:
    scope = scope_of(request.auth, find(request, ns, name, "write", type=type))
    chunks = dict.fromkeys(from_hex(text) for text in payload.chunks)
    there = known.namable(scope, request.auth, chunks)
    return Missing(missing=[to_hex(chunk) for chunk in chunks if chunk not in there])


@router.put(
    "/{ns}/{name}/chunks/{xorb}",
    auth=Somebody(),
    response={204: None},
    summary="Send a run of chunks: the xorb as the body, its hash as the name",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
def send(request: Any, ns: str, name: str, xorb: str, type: OfType = None) -> Any:
    rates.charge(request, "upload", request.auth)
    repository = find(request, ns, name, "write", type=type)
    scope = scope_of(request.auth, repository)
    receive.receive_xorb(scope, check_sha256(xorb), body(request), payer=repository.namespace)
    return Status(HTTPStatus.NO_CONTENT, None)


@router.put(
    "/{ns}/{name}/chunks/files/{sha256}",
    auth=Somebody(),
    response={201: BlobOut, 202: Waiting},
    summary="Put a file together: its chunks' hashes as the body, 32 bytes each, in their order",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
def assemble(request: Any, ns: str, name: str, sha256: str, type: OfType = None) -> Any:
    repository = find(request, ns, name, "write", type=type)
    scope, user = scope_of(request.auth, repository), request.auth
    check_sha256(sha256)
    hashes = _hashes(request)
    if lacking := set(hashes) - known.namable(scope, user, set(hashes)):
        raise Conflict(f"{len(lacking)} of the file's chunks are not here. Ask which, and send those first.")
    if bucket() is None:
        size = receive.receive_list(hashes, sha256, user, into=repository.namespace)
        return Status(HTTPStatus.CREATED, BlobOut(sha256=sha256, size=size))
    upload = direct.put_list(scope=scope, user=user, payer=repository.namespace, sha256=sha256, chunks=hashes)
    return Status(HTTPStatus.ACCEPTED, Waiting(waiting=[upload.pk]))


def _hashes(request: Any) -> list[bytes]:
    data = bytearray()
    for piece in body(request):
        data += piece
        if len(data) > _MAX_CHUNKS * 32:
            raise TooLarge(f"The file has more than {_MAX_CHUNKS:,} chunks. Send it whole, by PUT /blobs.")
    if not data or len(data) % 32:
        raise BadRequest(f"{len(data)} bytes are no list of hashes of 32 bytes each.")
    return [bytes(data[at : at + 32]) for at in range(0, len(data), 32)]
