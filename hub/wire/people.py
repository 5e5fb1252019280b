"""Likes, and what is told of persons and organisations. E-mail addresses are not."""

from __future__ import annotations

from typing import Any

from django.db.models import Count, Q
from django.http import HttpResponse, JsonResponse

from hub.accounts.access import Actor
from hub.accounts.models import Membership, User
from hub.errors import Moved
from hub.repos import likes, retired
from hub.repos.models import Discussion, Like, Namespace, Repository
from hub.wire.calls import Call, listed
from hub.wire.shapes import iso
from priors.errors import NotFound

_PAGE = 500


def like(call: Call, type: str, ns: str, name: str) -> HttpResponse:
    """Likes."""
    repository = call.repository(type, ns, name, "discuss")
    likes.like(repository=repository, by=call.user)
    return JsonResponse({"success": True, "likes": repository.likes})


def unlike(call: Call, type: str, ns: str, name: str) -> HttpResponse:
    """Takes it back."""
    repository = call.repository(type, ns, name, "discuss")
    likes.unlike(repository=repository, by=call.user)
    return JsonResponse({"success": True, "likes": repository.likes})


def likers(call: Call, type: str, ns: str, name: str) -> HttpResponse:
    """Who likes it, the last one first."""
    rows = Like.objects.filter(repository=call.repository(type, ns, name)).select_related("user")
    shown, following = page_of(call, rows.order_by("-pk"))
    return listed(call, [person(row.user) for row in shown], following=following)


def liked(call: Call, user: str) -> HttpResponse:
    """What somebody likes, of what the caller may see."""
    visible = Repository.objects.visible_to(call.actor).order_by()
    rows = Like.objects.filter(user=_person(user), repository__in=visible).select_related("repository__namespace")
    shown, following = page_of(call, rows.order_by("-pk"))
    items = [
        {
            "createdAt": iso(row.created_at),
            "repo": {"name": row.repository.full_name, "type": row.repository.type},
        }
        for row in shown
    ]
    return listed(call, items, following=following)


def overview(call: Call, user: str) -> HttpResponse:
    """A person: what they published, said and liked, of what the caller may see."""
    found = _person(user)
    visible = Repository.objects.visible_to(call.actor).order_by()
    organisations = Namespace.objects.filter(memberships__user=found).order_by("name")
    return JsonResponse(
        person(found)
        | _counts(call.actor, Q(namespace__owner=found))
        | {
            "numDiscussions": Discussion.objects.filter(author=found, repository__in=visible).count(),
            "numLikes": Like.objects.filter(user=found, repository__in=visible).count(),
            "numPapers": 0,
            "numUpvotes": 0,
            "numFollowing": 0,
            "numFollowers": 0,
            "createdAt": iso(found.date_joined),
            "orgs": [organisation(each) for each in organisations],
        }
    )


def organisation_overview(call: Call, organisation_name: str) -> HttpResponse:
    """An organisation."""
    found = _organisation(organisation_name)
    return JsonResponse(
        organisation(found)
        | _counts(call.actor, Q(namespace=found))
        | {"numUsers": found.memberships.count(), "numFollowers": 0}
    )


def members(call: Call, organisation_name: str) -> HttpResponse:
    """Who is in an organisation."""
    rows = Membership.objects.filter(organisation=_organisation(organisation_name)).select_related("user")
    shown, following = page_of(call, rows.order_by("-pk"))
    return listed(call, [person(row.user) for row in shown], following=following)


def person(user: User) -> dict[str, Any]:
    """A person in a list."""
    name = user.get_full_name() or user.username
    return {"user": user.username, "fullname": name, "avatarUrl": "", "isPro": False, "type": "user"}


def organisation(found: Namespace) -> dict[str, Any]:
    """An organisation in a list."""
    return {"name": found.name, "fullname": found.name, "avatarUrl": "", "type": "org", "isEnterprise": False}


def page_of(call: Call, rows: Any, *, size: int = _PAGE) -> tuple[list[Any], dict[str, str] | None]:
    """One page of a query, and the parameter of the next if there is one."""
    page = call.number("p", 1, most=10**6)
    found = list(rows[(page - 1) * size : page * size + 1])
    return found[:size], {"p": str(page + 1)} if len(found) > size else None


def _counts(actor: Actor, whose: Q) -> dict[str, int]:
    rows = Repository.objects.visible_to(actor).filter(whose).order_by().values_list("type").annotate(Count("pk"))
    counted = dict(rows)
    return {f"num{type.capitalize()}s": counted.get(type, 0) for type in Repository.Type.values}


def _person(name: str) -> User:
    found = User.objects.filter(username=name, is_active=True).first()
    if found is None:
        _lead_on("users", name, Namespace.Kind.USER)
        raise NotFound(f"There is no user {name[:100]!r} here.")
    return found


def _lead_on(place: str, name: str, kind: str) -> None:
    """Raises Moved where somebody had this name and has another now."""
    now = retired.renamed_to(name)
    if now is not None and now.kind == kind:
        raise Moved(f"{place}/{name}", f"{place}/{now.name}")


def _organisation(name: str) -> Namespace:
    found = Namespace.objects.filter(name=name, kind=Namespace.Kind.ORG).first()
    if found is None:
        _lead_on("organizations", name, Namespace.Kind.ORG)
        raise NotFound(f"There is no organisation {name[:100]!r} here.")
    return found
