"""Lists, searches, counts and overviews answer an outsider the same before and after somebody made private things."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

import pytest
from django.test import Client

from hub.accounts import organisations
from hub.accounts.models import Invitation, User
from hub.boards.models import Result
from hub.catalog.listing import SORTS
from hub.catalog.models import Item
from hub.jobs import services as jobs
from hub.repos import discussions, likes
from hub.repos import services as repos
from hub.repos.models import Namespace, Repository
from tests.factories import (
    bearer,
    function_manifest,
    make_commit,
    make_organisation,
    make_repository,
    make_task,
    make_user,
)

pytestmark = pytest.mark.django_db

BY_TOKEN = [
    *(f"/api/{type}{query}" for type in ("models", "datasets", "spaces") for query in (
        "", "?full=true", "?author=lab", "?author=boss", "?search=hidden", "?search=hiden", "?filter=hidden-tag",
        "?filter=license:zlib", "?language=tlh", "?pipeline_tag=table-question-answering", "?gated=false", "?limit=1",
        *(f"?sort={sort}" for sort in SORTS),
    )),
    "/api/users/boss/overview", "/api/users/reader/overview", "/api/users/reader/likes", "/api/users/boss/likes",
    "/api/organizations/lab/overview", "/api/organizations/lab/members", "/api/models/lab/open/likers",
    "/api/v1/priors", "/api/v1/priors?q=hidden", "/api/v1/priors?tag=hidden-tag", "/api/v1/priors?license=Zlib",
    "/api/v1/priors?fits=lab/open", "/api/v1/priors?sort=updated", "/api/v1/jobs", "/api/settings/repositories",
]  # fmt: skip
BY_SESSION = [
    "/", "/priors", "/priors?q=hidden", "/priors?q=hiden", "/priors?license=Zlib", "/priors?tag=hidden-tag",
    "/priors?sort=updated", "/tasks", "/results", "/lab", "/boss", "/reader", "/docs", "/robots.txt", "/lab/hidde",
    "/lab/open", "/lab/open/discussions", "/organizations/lab",
]  # fmt: skip
OUTSIDERS = ("anonymous", "stranger", "ex", "moderator")
CARD = (
    "---\nlicense: zlib\nlanguage: tlh\ntags: [hidden-tag]\npipeline_tag: table-question-answering\n"
    "base_model: lab/open\ndatasets: [lab/open]\n---\nhidden words"
)


@dataclass
class People:
    """The organisation and everybody around it."""

    lab: Namespace
    users: dict[str, User]

    def answers(self, who: str) -> dict[str, tuple[int, str, bytes]]:
        """Everything `who` gets: status, where the next page is, and the body without what is new in each."""
        user = self.users.get(who)
        token, session = Client(headers=bearer(user) if user is not None else {}), Client()
        if user is not None:
            session.force_login(user)
        found = {}
        for client, addresses in ((token, BY_TOKEN), (session, BY_SESSION)):
            for address in addresses:
                response = client.get(address)
                said = re.sub(rb'name="csrfmiddlewaretoken" value="\w+"|"X-CSRFToken": "\w+"', b"", response.getvalue())
                said = re.sub(rb"X-CSRFToken&quot;: &quot;\w+", b"", said)
                found[address] = response.status_code, response.headers.get("Link", ""), said
        return found


@pytest.fixture
def people(home: object) -> People:
    users = {name: make_user(name) for name in ("boss", "stranger", "ex", "reader", "moderator")}
    User.objects.filter(username="moderator").update(is_staff=True)
    lab = make_organisation("lab", admin=users["boss"])
    for name in ("ex", "reader"):
        organisations.invite(organisation=lab, user=users[name], role="read", by=users["boss"])
        organisations.accept(Invitation.objects.get(user=users[name]), by=users[name])
    organisations.remove_member(organisation=lab, user=users["ex"], by=users["boss"])
    opened = make_repository(lab, "open", kind="prior")
    make_commit(opened, {"prior.json": json.dumps(function_manifest("open")).encode()}, by=users["boss"])
    make_task(users["boss"], "topics")
    likes.like(repository=opened, by=users["reader"])
    return People(lab, {name: User.objects.get(username=name) for name in users})


def hide(people: People) -> None:
    """One of each thing that can be private, liked, discussed, measured, and named after an open one."""
    boss, reader = people.users["boss"], people.users["reader"]
    for type in Repository.Type.values:
        made = repos.create_repository(name=f"lab/hidden-{type}", kind="plain", type=type, private=True)
        make_commit(made, {"README.md": CARD.encode(), "model.safetensors": b"\x02\0\0\0\0\0\0\0{}"}, by=boss)
        discussions.open_discussion(repository=made, by=boss, title="hidden title", description="hidden")
        likes.like(repository=made, by=reader)
    prior = make_repository(people.lab, "hidden-prior", kind="prior", private=True)
    manifest = {**function_manifest("hidden-prior"), "tags": ["hidden-tag"], "parents": ["prior://lab/open"]}
    make_commit(prior, {"prior.json": json.dumps(manifest).encode()}, by=boss)
    make_task(boss, "hidden-task", private=True)
    task = Repository.objects.get(name="hidden-task")
    job = jobs.submit(kind="recommend", spec={"task": "boss/hidden-task"}, owner=boss)
    rows = [{"name": "hidden-prior", "kind": "single", "priors": ["prior://lab/hidden-prior"], "accuracy": 0.5}]
    Result.objects.create(job=job, task=task, commit="0" * 40, report={"rows": rows})


def test_nothing_that_an_outsider_lists_changes(people: People) -> None:
    before = {who: people.answers(who) for who in OUTSIDERS}
    assert {code for found in before.values() for code, _, _ in found.values()} <= {200, 302, 401, 404}, [
        (address, code) for address, (code, _, _) in before["stranger"].items() if code not in {200, 302, 401, 404}
    ]

    hide(people)

    for who in OUTSIDERS:
        after = people.answers(who)
        for address, found in before[who].items():
            assert after[address] == found, (who, address)
            assert b"hidden-" not in re.sub(rb"hidden-tag", b"", found[2]), (who, address)


def test_members_do_find_it_where_outsiders_must_not(people: People) -> None:
    before = people.answers("reader")
    hide(people)
    after = people.answers("reader")

    shows = {address for address, (_, _, said) in after.items() if b"hidden-" in said.replace(b"hidden-tag", b"")}
    assert {"/api/models", "/api/datasets", "/api/spaces", "/api/models?filter=hidden-tag", "/api/users/reader/likes",
            "/api/models?search=hidden", "/priors?q=hidden", "/api/v1/priors?q=hidden", "/lab"} <= shows  # fmt: skip
    assert {f"/api/models?sort={sort}" for sort in SORTS} <= shows
    counts = [json.loads(each["/api/organizations/lab/overview"][2]) for each in (before, after)]
    assert counts[1]["numDatasets"] == counts[0]["numDatasets"] + 1
    assert Item.objects.filter(repository__private=True).count() == 5
