"""The permission matrix: every route of every urlconf, for everybody who may ask, in every state of a repository.

A row is `METHOD path rule code [body]`. The rule (below) says for each state and person who gets `code` and who is
refused how. A route that no row reaches fails the suite, and so does a method of the API. What is private answers an
outsider as what does not exist, byte for byte: that is compared for every row, whatever its rule says.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from django.db import transaction
from django.test import Client
from django.test.utils import override_settings
from django.urls import URLPattern, URLResolver, get_resolver, resolve
from pytest_django import DjangoDbBlocker

from hub.accounts import organisations
from hub.accounts.models import Invitation, User
from hub.accounts.services import create_token
from hub.api.urls import api
from hub.jobs import services as jobs
from hub.repos import discussions
from hub.repos.models import Namespace, Repository
from hub.repos.storage import BlobStore
from hub.safety import holds
from tests.factories import function_manifest, make_blob, make_commit, make_organisation, make_repository, make_user
from tests.factories import sha256 as sha256_of

pytestmark = pytest.mark.django_db  # for its database; what is in it comes from `world`

PEOPLE = ("anonymous", "stranger", "ex", "suspended", "reader", "writer", "admin", "reading", "fine", "root")
"""Nobody; no member; one who was a writer; an admin who is suspended; members by role; the admin with a token that may
only read; the admin with a fine-grained token that may read these repositories; an administrator of the hub."""
STATES = ("public", "private", "gated", "held")

# Four groups, one a state; in each, one letter a person, in the order above:
#   +  the row's code   a  401   f  403   n  404   u  422   l  to the sign-in page   r  to elsewhere   .  nobody does
RULES = {
    #                public            private           gated             held (in quarantine)
    "anybody":      "++++ +++ +++      ---- --- ---      ---- --- ---      ---- --- ---",
    "caller":       "+++a +++ +++      ---- --- ---      ---- --- ---      ---- --- ---",
    "signed in":    "a++a +++ +++      ---- --- ---      ---- --- ---      ---- --- ---",
    "own writes":   "a++a +++ ff+      ---- --- ---      ---- --- ---      ---- --- ---",
    "lab writes":   "affa f++ ff+      ---- --- ---      ---- --- ---      ---- --- ---",
    "own jobs":     "a++a +++ +++      ---- --- ---      ---- --- ---      ---- --- ---",
    "admin's job":  "nnna nn+ +n+      ---- --- ---      ---- --- ---      ---- --- ---",
    "admin's stop": "anna nn+ ff+      ---- --- ---      ---- --- ---      ---- --- ---",
    "read":         "+++a +++ +++      nnna +++ +++      +++a +++ +++      +++a +++ +++",
    "files":        "+++a +++ +++      nnna +++ +++      fffa +++ +++      fffa fff fff",
    "write":        "affa f++ ff+      anna f++ ff+      affa f++ ff+      affa f++ ff+",
    "commit":       "affa f++ ff+      anna f++ ff+      affa f++ ff+      affa fff fff",
    "admin":        "affa ff+ ff+      anna ff+ ff+      affa ff+ ff+      affa ff+ ff+",
    "moderate":     "affa fff ff+      anna fff ff+      affa fff ff+      affa fff ff+",
    "job on it":    "a++a +++ ff+      anna +++ ff+      a++a +++ ff+      a++a +++ ff+",
    "manifest":     "+++a +++ +++      nnna +++ +++      fffa +++ +++      +++a +++ +++",
    # The Hugging Face client asks again with a token on 401, so nobody gets that where somebody gets 404.
    "hf read":      "+++a +++ +++      anna +++ +++      +++a +++ +++      +++a +++ +++",
    "hf files":     "+++a +++ +++      anna +++ +++      affa +++ +++      fffa fff fff",
    "hf gate":      "+++a +++ +++      anna +++ +++      affa +++ +++      +++a +++ +++",
    "hf copy from": "a++a +++ ff+      anna +++ ff+      affa +++ ff+      a++a +++ ff+",
    "discuss":      "a++a +++ ff+      anna +++ ff+      a++a +++ ff+      a++a +++ ff+",
    "git":          "+++a +++ +++      anna +++ +++      affa +++ +++      fffa fff fff",
    "git pushes":   "ffff fff fff      ffff fff fff      ffff fff fff      ffff fff fff",
    "hf write":     "affa f++ ff+      anna f++ ff+      affa f++ ff+      affa f++ ff+",
    "hf commit":    "affa f++ ff+      anna f++ ff+      affa f++ ff+      affa fff fff",
    "hf admin":     "affa ff+ ff+      anna ff+ ff+      affa ff+ ff+      affa ff+ ff+",
    "hf history":   "affa ff+ ff+      anna ff+ ff+      affa ff+ ff+      affa fff fff",
    "hf unknown":   "anna nnn nnn      ---- --- ---      ---- --- ---      ---- --- ---",
    "hf copy":      "affa f++ ff+      anna f++ ff+      affa f++ ff+      fffa fff fff",
    "page":         "++++ +++ ..+      nnnn +++ ..+      ++++ +++ ..+      ++++ +++ ..+",
    "member's page":"l++l +++ ..+      lnnl +++ ..+      l++l +++ ..+      l++l +++ ..+",
    "writer's page":"lffl f++ ..+      lnnl f++ ..+      lffl f++ ..+      lffl f++ ..+",
    "admin's page": "lffl ff+ ..+      lnnl ff+ ..+      lffl ff+ ..+      lffl ff+ ..+",
    "staff's page": "lffl fff ..+      lnnl fff ..+      lffl fff ..+      lffl fff ..+",
    "site":         "++++ +++ ..+      ---- --- ---      ---- --- ---      ---- --- ---",
    "sign-in":      "+rr+ rrr ..r      ---- --- ---      ---- --- ---      ---- --- ---",
    "account":      "l++l +++ ..+      ---- --- ---      ---- --- ---      ---- --- ---",
    "admin's job page": "lnnl nn+ ..+  ---- --- ---      ---- --- ---      ---- --- ---",
    "lab's page":   "lnnl +++ ..+      ---- --- ---      ---- --- ---      ---- --- ---",
    "asks to read": "luul uuu ..u      lnnl uuu ..u      l++l +++ ..+      luul uuu ..u",
    "root's log":   "lnnl nnn ..+      ---- --- ---      ---- --- ---      ---- --- ---",
    "root's page":  "lffl fff ..+      ---- --- ---      ---- --- ---      ---- --- ---",
    "lab's admins": "lffl ff+ ..+      ---- --- ---      ---- --- ---      ---- --- ---",
    "operators":    "llll lll ..+      ---- --- ---      ---- --- ---      ---- --- ---",
}  # fmt: skip

ROUTES = """
GET     api/v1/health                                         anybody      200
POST    api/credentials/revoke                                anybody      202  {"tokens": []}
GET     api/v1/openapi.json                                   anybody      200
GET     api/v1/                                               anybody      404
GET     api/v1/no-such-thing                                  anybody      404
GET     api/v1/whoami                                         signed_in    200
GET     api/v1/priors                                         caller       200
GET     api/v1/priors/lab/{state}/manifest                    manifest      200
POST    api/v1/repos                                          lab_writes   201  {"name": "lab/new", "kind": "plain"}
GET     api/v1/repos/lab/{state}                              read         200
PATCH   api/v1/repos/lab/{state}                              admin        200  {"description": "new"}
DELETE  api/v1/repos/lab/{state}                              admin        204
POST    api/v1/repos/lab/{state}/move                         admin        200  {"to": "lab/moved"}
GET     api/v1/repos/lab/{state}/tree/main                    read         200
GET     api/v1/repos/lab/{state}/commits                      read         200
GET     api/v1/repos/lab/{state}/refs                         read         200
POST    api/v1/repos/lab/{state}/tags                         write        201  {"name": "v1"}
DELETE  api/v1/repos/lab/{state}/tags/none                    write        404
POST    api/v1/repos/lab/{state}/branches                     write        201  {"name": "next"}
DELETE  api/v1/repos/lab/{state}/branches/main                write        409
POST    api/v1/repos/lab/{state}/commits                      commit       201  @commit
GET     api/v1/repos/lab/{state}/files/main/prior.json        files        200
HEAD    api/v1/repos/lab/{state}/files/main/prior.json        files        200
GET     api/v1/repos/lab/{state}/holds                        read         200
POST    api/v1/repos/lab/{state}/holds                        admin        201  {"kind": "yank", "reason": "old"}
POST    api/v1/repos/lab/{state}/holds                        moderate     201  {"kind": "quarantine", "reason": "old"}
POST    api/v1/repos/lab/{state}/holds/{hold}/lift            moderate     200
POST    api/v1/repos/lab/{state}/chunks/missing               write        200  {"chunks": []}
PUT     api/v1/repos/lab/{state}/chunks/{hash}                write        400
PUT     api/v1/repos/lab/{state}/chunks/files/{hash}          write        400
POST    api/v1/blobs/missing                                  own_writes   200  {"sha256": []}
PUT     api/v1/blobs/{hash}                                   own_writes   201
GET     api/v1/jobs                                           own_jobs     200
POST    api/v1/jobs                                           job_on_it    422  @job
GET     api/v1/jobs/{job}                                     admin's_job  200
POST    api/v1/jobs/{job}/cancel                              admin's_stop 202
GET     api/v1/jobs/{ended}/events                            admin's_job  200
GET     api/v1/jobs/{job}/file                                admin's_job  404
HEAD    api/v1/jobs/{job}/file                                admin's_job  404
GET     xet/data/none                                         anybody      403
GET     xet/{uuid}/1/v1/chunks/default/{hash}                 anybody      401
POST    xet/{uuid}/1/v1/xorbs/default/{hash}                  anybody      401
POST    xet/{uuid}/1/v1/shards                                anybody      401
GET     xet/{uuid}/1/v1/reconstructions/{hash}                anybody      401
POST    v1/telemetry                                          anybody      200
GET     xet/{uuid}/1/other                                    anybody      404
GET     api/whoami-v2                                         signed_in    200
POST    api/repos/create                                      lab_writes   200  {"name": "new", "organization": "lab", "type": "model"}
DELETE  api/repos/delete                                      hf_admin     200  {"name": "{state}", "organization": "lab", "type": "model"}
POST    api/repos/move                                        hf_admin     200  {"fromRepo": "lab/{state}", "toRepo": "lab/moved", "type": "model"}
GET     api/settings/repositories                             signed_in    200
GET     api/organizations/lab/settings/repositories           lab_writes   200
POST    api/validate-yaml                                     caller       200  {"content": "# Hello"}
GET     api/models                                            caller       200
GET     api/models/gpt2                                       hf_unknown   404
GET     gpt2/resolve/main/config.json                         hf_unknown   404
GET     api/agent-harnesses                                   caller       200
GET     api/telemetry/any                                     caller       200
POST    api/telemetry/any                                     caller       200
GET     api/collections                                       caller       501
POST    api/collections                                       caller       501
PUT     api/collections                                       caller       501
PATCH   api/collections                                       caller       501
DELETE  api/collections                                       caller       501
GET     api/models/lab/{state}                                hf_read      200
GET     api/models/lab/{state}/revision/main                  hf_read      200
GET     api/models/lab/{state}/auth-check                     hf_gate      200
GET     api/models/lab/{state}/auth-check/write               hf_write     200
PUT     api/models/lab/{state}/settings                       hf_admin     200  {"private": true}
POST    api/models/lab/{state}/duplicate                      hf_copy      200  {"repository": "lab/copy"}
GET     api/models/lab/{state}/tree/main                      hf_read      200
GET     api/models/lab/{state}/tree/main/prior.json           hf_read      404
POST    api/models/lab/{state}/paths-info/main                hf_read      200  paths=prior.json
POST    api/models/lab/{state}/preupload/main                 hf_write     200  {"files": []}
POST    api/models/lab/{state}/commit/main                    hf_commit    200  @ndjson
GET     api/models/lab/{state}/refs                           hf_read      200
POST    api/models/lab/{state}/branch/next                    hf_write     200  {"startingPoint": "main"}
DELETE  api/models/lab/{state}/branch/none                    hf_write     404
POST    api/models/lab/{state}/tag/main                       hf_write     200  {"tag": "v1"}
DELETE  api/models/lab/{state}/tag/none                       hf_write     404
GET     api/models/lab/{state}/commits/main                   hf_read      200
POST    api/models/lab/{state}/super-squash/main              hf_history   200  {"message": "one"}
GET     api/models/lab/{state}/xet-read-token/main            hf_gate      200
GET     api/models/lab/{state}/xet-write-token/main           hf_write     200
GET     api/models/lab/{state}/lfs-files                      hf_write     200
POST    api/models/lab/{state}/lfs-files/batch                hf_admin     200  {"deletions": {"sha": []}}
POST    api/models/lab/{state}/lfs-files/duplicate            hf_copy_from 200  @duplicate
PUT     api/lfs/upload/none                                   caller       403
POST    api/lfs/complete/none                                 caller       403  {}
POST    api/lfs/arrived/none                                  caller       403  {}
GET     api/lfs/objects/none                                  caller       403
POST    models/lab/{state}.git/info/lfs/objects/batch         hf_gate      200  {"operation": "download", "objects": []}
POST    lab/{state}.git/info/lfs/objects/batch                hf_gate      200  {"operation": "download", "objects": []}
POST    lab/{state}.git/info/lfs/objects/batch                discuss      200  {"operation": "upload", "objects": []}
POST    models/lab/{state}.git/info/lfs/verify                discuss      404  {"oid": "{hash}", "size": 1}
POST    lab/{state}.git/info/lfs/verify                       discuss      404  {"oid": "{hash}", "size": 1}
GET     models/lab/{state}/resolve/main/prior.json            hf_files     200
GET     lab/{state}/resolve/main/prior.json                   hf_files     200
GET     api/models/lab/{state}/discussions                    hf_read      200
POST    api/models/lab/{state}/discussions                    discuss      200  {"title": "t", "description": "d"}
GET     api/models/lab/{state}/discussions/1                  hf_read      200
POST    api/models/lab/{state}/discussions/1/comment          discuss      200  {"comment": "c"}
POST    api/models/lab/{state}/discussions/1/title            hf_write     200  {"title": "u"}
POST    api/models/lab/{state}/discussions/1/status           hf_write     200  {"status": "closed"}
POST    api/models/lab/{state}/discussions/1/merge            hf_write     400  {}
POST    api/models/lab/{state}/discussions/1/comment/0/edit   hf_read      404  {"content": "c"}
POST    api/models/lab/{state}/discussions/1/comment/0/hide   hf_read      404  {}
POST    api/models/lab/{state}/like                           discuss      200
DELETE  api/models/lab/{state}/like                           discuss      200
GET     api/models/lab/{state}/likers                         hf_read      200
POST    api/models/lab/{state}/user-access-request/handle     hf_admin     404  {"user": "stranger", "status": "accepted"}
POST    api/models/lab/{state}/user-access-request/grant      hf_admin     200  {"user": "stranger"}
GET     api/models/lab/{state}/user-access-request/pending    hf_admin     200
GET     api/users/boss/overview                               caller       200
GET     api/users/boss/likes                                  caller       200
GET     api/organizations/lab/overview                        caller       200
GET     api/organizations/lab/members                         caller       200
GET     lab/{state}.git/info/refs?service=git-upload-pack     git          200
GET     lab/{state}/info/refs?service=git-receive-pack        git_pushes   403
POST    lab/{state}.git/git-upload-pack                       git          200  @pack
POST    models/lab/{state}/git-receive-pack                   git_pushes   403
POST    api/models/lab/{state}/discussions/9/comment          hf_read      404  {"comment": "c"}
POST    api/models/lab/{state}/discussions/9/title            hf_read      404  {"title": "t"}
POST    api/models/lab/{state}/discussions/9/status           hf_read      404  {"status": "closed"}
POST    api/models/lab/{state}/discussions/9/merge            hf_read      404
GET     admin/                                                operators    200
GET     .                                                     site         200
GET     docs                                                  site         200
GET     robots.txt                                            site         200
POST    account/theme                                         site         302
GET     priors                                                site         200
GET     tasks                                                 site         200
GET     results                                               site         200
GET     results/999                                           site         404
GET     results/999.json                                      site         404
GET     results/999.csv                                       site         404
GET     try                                                   site         200
GET     try/{uuid}                                            account      404
GET     import                                                site         200
GET     login                                                 sign-in      200
POST    logout                                                site         302
GET     setup                                                 site         404
GET     setup/none                                            site         404
GET     account                                               account      200
POST    account/tokens/999/revoke                             account      404
GET     jobs                                                  account      200
GET     jobs/{job}                                            admin's_job_page  200
POST    jobs/{job}/cancel                                     admin's_job_page  302
POST    jobs/{job}/again                                      admin's_job_page  302
GET     lab                                                   site         200
POST    lab/{state}/ask-access                                asks_to_read 302
GET     lab/{state}/access                                    admin's_page 200
GET     signup                                                sign-in      200
GET     signup/none                                           site         302
POST    account/invite                                        root's_page  200
GET     account/delete                                        account      200
POST    account/invitations/999                               account      404
GET     audit                                                 root's_log   200
GET     organizations/new                                     account      200
GET     organizations/lab                                     lab's_page         200
GET     organizations/lab/audit                               lab's_admins 200
GET     account/inactive/                                     site         200
GET     account/reauthenticate/                               account      403
GET     account/reauthenticate/code/                          account      403
GET     account/reauthenticate/code/confirm/                  account      302
GET     account/email/                                        account      200
GET     account/confirm-email/                                site         200
GET     account/confirm-email/none/                           site         200
GET     account/password/change/                              account      302
GET     account/password/set/                                 account      200
GET     account/password/reset/                               site         200
GET     account/password/reset/done/                          site         200
GET     account/password/reset/key/1-none/                    site         200
GET     account/password/reset/key/done/                      site         200
GET     account/login/code/confirm/                           site         302
GET     account/2fa/                                          account      200
GET     account/2fa/authenticate/                             site         302
GET     account/2fa/reauthenticate/                           account      403
GET     account/2fa/totp/activate/                            account      403
GET     account/2fa/totp/deactivate/                          account      404
GET     account/2fa/recovery-codes/                           account      404
GET     account/2fa/recovery-codes/generate/                  account      403
GET     account/2fa/recovery-codes/download/                  account      404
GET     account/2fa/webauthn/                                 account      200
GET     account/2fa/webauthn/add/                             account      403
GET     account/2fa/webauthn/reauthenticate/                  account      403
POST    account/2fa/webauthn/keys/999/remove/                 account      403
GET     account/2fa/webauthn/keys/999/edit/                   account      403
GET     account/2fa/webauthn/login/                           site         302
GET     account/sessions/                                     account      200
GET     admin/login/                                          site         302
GET     lab/{state}                                           page         200
GET     lab/{state}/tree/main                          page         200
GET     lab/{state}/tree/main/prior.json               page         200
GET     lab/{state}/blob/main/prior.json               page         200
GET     lab/{state}/commits/main                       page         200
GET     lab/{state}/commit/main                        page         200
GET     lab/{state}/refs                               page         200
POST    lab/{state}/refs/change                        writer's_page 302  do=make&kind=branch&name=next
GET     lab/{state}/discussions                        page         200
GET     lab/{state}/discussions/new                    member's_page 200
POST    lab/{state}/discussions/new                    member's_page 302  title=Hello
GET     lab/{state}/discussions/9                      page         404
POST    lab/{state}/discussions/9/act                  member's_page 404
POST    lab/{state}/discussions/9/files                member's_page 404
POST    lab/{state}/like                               member's_page 302  do=like
GET     lab/{state}/settings                           admin's_page 200
POST    lab/{state}/settings                           admin's_page 302  do=settings
GET     models/lab/{state}                                    page         200
GET     models/lab/{state}/tree/main                          page         200
GET     models/lab/{state}/tree/main/prior.json               page         200
GET     models/lab/{state}/blob/main/prior.json               page         200
GET     models/lab/{state}/commits/main                       page         200
GET     models/lab/{state}/commit/main                        page         200
GET     models/lab/{state}/refs                               page         200
POST    models/lab/{state}/refs/change                        writer's_page 302  do=make&kind=branch&name=next
GET     models/lab/{state}/discussions                        page         200
GET     models/lab/{state}/discussions/new                    member's_page 200
POST    models/lab/{state}/discussions/new                    member's_page 302  title=Hello
GET     models/lab/{state}/discussions/9                      page         404
POST    models/lab/{state}/discussions/9/act                  member's_page 404
POST    models/lab/{state}/discussions/9/files                member's_page 404
POST    models/lab/{state}/like                               member's_page 302  do=like
GET     models/lab/{state}/settings                           admin's_page 200
POST    models/lab/{state}/settings                           admin's_page 302  do=settings
GET     lab/{state}/v/main                                    page         200
POST    lab/{state}/run                                       member's_page 422
POST    lab/{state}/predict                                   member's_page 422
POST    lab/{state}/predict-rows                              member's_page 404
GET     lab/{state}/delete                                    admin's_page 200
POST    lab/{state}/delete                                    admin's_page 302  name=lab/{state}
GET     lab/{state}/holds                                     page         200
POST    lab/{state}/holds/place                               admin's_page 302  kind=yank&reason=old
POST    lab/{state}/holds/place                               staff's_page 302  kind=quarantine&reason=old
POST    lab/{state}/holds/{hold}/lift                         staff's_page 302
"""  # noqa: E501 -- a row a line


@dataclass(frozen=True)
class Row:
    """One line of ROUTES."""

    method: str
    path: str
    rule: str
    code: int
    body: str

    def __str__(self) -> str:
        return f"{self.method} {self.path} {self.rule}"

    def letters(self, state: str) -> str:
        """What each of PEOPLE gets there."""
        groups = re.findall(r"\S{4} \S{3} \S{3}", RULES[self.rule])
        return groups[STATES.index(state)].replace(" ", "")

    @property
    def is_page(self) -> bool:
        """Whether people come with a session and not with a token."""
        return "." in self.letters("public")


def _rows() -> list[Row]:
    rows = []
    for line in ROUTES.strip().splitlines():
        method, path, rule, code, *body = line.split(maxsplit=4)
        rows.append(
            Row(method, "" if path == "." else path, rule.replace("_", " "), int(code), body[0] if body else "")
        )
    return rows


ROWS = _rows()


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    content: bytes


class World:
    """The organisation `lab` with a repository in each state, and a client for each of PEOPLE."""

    def __init__(self) -> None:
        people = {name: make_user(name) for name in ("stranger", "ex", "suspended", "reader", "writer", "boss")}
        self.boss, root = people["boss"], make_user("root", admin=True)
        lab = make_organisation("lab", admin=self.boss)
        for name, role in (("ex", "write"), ("suspended", "admin"), ("reader", "read"), ("writer", "write")):
            organisations.invite(organisation=lab, user=people[name], role=role, by=self.boss)
            organisations.accept(Invitation.objects.get(user=people[name]), by=people[name])
        organisations.remove_member(organisation=lab, user=people["ex"], by=self.boss)
        self.holds = {state: self._repository(lab, state, root) for state in STATES}
        task = make_repository(self.boss, "rows", private=True)
        make_commit(task, {"a.txt": b"1"}, by=self.boss)
        self.job, self.ended = (self._job(number) for number in range(2))
        jobs.request_cancel(self.ended)
        fine = [f"read:lab/{state}" for state in STATES]
        tokens = {
            **{name: create_token(user=user, name="t", role="write")[0] for name, user in people.items()},
            "root": create_token(user=root, name="t", role="write")[0],
            "reading": create_token(user=self.boss, name="t", role="read")[0],
            "fine": create_token(user=self.boss, name="t", role="fine_grained", scopes=fine)[0],
        }
        tokens["admin"] = tokens["boss"]
        self.headers = {name: {"Authorization": f"Bearer {tokens[name]}"} if name in tokens else {} for name in PEOPLE}
        self.browsers = {name: Client() for name in PEOPLE}
        for name, user in {**people, "admin": self.boss, "root": root}.items():
            if name in self.browsers:
                self.browsers[name].force_login(user)
        User.objects.filter(username="suspended").update(is_active=False)

    def _repository(self, lab: Namespace, state: str, root: User) -> int:
        repository = make_repository(lab, state, kind="prior", private=state == "private")
        manifest = json.dumps(function_manifest(state)).encode()
        make_commit(repository, {"prior.json": manifest, "README.md": b"# Hello"}, by=self.boss)
        if state == "gated":
            Repository.objects.filter(pk=repository.pk).update(gated="manual")
        discussions.open_discussion(repository=repository, by=self.boss, title="A question", description="Why?")
        hold = holds.quarantine(repository, reason="suspicious", by=root)
        if state != "held":
            holds.lift(hold, by=root)
        return hold.pk

    def _job(self, number: int) -> Any:
        from tests.factories import make_task

        name = f"topics{number}"
        make_task(self.boss, name, private=True)
        return jobs.submit(kind="recommend", spec={"task": f"boss/{name}"}, owner=self.boss)

    def ask(
        self, row: Row, who: str, state: str, *, repository: str | None = None, method: str = "", **extra: str
    ) -> Answer:
        """One request, of which nothing stays."""
        name = repository or state
        put = {
            "{state}": name, "{hold}": str(self.holds.get(state, 1)), "{hash}": sha256_of(b"x"),
            "{job}": str(self.job.pk), "{ended}": str(self.ended.pk), "{uuid}": str(uuid.UUID(int=7)),
        }  # fmt: skip
        path, body = row.path, row.body
        for key, value in put.items():
            path, body = path.replace(key, value), body.replace(key, value)
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


@pytest.fixture(scope="module")
def world(
    django_db_setup: None, django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """Made once, in a transaction that ends with the module; each request is rolled back to here."""
    home = tmp_path_factory.mktemp("matrix")
    changed = override_settings(
        PRIORHUB_HOME=home,
        STORAGE_URL=f"file://{home / 'blobs'}",
    )
    with django_db_blocker.unblock(), changed, transaction.atomic(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(BlobStore, "delete", lambda store, sha256: None)  # a rollback brings no bytes back
        yield World()
        transaction.set_rollback(True)


CODES = {"a": (401,), "f": (403,), "n": (404,), "l": (302,), "r": (302,), "u": (422,)}
OUTSIDERS = ("anonymous", "stranger", "ex", "suspended")


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_who_gets_what(world: World, row: Row) -> None:
    wrong = []
    for state in STATES:
        for who, letter in zip(PEOPLE, row.letters(state), strict=True):
            if letter in ".-":
                continue
            response = world.ask(row, who, state)
            expected = CODES.get(letter, (row.code,))
            if response.status not in expected:
                said = b"a page" if response.content.startswith(b"<!doctype") else response.content[:300]
                wrong.append(f"{who} on {state}: {response.status}, expected {expected[0]}: {said!r}")
            if row.path.startswith("api/v1/") and response.status >= 400 and row.method != "HEAD":
                problem = json.loads(response.content)
                assert response.headers["Content-Type"] == "application/problem+json"
                assert problem.keys() == {"type", "title", "status", "code", "detail"}
                assert problem["status"] == response.status
            if letter == "l" and not response.headers.get("Location", "").startswith(("/login", "/admin/login")):
                wrong.append(f"{who} on {state}: sent to {response.headers.get('Location')}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("row", [row for row in ROWS if "{state}" in row.path or row.body == "@job"], ids=str)
def test_what_is_private_answers_outsiders_as_what_does_not_exist(world: World, row: Row) -> None:
    for who in OUTSIDERS:
        private, unknown = world.ask(row, who, "private"), world.ask(row, who, "private", repository="unknown")
        assert private.status == unknown.status, who
        assert told(private, "private") == told(unknown, "unknown"), who


LEAKS = [
    ("HEAD", {}), ("OPTIONS", {}), ("POST", {}), ("GET", {"Range": "bytes=0-3"}), ("GET", {"If-None-Match": "*"}),
    ("GET", {"If-None-Match": f'"{sha256_of(b"# Hello")}"'}), ("GET", {"HX-Request": "true"}),
]  # fmt: skip


@pytest.mark.parametrize("row", [row for row in ROWS if "{state}" in row.path and row.method == "GET"], ids=str)
def test_no_other_way_of_asking_tells_what_is_private_apart(world: World, row: Row) -> None:
    for method, headers in LEAKS:
        for who in OUTSIDERS:
            private = world.ask(row, who, "private", method=method, **headers)
            unknown = world.ask(row, who, "private", repository="unknown", method=method, **headers)
            assert private.status == unknown.status, (who, method, headers)
            assert told(private, "private") == told(unknown, "unknown"), (who, method, headers)


def test_no_list_search_or_count_shows_what_is_private(world: World) -> None:
    lists = ["api/v1/priors?q=n-grams", "api/v1/priors?q=private", "priors?q=private", "priors?q=n-grams", "tasks",
             "results", "", "robots.txt"]  # fmt: skip
    for address in lists:
        for who in ("anonymous", "stranger", "ex", "suspended"):
            page = world.browsers[who].get(f"/{address}").content
            assert b"lab/private" not in page, (who, address)
        assert b"lab/private" in world.browsers["reader"].get("/priors?q=n-grams").content


def told(response: Answer, name: str) -> tuple[dict[str, str], bytes]:
    """Everything a response says, with the repository's name taken out of it, and what is new in each response."""
    headers = {key: value.replace(f"/{name}", "/NAME") for key, value in response.headers.items()}
    for changing in ("Content-Length", "RateLimit"):
        headers.pop(changing, None)
    content = response.content.replace(f"lab/{name}".encode(), b"lab/NAME").replace(
        f"lab%2F{name}".encode(), b"lab/NAME"
    )
    content = re.sub(rb'name="csrfmiddlewaretoken" value="\w+"', b"", content)
    return headers, re.sub(rb'"X-CSRFToken": "\w+"|X-CSRFToken&quot;: &quot;\w+', b"", content)


