"""Git LFS, as huggingface_hub and git-lfs speak it (git-lfs, docs/api/batch.md).

Clients send neither a token nor other headers with the bytes, so the addresses they send them to authorise by
themselves: a signed note of who may put which bytes where, for a day.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core import signing
from django.http import HttpResponse, HttpResponseBase, JsonResponse

from hub.accounts import rates
from hub.accounts.access import Actor
from hub.accounts.models import User
from hub.accounts.permissions import can, require
from hub.api.blobs import body
from hub.api.files import send_blob
from hub.errors import BadRequest, HashMismatch, OverQuota
from hub.repos import parts, quotas
from hub.repos.models import Blob, Namespace, Repository, RepositoryBlob
from hub.repos.parts import PART_BYTES, Upload
from hub.repos.s3 import URL_S
from hub.safety.holds import refusals, servable
from hub.wire.calls import Call
from hub.wire.errors import RepoNotFound
from hub.xet import direct
from hub.xet.tokens import actor_of
from priors.errors import NotAllowed, NotFound, UserError

_SALT, _VALID_S = "lfs", 24 * 3600
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MOST_OBJECTS = 1000
_WAIT_S = 20.0  # of a web thread; clients ask again for a minute
_MULTIPART_FROM = 2 * PART_BYTES
_JSON = "application/vnd.git-lfs+json"


@dataclass(frozen=True)
class _Wanted:
    oid: str
    size: int


def batch(call: Call, ns: str, name: str, type: str = Repository.Type.MODEL) -> HttpResponse:
    """For each object, where its bytes go to or come from; nothing for those that need not be sent."""
    said = call.json()
    wanted = _objects(said)
    if said.get("hash_algo", "sha256") != "sha256":
        raise BadRequest("hash_algo is not sha256, the only one this hub knows.")
    transfer = "basic"
    match said.get("operation"):
        case "download":
            repository = call.repository(type, ns, name, "read_files")
            answer = _downloads(call, repository, wanted)
        case "upload":
            repository = call.repository(type, ns, name, "discuss")  # bytes alone change nothing; a commit does
            transfers = said.get("transfers")
            if (
                isinstance(transfers, list)
                and "multipart" in transfers
                and any(each.size > _MULTIPART_FROM for each in wanted)
            ):
                transfer = "multipart"
            known = Blob.objects.usable_by(call.user).filter(pk__in=[each.oid for each in wanted])
            have = set(known.values_list("pk", "size"))
            place = quotas.payer(repository, call.user)
            answer = [_upload(call, repository, each, have, transfer, place) for each in wanted]
        case operation:
            raise BadRequest(f"operation is {str(operation)[:40]!r}; it is upload or download.")
    response = JsonResponse({"transfer": transfer, "objects": answer, "hash_algo": "sha256"})
    response["Content-Type"] = _JSON
    return response


def put(call: Call, note: str) -> HttpResponse:
    """The bytes of an object, or of one of its parts, from whoever holds the signed address."""
    upload, number = _opened(note)
    rates.charge(call.request, "upload", upload.user)
    if number:
        etag = parts.put_part(upload, number, body(call.request))
        return HttpResponse(headers={"ETag": f'"{etag}"'})
    announced = call.request.META.get("CONTENT_LENGTH") or ""
    if announced.isdigit() and int(announced) != upload.size:
        raise HashMismatch(f"The body has {announced} bytes, not the {upload.size} announced. Send the file again.")
    blob = quotas.put_counted(
        body(call.request), by=upload.user, place=quotas.payer(upload.repository, upload.user), size=upload.size,
        expect=upload.sha256,
    )  # fmt: skip
    return HttpResponse(headers={"ETag": f'"{blob.sha256}"'})


def complete(call: Call, note: str) -> HttpResponse:
    """All parts are sent: puts them together."""
    upload, _ = _opened(note)
    said = call.json()
    sent = said.get("parts")
    if said.get("oid") not in {None, upload.sha256} or not isinstance(sent, list):
        raise BadRequest('The body is not {"oid", "parts": [{"partNumber", "etag"}]} of this upload. Send it so.')
    if len(sent) != upload.parts:
        raise HashMismatch(f"{len(sent)} parts are listed; the file has {upload.parts}. Send the others too.")
    parts.complete(upload)
    return JsonResponse({"oid": upload.sha256, "size": upload.size})


def arrived(call: Call, note: str) -> HttpResponse:
    """All parts are in the bucket: a worker is told, and `verify` waits for it."""
    upload, _ = _opened(note)
    begun = direct.latest(upload.user, upload.sha256)
    if begun is None:
        raise NotFound("This upload is over. Ask for the batch again.")
    try:
        sent = sorted(call.json().get("parts") or [], key=lambda part: part["partNumber"])
        etags = [str(part["etag"]) for part in sent]
    except (TypeError, KeyError, AttributeError) as err:
        raise BadRequest('The body is not {"oid", "parts": [{"partNumber", "etag"}]}. Send it so.') from err
    direct.arrived(begun, etags)
    return JsonResponse({"oid": upload.sha256, "size": upload.size})


def verify(call: Call, ns: str, name: str, type: str = Repository.Type.MODEL) -> HttpResponse:
    """Whether an object arrived, whole. Its hash was computed when it did."""
    call.repository(type, ns, name, "discuss")
    [wanted] = _objects({"objects": [call.json()]})
    if (begun := direct.latest(call.user, wanted.oid)) is not None:
        if not begun.parts_id:
            direct.arrived(begun)
        direct.wait(begun, seconds=_WAIT_S)
    blob = Blob.objects.usable_by(call.user).filter(pk=wanted.oid).first()
    if blob is None:
        raise NotFound(f"The object {wanted.oid} has not arrived. Send it again.")
    if blob.size != wanted.size:
        raise BadRequest(f"The object {wanted.oid} has {blob.size} bytes, not {wanted.size}.")
    return JsonResponse({"oid": wanted.oid, "size": wanted.size})


def get(call: Call, note: str) -> HttpResponseBase:
    """The bytes of an object, for whoever holds the signed address."""
    said = _read(note, "get")
    use = _use(said["r"], said["o"])
    if use is None or not can(actor_of(said["u"], said["t"]), "read_files", use.repository):
        raise NotFound("There is no such object any more.")
    servable(use.repository, [use.blob.sha256])
    return send_blob(call.request, use.blob, path=use.blob.sha256, oid=use.blob.sha256)


def _objects(said: dict[str, Any]) -> list[_Wanted]:
    listed = said.get("objects")
    if not isinstance(listed, list) or len(listed) > _MOST_OBJECTS:
        raise BadRequest(f"objects is no list of at most {_MOST_OBJECTS}. Ask in several calls.")
    wanted = []
    for item in listed:
        oid, size = (item.get("oid"), item.get("size")) if isinstance(item, dict) else (None, None)
        if not isinstance(oid, str) or not _SHA256.fullmatch(oid) or not isinstance(size, int) or size < 0:
            raise BadRequest('An object is not {"oid": sha256 in hex, "size": bytes}. Send both.')
        wanted.append(_Wanted(oid, size))
    return wanted


def _downloads(call: Call, repository: Repository, wanted: list[_Wanted]) -> list[dict[str, Any]]:
    """For each object; two queries, however many there are."""
    oids = [each.oid for each in wanted]
    uses = RepositoryBlob.objects.filter(repository=repository, blob__in=oids)
    sizes = dict(uses.values_list("blob", "blob__size"))
    held = refusals(repository, oids)
    return [_download(call, repository, each, sizes.get(each.oid), held.get(each.oid)) for each in wanted]


def _download(
    call: Call, repository: Repository, wanted: _Wanted, size: int | None, refused: UserError | None
) -> dict[str, Any]:
    if size is None:
        return _failed(wanted, HTTPStatus.NOT_FOUND, "This repository has no such object.")
    if refused is not None:
        return _failed(wanted, refused.status, str(refused))
    said = {"k": "get", **_who(call.actor), "r": str(repository.pk), "o": wanted.oid}
    note = signing.dumps(said, salt=_SALT)
    action = {"href": f"{call.endpoint}/api/lfs/objects/{note}", "expires_in": _VALID_S}
    return {"oid": wanted.oid, "size": size, "authenticated": True, "actions": {"download": action}}


def _upload(
    call: Call, repository: Repository, wanted: _Wanted, have: set[tuple[str, int]], transfer: str, place: Namespace
) -> dict[str, Any]:
    if (wanted.oid, wanted.size) in have:
        return {"oid": wanted.oid, "size": wanted.size}
    if wanted.size > settings.BLOB_MAX_BYTES:
        most = f"The file is larger than {settings.BLOB_MAX_BYTES} bytes, the most this hub takes."
        return _failed(wanted, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, most)
    try:
        with quotas.reserved(place, wanted.size, sha256=wanted.oid) as room:
            room.settle(wanted.oid, wanted.size)  # counts from here on, whether it comes in one piece or in parts
    except OverQuota as error:
        return _failed(wanted, error.status, str(error))
    upload = Upload(call.user, repository, wanted.oid, wanted.size)
    base = f"{call.endpoint}/api/lfs"
    verify_at = f"{call.endpoint}/{repository.prefixed_name}.git/info/lfs/verify"
    if begun := direct.begin(user=call.user, sha256=wanted.oid, size=wanted.size, parts=transfer == "multipart"):
        return _to_bucket(wanted, begun, f"{base}/arrived/{_note(upload)}", verify_at)
    action: dict[str, Any] = {"href": f"{base}/upload/{_note(upload)}", "expires_in": _VALID_S}
    if transfer == "multipart":  # all objects of an answer go the same way
        action["href"] = f"{base}/complete/{_note(upload)}"
        action["header"] = {"chunk_size": str(PART_BYTES)} | {
            str(number): f"{base}/upload/{_note(upload, number)}" for number in range(1, upload.parts + 1)
        }
    actions = {"upload": action, "verify": {"href": verify_at, "expires_in": _VALID_S}}
    return {"oid": wanted.oid, "size": wanted.size, "authenticated": True, "actions": actions}


def _to_bucket(wanted: _Wanted, begun: direct.Begun, arrived_at: str, verify_at: str) -> dict[str, Any]:
    action: dict[str, Any] = {"href": begun.urls[0], "expires_in": URL_S}
    if begun.part_size is not None:
        urls = {str(number): url for number, url in enumerate(begun.urls, 1)}
        action |= {"href": arrived_at, "header": {"chunk_size": str(begun.part_size)} | urls}
    actions = {"upload": action, "verify": {"href": verify_at, "expires_in": _VALID_S}}
    return {"oid": wanted.oid, "size": wanted.size, "authenticated": True, "actions": actions}


def _failed(wanted: _Wanted, code: int, message: str) -> dict[str, Any]:
    return {"oid": wanted.oid, "size": wanted.size, "error": {"code": int(code), "message": message}}


def _note(upload: Upload, part: int = 0) -> str:
    where, what = str(upload.repository.pk), {"o": upload.sha256, "s": upload.size, "n": part}
    return signing.dumps({"k": "put", **_who(upload.user), "r": where, **what}, salt=_SALT)


def _who(actor: Actor) -> dict[str, int | None]:
    """The actor and the token they came with: what was revoked since opens nothing."""
    token = getattr(actor, "token", None)
    return {"u": actor.pk, "t": token.pk if token is not None else None}


def _opened(note: str) -> tuple[Upload, int]:
    """The upload a signed address is for, and its part. Raises NotAllowed, RepoNotFound."""
    said = _read(note, "put")
    user = actor_of(said["u"], said["t"])
    repository = Repository.objects.select_related("namespace").filter(pk=said["r"]).first()
    if not isinstance(user, User) or repository is None or not can(user, "read", repository):
        raise RepoNotFound
    require(user, "discuss", repository)  # it may have been taken away since
    return Upload(user, repository, said["o"], said["s"]), said["n"]


def _read(note: str, kind: str) -> dict[str, Any]:
    try:
        said: dict[str, Any] = signing.loads(note, salt=_SALT, max_age=_VALID_S)
    except signing.SignatureExpired as err:
        raise NotAllowed("This address has expired. Ask for the batch again.") from err
    except signing.BadSignature as err:
        raise NotAllowed("This address was not made by this hub, or is cut short. Ask for the batch again.") from err
    if said.get("k") != kind:
        raise NotAllowed("This address is for something else. Ask for the batch again.")
    return said


def _use(repository_id: str | UUID, sha256: str) -> RepositoryBlob | None:
    uses = RepositoryBlob.objects.select_related("blob", "repository__namespace")
    return uses.filter(repository_id=repository_id, blob_id=sha256).first()
