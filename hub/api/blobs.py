"""/blobs: bytes on their way into a commit."""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from django.http import HttpRequest, UnreadablePostError
from ninja import Router, Status

from hub.accounts import rates
from hub.api.auth import Somebody
from hub.api.schemas import BlobOut, HashesIn, MissingBlobs
from hub.errors import BadRequest, LengthRequired
from hub.repos import blobs, quotas
from hub.repos.models import Namespace
from hub.repos.objects import bucket
from hub.repos.storage import CHUNK

router = Router(tags=["blobs"])


@router.post("/missing", auth=Somebody(), response=MissingBlobs, summary="Which of these have to be sent")
def missing(request: Any, payload: HashesIn) -> MissingBlobs:
    lacking = blobs.missing_blobs(payload.sha256, by=request.auth)
    return MissingBlobs(missing=lacking, direct=bucket() is not None)


@router.put(
    "/{sha256}",
    auth=Somebody(),
    response={201: BlobOut},
    summary="Send one blob: the raw bytes as the body",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
def put(request: Any, sha256: str) -> Any:
    rates.charge(request, "upload", request.auth)
    announced = request.META.get("CONTENT_LENGTH") or ""
    size = int(announced) if announced.isdigit() else 0
    own = request.auth.namespaces.get(kind=Namespace.Kind.USER)
    blob = quotas.put_counted(body(request), by=request.auth, place=own, size=size, expect=sha256)
    return Status(HTTPStatus.CREATED, BlobOut(sha256=blob.sha256, size=blob.size))


def body(request: HttpRequest) -> Iterator[bytes]:
    """A request's body in pieces as it arrives; never whole in memory."""
    stream: Any = request
    if "CONTENT_LENGTH" not in request.META:
        # Django reads nothing of a body without a length; gunicorn marks a chunked one that ends by itself.
        stream = request.META.get("wsgi.input") if request.META.get("wsgi.input_terminated") else None
        if stream is None:
            raise LengthRequired("The upload has no Content-Length. Send it with one.")
    try:
        while piece := stream.read(CHUNK):
            yield piece
    except (UnreadablePostError, OSError) as err:
        raise BadRequest("The connection broke during the upload; nothing was stored. Send the file again.") from err
