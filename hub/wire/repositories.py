"""Making, moving, changing, copying and deleting repositories."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse, JsonResponse

from hub.accounts import rates
from hub.accounts.permissions import require
from hub.errors import BadRequest
from hub.jobs.cleanup import delete_repository
from hub.repos import commits, lfs, services
from hub.repos.blobs import put_blob
from hub.repos.commits import Put
from hub.repos.models import Namespace, Repository
from hub.safety import leaks
from hub.safety.holds import servable
from hub.wire.calls import Call
from hub.wire.errors import Exists
from hub.wire.shapes import url_of
from priors.errors import Conflict, NotAllowed

_TYPES = frozenset(Repository.Type.values)
_SDKS = frozenset(["gradio", "streamlit", "docker", "static"])


def create(call: Call) -> HttpResponse:
    """A repository with its first commit: clients rely on a fresh one having a revision."""
    said = call.json()
    type, name = _type(said), _full_name(call, said)
    namespace = _namespace(call, name)
    rates.charge(call.request, "create", call.actor)
    made = _made(
        call, namespace, name, type, private=_private(said) or False, message="initial commit",
        changes=_first_files(call, type, said),
    )  # fmt: skip
    return JsonResponse({"url": url_of(call.endpoint, made), "name": made.full_name, "id": str(made.pk)})


def delete(call: Call) -> HttpResponse:
    """Deletes for good."""
    said = call.json()
    ns, _, name = _full_name(call, said).partition("/")
    delete_repository(call.repository(_type(said), ns, name, "delete"), by=call.actor)
    return JsonResponse({"success": True})


def move(call: Call) -> HttpResponse:
    """Another name, in another namespace too where the caller may create; the old one leads to it."""
    said = call.json()
    ns, _, name = _text(said, "fromRepo").partition("/")
    repository = call.repository(_type(said), ns, name, "delete")
    to = _text(said, "toRepo")
    _namespace(call, to)
    rates.charge(call.request, "create", call.actor)  # a name that was left is never free again
    services.move_repository(repository, to, by=call.actor)
    return JsonResponse({"success": True, "url": url_of(call.endpoint, repository)})


def settings(call: Call, type: str, ns: str, name: str) -> HttpResponse:
    """Who sees the repository, and who may have its files."""
    repository = call.repository(type, ns, name, "admin")
    said = call.json()
    gated = said.get("gated")
    if gated is not None and gated is not False and gated not in ("auto", "manual"):
        raise BadRequest('gated is neither "auto", "manual" nor false. Use one of them.')
    services.change_settings(
        repository, by=call.actor, private=_private(said), gated=None if gated is None else gated or ""
    )
    return JsonResponse({"private": repository.private, "gated": repository.gated or False})


def duplicate(call: Call, type: str, ns: str, name: str) -> HttpResponse:
    """A repository of one commit with the files of another one's main branch; their bytes are shared."""
    source = call.repository(type, ns, name, "read_files")
    said = call.json()
    to = _text(said, "repository")
    private = _private(said)
    namespace = _namespace(call, to)
    rates.charge(call.request, "create", call.actor)
    changes = _all_files(source)
    made = _made(
        call, namespace, to, type, private=source.private if private is None else private,
        message=f"Duplicate from {source.full_name}", changes=changes,
    )  # fmt: skip
    return JsonResponse({"url": url_of(call.endpoint, made), "filesCopyPending": False})


def _made(
    call: Call, namespace: Namespace, name: str, type: str, *, private: bool, changes: list[Put], message: str
) -> Repository:
    with leaks.atomic():  # no repository without its first commit, which may be refused
        try:
            made = services.create_repository(name=name, kind=Repository.Kind.PLAIN, type=type, private=private)
        except Conflict as err:
            found = Repository(namespace=namespace, name=name.partition("/")[2], type=type)
            raise Exists("You already created this repo", url=url_of(call.endpoint, found)) from err
        commits.commit(repository=made, changes=changes, message=message, by=call.user, replace=True)
    return made


def _all_files(source: Repository) -> list[Put]:
    if source.head is None:
        return []
    files = services.files(source.head)
    servable(source.head, [file.sha256 for file in files])
    return [Put(file.path, file.sha256, file.lfs) for file in files]


def _first_files(call: Call, type: str, said: dict[str, Any]) -> list[Put]:
    files = {".gitattributes": lfs.ATTRIBUTES}
    sdk = said.get("sdk")
    if type == Repository.Type.SPACE and sdk is not None:
        if not isinstance(sdk, str) or sdk not in _SDKS:
            raise BadRequest(f"sdk={str(sdk)[:40]!r} is unknown. Use one of {', '.join(sorted(_SDKS))}.")
        files["README.md"] = f"---\nsdk: {sdk}\n---\n"
    return [Put(path, put_blob([text.encode()], by=call.user).sha256, lfs=False) for path, text in files.items()]


def _namespace(call: Call, full_name: str) -> Namespace:
    """The namespace of a name, in which the caller may create. An unknown one is refused like a foreign one."""
    name = full_name.partition("/")[0]
    found = Namespace.objects.filter(name=name).first()
    if found is None:
        call.user  # noqa: B018 - nobody in particular gets 401
        raise NotAllowed(f"You don't have the rights to create a repository under the namespace {name[:100]!r}.")
    require(call.actor, "create", found)
    return found


def _full_name(call: Call, said: dict[str, Any]) -> str:
    name, organisation = _text(said, "name"), said.get("organization")
    if "/" in name:
        return name
    return f"{organisation or call.user.username}/{name}"


def _type(said: dict[str, Any]) -> str:
    type = said.get("type") or Repository.Type.MODEL
    if not isinstance(type, str) or type not in _TYPES:
        raise BadRequest(f"type={str(type)[:40]!r} is not served here. Use one of {', '.join(sorted(_TYPES))}.")
    return str(type)


def _private(said: dict[str, Any]) -> bool | None:
    """What is said of visibility: newer clients name it, older ones say `private`; None when nothing is."""
    visibility, private = said.get("visibility"), said.get("private")
    if visibility is not None:
        if visibility not in ("public", "private"):
            raise BadRequest(f"visibility={str(visibility)[:40]!r} is not served here. Use public or private.")
        return bool(visibility == "private")
    if private is not None and not isinstance(private, bool):
        raise BadRequest("private is neither true nor false. Use one of them.")
    return private


def _text(said: dict[str, Any], name: str) -> str:
    value = said.get(name)
    if not isinstance(value, str) or not value:
        raise BadRequest(f"{name} is missing, or no text. Give it.")
    return value
