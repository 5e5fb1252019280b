"""Who and what the permission matrix is asked of: people, an organisation, and a repository in each state."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.test import Client

from hub.accounts import organisations
from hub.accounts.models import ApiToken, Invitation, User
from hub.accounts.services import create_token
from hub.boards.models import Board, Result, Run
from hub.jobs import services as jobs
from hub.repos import discussions
from hub.repos.models import Namespace, Repository
from hub.safety import holds
from tests.factories import (
    PASSWORD,
    function_manifest,
    make_blob,
    make_commit,
    make_organisation,
    make_repository,
    make_task,
    make_user,
)
from tests.factories import sha256 as sha256_of
from tests.hub.matrix import PEOPLE, STATES, Row

PLAIN = {
    "{state}": "public", "{hash}": sha256_of(b"x"), "{result:state}": "1", "{gone:state}": "1", "{id}": "1",
    **dict.fromkeys(("{hold}", "{yank}", "{token}", "{invitation}"), "1"),
    **dict.fromkeys(("{job}", "{ended}", "{uuid}", "{run:state}"), str(uuid.UUID(int=7))),
}  # fmt: skip
"""Something for each blank of a row: enough to find the route it goes to."""


def filled(path: str, values: dict[str, str] = PLAIN) -> str:
    """A row's path or body without blanks."""
    for key, value in values.items():
        path = path.replace(key, value)
    return path


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    content: bytes