def routes(patterns: list[Any], prefix: str = "") -> Iterator[str]:
    """Every route of a urlconf, spelled as Django resolves it; the operator's admin is one."""
    for each in patterns:
        route = prefix + (str(each.pattern).removeprefix("^") if prefix else str(each.pattern))
        if isinstance(each, URLResolver):
            if each.app_name == "admin":
                yield f"{route}"
            else:
                yield from routes(each.url_patterns, route)
        else:
            yield route


def test_every_route_of_every_urlconf_has_a_row() -> None:
    concrete = {"{state}": "public", "{hold}": "1", "{hash}": sha256_of(b"x")}
    concrete |= dict.fromkeys(("{job}", "{ended}", "{uuid}"), str(uuid.UUID(int=7)))
    reached = set()
    for row in ROWS:
        path = row.path
        for key, value in concrete.items():
            path = path.replace(key, value)
        reached.add(resolve(f"/{path.partition('?')[0]}").route)

    assert set(routes(get_resolver().url_patterns)) - reached == set()


def test_every_method_of_the_api_has_a_row() -> None:
    described = set()
    for path, methods in api.get_openapi_schema(path_prefix="/")["paths"].items():
        described |= {(method.upper(), re.sub(r"\{\w+\}", "*", path.replace("//", "/"))) for method in methods}
    rows = {(row.method, row.path) for row in ROWS if row.path.startswith("api/v1/")}

    def has(method: str, path: str) -> bool:
        pattern = re.compile("api/v1" + re.escape(path).replace(r"\*", "[^/]+") + "$")
        return any(method == known and pattern.match(address) for known, address in rows)

    assert [f"{method} {path}" for method, path in sorted(described) if not has(method, path)] == []


def test_every_method_of_a_route_that_names_its_methods_has_a_row() -> None:
    """Routes of the Hugging Face protocol carry the methods they answer."""

    def patterns(found: list[Any]) -> Iterator[URLPattern]:
        for each in found:
            if isinstance(each, URLResolver):
                yield from patterns(each.url_patterns)
            else:
                yield each

    concrete = {"{state}": "public", "{hold}": "1", "{hash}": sha256_of(b"x"), "{uuid}": str(uuid.UUID(int=7))}
    asked: dict[Any, set[str]] = {}
    for row in ROWS:
        path = row.path
        for key, value in {**concrete, "{job}": concrete["{uuid}"], "{ended}": concrete["{uuid}"]}.items():
            path = path.replace(key, value)
        asked.setdefault(resolve(f"/{path.partition('?')[0]}").func, set()).add(row.method)
    for each in patterns(get_resolver().url_patterns):
        named = set(getattr(each.callback, "methods", ())) - {"HEAD", "OPTIONS"}
        assert named <= asked.get(each.callback, set()), f"{each.pattern}: {named - asked.get(each.callback, set())}"