class World:
    """The organisation `lab` with a repository in each state, and a client for each of PEOPLE."""

    def __init__(self) -> None:
        names = ("stranger", "ex", "suspended", "reader", "writer", "boss")
        people = {name: make_user(name, password=PASSWORD) for name in names}
        self.boss, root = people["boss"], make_user("root", password=PASSWORD, admin=True)
        lab = make_organisation("lab", admin=self.boss)
        for name, role in (("ex", "write"), ("suspended", "admin"), ("reader", "read"), ("writer", "write")):
            organisations.invite(organisation=lab, user=people[name], role=role, by=self.boss)
            organisations.accept(Invitation.objects.get(user=people[name]), by=people[name])
        organisations.remove_member(organisation=lab, user=people["ex"], by=self.boss)
        moderator = make_user("moderator", password=PASSWORD)
        User.objects.filter(pk=moderator.pk).update(is_staff=True)
        organisations.create_team(organisation=lab, name="makers", by=self.boss)
        self.invitation = organisations.invite(organisation=lab, user=people["stranger"], role="read", by=self.boss)
        self.job, self.ended, *measured = (self._job(number) for number in range(2 + len(STATES)))
        jobs.request_cancel(self.ended)
        self.ids, self.holds, self.yanks, self.results, self.runs, self.gone = {}, {}, {}, {}, {}, {}
        for state, job in zip(STATES, measured, strict=True):
            made = self._repository(lab, state, root)
            self.ids[state] = str(made.pk)
            self.runs[state] = self._run(Board.objects.create(task=made), made)
            gone = Board.objects.create(task_name=f"lab/{state}-gone", task_owner=lab, task_private=state == "private")
            self._run(gone, made)
            self.gone[state] = gone.pk
            self.results[state] = Result.objects.create(job=job, task=made, commit="0" * 40, report={"rows": []}).pk
        fine = [f"read:lab/{state}" for state in STATES]
        tokens = {
            **{name: create_token(user=user, name="t", role="write")[0] for name, user in people.items()},
            "root": create_token(user=root, name="t", role="write")[0],
            "moderator": create_token(user=moderator, name="t", role="write")[0],
            "reading": create_token(user=self.boss, name="t", role="read")[0],
            "fine": create_token(user=self.boss, name="t", role="fine_grained", scopes=fine)[0],
        }
        tokens["admin"] = tokens["boss"]
        self.headers = {name: {"Authorization": f"Bearer {tokens[name]}"} if name in tokens else {} for name in PEOPLE}
        self.browsers = {name: Client() for name in PEOPLE}
        for name, user in {**people, "admin": self.boss, "root": root, "moderator": moderator}.items():
            if name in self.browsers:
                self.browsers[name].force_login(user)
        User.objects.filter(username="suspended").update(is_active=False)
        self.token = ApiToken.objects.filter(user=self.boss).first()

    def _repository(self, lab: Namespace, state: str, root: User) -> Repository:
        repository = make_repository(lab, state, kind="prior", private=state == "private")
        manifest = json.dumps(function_manifest(state)).encode()
        make_commit(repository, {"prior.json": manifest, "README.md": b"# Hello"}, by=self.boss)
        if state == "gated":
            Repository.objects.filter(pk=repository.pk).update(gated="manual")
        discussions.open_discussion(repository=repository, by=self.boss, title="A question", description="Why?")
        hold = holds.quarantine(repository, reason="suspicious", by=root)
        yank = holds.yank(repository, reason="wrong", by=self.boss)
        for placed, where in ((hold, "held"), (yank, "yanked")):
            if state != where:
                holds.lift(placed, by=root)
        self.holds[state], self.yanks[state] = hold.pk, yank.pk
        return repository

    def _run(self, board: Board, made: Repository) -> str:
        """A run on a board of the repository, of the repository: what may be seen of it is what may be seen of that."""
        run = Run.objects.create(
            board=board, owner=self.boss, owner_name="boss", account=self.boss.pk, namespace="lab",
            submission=made.full_name, repository=made, kind="prior", commit="0" * 40, content="x", edition="x",
            task_commit="0" * 40, labels=4, draws=2, state="scored", mean=0.5, low=0.4, high=0.6, low90=0.4,
            high90=0.6, shown=0.5, step=0.0, metric="accuracy",
        )  # fmt: skip
        return str(run.pk)

    def _job(self, number: int) -> Any:
        name = f"topics{number}"
        make_task(self.boss, name, private=True)
        return jobs.submit(kind="recommend", spec={"task": f"boss/{name}"}, owner=self.boss)

    def ask(
        self, row: Row, who: str, state: str, *, repository: str | None = None, method: str = "", **extra: str
    ) -> Answer:
        """One request, of which nothing stays."""
        name = repository or state
        put = {
            **PLAIN, "{state}": name, "{hold}": str(self.holds[state]), "{yank}": str(self.yanks[state]),
            "{job}": str(self.job.pk), "{ended}": str(self.ended.pk), "{id}": self.ids[state],
            "{token}": str(self.token.pk), "{invitation}": str(self.invitation.pk),
            "{result:state}": str(self.results[state] if repository is None else 999_999),
            "{gone:state}": str(self.gone[state] if repository is None else 999_999),
            "{run:state}": self.runs[state] if repository is None else str(uuid.UUID(int=7)),
        }  # fmt: skip
        path, body = filled(row.path, put), filled(row.body, put)
        kind = "application/x-www-form-urlencoded" if "=" in body and not body.startswith("{") else "application/json"
        if body == "@ndjson":
            lines = [
                {"key": "header", "value": {"summary": "s"}},
                {"key": "file", "value": {"path": "a.txt", "content": "YQ==", "encoding": "base64"}},
            ]
            body, kind = "\n".join(json.dumps(line) for line in lines), "application/x-ndjson"
        if body == "@pack":
            body, kind = "0000", "application/x-git-upload-pack-request"
        if body == "@duplicate":
            body = json.dumps({"target": {"type": "model", "name": "lab/public"}, "files": []})
        if body == "@job":
            body = json.dumps({"kind": "recommend", "spec": {"task": f"lab/{name}"}})
        if body == "@commit":
            blob = make_blob(b"# New", by=self.boss)
            people = {"anonymous": None, "admin": "boss", "reading": "boss", "fine": "boss"}
            if (sender := people.get(who, who)) is not None:
                make_blob(b"# New", by=User.objects.get(username=sender))
            body = json.dumps({"files": [{"path": "README.md", "sha256": blob.sha256}], "replace": False})
        data = body.encode() or (b"x" if row.method == "PUT" else b"")
        client = Client()
        if row.is_page:
            client.cookies.update(self.browsers[who].cookies)  # a copy: a sign-out would change the browser's own
        headers = extra if row.is_page else self.headers[who] | extra
        before = transaction.savepoint()
        try:
            response = client.generic(method or row.method, f"/{path}", data, content_type=kind, headers=headers)
            return Answer(response.status_code, dict(response.headers.items()), response.getvalue())
        finally:
            transaction.savepoint_rollback(before)
