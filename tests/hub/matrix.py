"""The permission matrix as it was decided: what each route gives everybody who may ask, in every state of a repository.

A row is `METHOD path rule code [body]`. The rule says for each state and person who gets `code` and who is refused how.
Rows are judged by hand, against what the person should be able to do and not against what the hub answers today.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

PEOPLE = (
    "anonymous", "stranger", "ex", "suspended", "reader", "writer", "admin", "reading", "fine", "root", "moderator",
)  # fmt: skip
"""Nobody; no member; one who was a writer; an admin who is suspended; members by role; the admin with a token that may
only read; the admin with a fine-grained token that may read these repositories; an administrator of the hub; one of its
staff who is none and may only moderate."""
STATES = ("public", "private", "gated", "held", "yanked")
"""Held: in quarantine. Yanked: taken back by its owner. A repository is never a draft; a pull request may be."""

# Five groups, one a state; in each, one letter a person, in the order above. A rule of one group knows no states.
#   +  the code   a  401   f  403   n  404   g  410   u  422   l  to the sign-in page   r  elsewhere   .  nobody does
#                    anon stranger ex suspended, reader writer admin, reading fine root moderator
RULES = {
    "anybody":         "++++ +++ ++++",
    "caller":          "+++a +++ ++++",
    "signed in":       "a++a +++ ++++",
    "own writes":      "a++a +++ ff++",
    "lab writes":      "affa f++ ff+f",
    "lab renames":     "affa ff+ ff+f",
    "own jobs":        "a++a +++ ++++",
    "admin's job":     "nnna nn+ +n+n",
    "admin's stop":    "anna nn+ ff+n",
    "read":            "+++a +++ ++++   nnna +++ +++n   +++a +++ ++++   +++a +++ ++++   +++a +++ ++++",
    "files":           "+++a +++ ++++   nnna +++ +++n   fffa +++ +++f   fffa fff ffff   ggga ggg gggg",
    "write":           "affa f++ ff+f   anna f++ ff+n   affa f++ ff+f   affa f++ ff+f   affa f++ ff+f",
    "commit":          "affa f++ ff+f   anna f++ ff+n   affa f++ ff+f   affa fff ffff   affa f++ ff+f",
    "admin":           "affa ff+ ff+f   anna ff+ ff+n   affa ff+ ff+f   affa ff+ ff+f   affa ff+ ff+f",
    "moderate":        "affa fff ff++   anna fff ff+n   affa fff ff++   affa fff ff++   affa fff ff++",
    "job on it":       "a++a +++ ff++   anna +++ ff+n   a++a +++ ff++   a++a +++ ff++   a++a +++ ff++",
    # The Hugging Face client asks again with a token on 401, so nobody gets that where somebody gets 404.
    "hf read":         "+++a +++ ++++   anna +++ +++n   +++a +++ ++++   +++a +++ ++++   +++a +++ ++++",
    "hf files":        "+++a +++ ++++   anna +++ +++n   affa +++ +++f   fffa fff ffff   ggga ggg gggg",
    "hf gate":         "+++a +++ ++++   anna +++ +++n   affa +++ +++f   +++a +++ ++++   +++a +++ ++++",
    "hf copy from":    "a++a +++ ff++   anna +++ ff+n   affa +++ ff+f   a++a +++ ff++   a++a +++ ff++",
    "discuss":         "a++a +++ ff++   anna +++ ff+n   a++a +++ ff++   a++a +++ ff++   a++a +++ ff++",
    "git":             "+++a +++ ++++   anna +++ +++n   affa +++ +++f   fffa fff ffff   ggga ggg gggg",
    "git pushes":      "ffff fff ffff   ffff fff ffff   ffff fff ffff   ffff fff ffff   ffff fff ffff",
    "hf write":        "affa f++ ff+f   anna f++ ff+n   affa f++ ff+f   affa f++ ff+f   affa f++ ff+f",
    "hf commit":       "affa f++ ff+f   anna f++ ff+n   affa f++ ff+f   affa fff ffff   affa f++ ff+f",
    "hf admin":        "affa ff+ ff+f   anna ff+ ff+n   affa ff+ ff+f   affa ff+ ff+f   affa ff+ ff+f",
    "hf history":      "affa ff+ ff+f   anna ff+ ff+n   affa ff+ ff+f   affa fff ffff   affa ff+ ff+f",
    "hf unknown":      "anna nnn nnnn",
    "hf copy":         "affa f++ ff+f   anna f++ ff+n   affa f++ ff+f   affa fff ffff   affa fgg ffgf",
    "page":            "++++ +++ ..++   nnnn +++ ..+n   ++++ +++ ..++   ++++ +++ ..++   ++++ +++ ..++",
    "member's page":   "l++l +++ ..++   lnnl +++ ..+n   l++l +++ ..++   l++l +++ ..++   l++l +++ ..++",
    "writer's page":   "lffl f++ ..+f   lnnl f++ ..+n   lffl f++ ..+f   lffl f++ ..+f   lffl f++ ..+f",
    "admin's page":    "lffl ff+ ..+f   lnnl ff+ ..+n   lffl ff+ ..+f   lffl ff+ ..+f   lffl ff+ ..+f",
    "moderator's page": "lffl fff ..++   lnnl fff ..+n   lffl fff ..++   lffl fff ..++   lffl fff ..++",
    "site":            "++++ +++ ..++",
    "sign-in":         "+rr+ rrr ..rr",
    "leaving":         "r++r +++ ..++",
    "second step":     "lrrl rrr ..rr",
    "operators' door": "llll lll ..ll",
    "account":         "l++l +++ ..++",
    "admin's job page": "lnnl nn+ ..+n",
    "asks a judge":    "l++l +++ ..++   lnnl +++ ..+n   lffl +++ ..+f   l++l +++ ..++   l++l +++ ..++",
    "lab's page":      "lnnl +++ ..+n",
    "asks to read":    "luul uuu ..uu   lnnl uuu ..un   l++l +++ ..++   luul uuu ..uu   luul uuu ..uu",
    "lab's changes":   "lnnl ff+ ..+n",
    "boss's own":      "lnnl nn+ ..nn",
    "stranger's own":  "l+nl nnn ..nn",
    "boss's job again": "lnnl nn+ ..fn",
    "root's log":      "lnnl nnn ..+n",
    "root's page":     "lffl fff ..+f",
    "lab's admins":    "lffl ff+ ..+f",
    "operators":       "llll lll ..++",
}  # fmt: skip

ROUTES = """
GET     api/v1/health                                         anybody      200
POST    api/credentials/revoke                                anybody      202  {"tokens": []}
GET     api/v1/openapi.json                                   anybody      200
GET     api/v1/                                               anybody      404
GET     api/v1/no-such-thing                                  anybody      404
GET     api/v1/whoami                                         signed_in    200
GET     api/v1/priors                                         caller       200
POST    api/v1/compositions/check                             caller       200  {"priors": ["lab/none"]}
GET     api/v1/priors/lab/{state}/manifest                    files         200
POST    api/v1/namespaces/lab/rename                          lab_renames  200  {"to": "bureau"}
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
POST    api/v1/repos/lab/{state}/holds/{yank}/lift            admin        200
POST    api/v1/repos/lab/{state}/chunks/missing               write        200  {"chunks": []}
PUT     api/v1/repos/lab/{state}/chunks/{hash}                write        400
PUT     api/v1/repos/lab/{state}/chunks/files/{hash}          write        400
POST    api/v1/repos/lab/{state}/uploads                      write        200  {"items": []}
POST    api/v1/repos/lab/{state}/uploads/arrived              write        200  {"uploads": []}
POST    api/v1/blobs/missing                                  own_writes   200  {"sha256": []}
PUT     api/v1/blobs/{hash}                                   own_writes   201
GET     api/v1/jobs                                           own_jobs     200
POST    api/v1/jobs                                           job_on_it    422  @job
GET     api/v1/jobs/{job}                                     admin's_job  200
POST    api/v1/jobs/{job}/cancel                              admin's_stop 202
GET     api/v1/jobs/{ended}/events                            admin's_job  200
GET     api/v1/jobs/{job}/file                                admin's_job  404
HEAD    api/v1/jobs/{job}/file                                admin's_job  404
GET     api/v1/history                                        caller       200
GET     api/v1/boards                                         caller       200
GET     api/v1/boards/lab/{state}                             read         200
PUT     api/v1/boards/lab/{state}                             admin        422  {"labels": 8}
PUT     api/v1/boards/lab/{state}/hidden                      admin        422
POST    api/v1/boards/lab/{state}/submissions                 hf_copy_from 404  {"name": "lab/none"}
POST    api/v1/boards/lab/{state}/claims                      write        201  {"repository": "lab/{state}", "score": 0.5}
GET     api/v1/boards/runs/{run:state}                        read         200
POST    api/v1/boards/runs/{run:state}/withdraw               admin        200  {"why": "wrong"}
GET     xet/data/none                                         anybody      403
GET     xet/{uuid}/1/v1/chunks/default/{hash}                 anybody      401
POST    xet/{uuid}/1/v1/xorbs/default/{hash}                  anybody      401
POST    xet/{uuid}/1/v1/xorb-grants/default/{hash}            anybody      401
POST    xet/{uuid}/1/v1/xorb-commits/default/{hash}/grant/{uuid} anybody      401
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
GET     api/datasets                                          caller       200
GET     api/spaces                                            caller       200
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
POST    api/models/lab/{state}/lfs-files/batch                hf_history   200  {"deletions": {"sha": []}}
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
GET     results/{result:state}                                page         200
GET     results/{result:state}.json                           page         200
GET     results/{result:state}.csv                            page         200
GET     boards                                                site         200
GET     boards/deleted/{gone:state}                           page         200
GET     boards/runs/{run:state}                               page         200
POST    boards/runs/{run:state}/withdraw                      admin's_page 302  why=wrong
GET     lab/{state}/board                                     page         200
POST    lab/{state}/board/submit                              asks_a_judge 404  name=lab/none
POST    lab/{state}/board/rules                               admin's_page 422  labels=8
POST    lab/{state}/board/hide                                admin's_page 400  none=
GET     try                                                   site         200
POST    try                                                   account      422
GET     try/{uuid}                                            account      404
POST    try/{uuid}                                            account      404
GET     compose                                               site         200
POST    compose                                               site         200  spec=none
GET     import                                                site         200
POST    import                                                account      422  source=none
GET     login                                                 sign-in      200
GET     logout                                                leaving      200
POST    logout                                                site         302
GET     setup                                                 site         404
POST    setup                                                 site         404
GET     setup/none                                            site         404
GET     account                                               account      200
POST    account                                               account      200  name=new&role=read&days=30
POST    account/tokens/{token}/revoke                         boss's_own   302
GET     jobs                                                  account      200
GET     jobs/{job}                                            admin's_job_page  200
POST    jobs/{job}/cancel                                     admin's_job_page  302
POST    jobs/{job}/again                                      boss's_job_again 302
GET     lab                                                   site         200
GET     lab/{state}/ask-access                                member's_page 200
POST    lab/{state}/ask-access                                asks_to_read 302
GET     lab/{state}/access                                    admin's_page 200
POST    lab/{state}/access                                    admin's_page 302  act=grant&to=stranger
GET     signup                                                sign-in      200
POST    signup                                                sign-in      200
GET     signup/none                                           site         302
POST    account/invite                                        root's_page  200
GET     account/rename                                        account      200
POST    account/rename                                        account      422  to=walter&password=wrong
GET     account/delete                                        account      200
POST    account/delete                                        account      422  name=wrong
POST    account/invitations/{invitation}                      stranger's_own 302  answer=yes
GET     audit                                                 root's_log   200
GET     organizations/new                                     account      200
POST    organizations/new                                     account      302  name=fresh
GET     organizations/lab                                     lab's_page   200
POST    organizations/lab                                     lab's_changes 302  act=invite&user=ex&role=read
POST    organizations/lab                                     lab's_changes 302  act=withdraw&user=stranger
POST    organizations/lab                                     lab's_changes 302  act=role&user=reader&role=write
POST    organizations/lab                                     lab's_changes 302  act=remove&user=suspended
POST    organizations/lab                                     lab's_changes 302  act=team&team=new
POST    organizations/lab                                     lab's_changes 302  act=team-remove&team=makers
POST    organizations/lab                                     lab's_changes 302  act=team-members&team=makers&member=reader
POST    organizations/lab                                     lab's_changes 302  act=grant&team=makers&repository={id}&role=write
POST    organizations/lab                                     lab's_changes 302  act=rename&to=bureau
POST    organizations/lab                                     lab's_changes 422  act=delete&name=lab
GET     organizations/lab/audit                               lab's_admins 200
GET     account/inactive/                                     site         200
GET     account/reauthenticate/                               account      200
GET     account/reauthenticate/code/                          account      302
GET     account/reauthenticate/code/confirm/                  account      302
GET     account/email/                                        account      200
POST    account/email/                                        account      302  action_add=&email=new@example.org
GET     account/confirm-email/                                site         200
GET     account/confirm-email/none/                           site         200
GET     account/password/change/                              account      200
POST    account/password/change/                              account      200  oldpassword=wrong
GET     account/password/set/                                 account      302
GET     account/password/reset/                               site         200
GET     account/password/reset/done/                          site         200
GET     account/password/reset/key/1-none/                    site         200
GET     account/password/reset/key/done/                      site         200
GET     account/login/code/confirm/                           second_step  302
GET     account/2fa/                                          account      200
GET     account/2fa/authenticate/                             second_step  302
GET     account/2fa/reauthenticate/                           account      302
GET     account/2fa/totp/activate/                            account      302
GET     account/2fa/totp/deactivate/                          account      404
GET     account/2fa/recovery-codes/                           account      404
GET     account/2fa/recovery-codes/generate/                  account      302
GET     account/2fa/recovery-codes/download/                  account      404
GET     account/2fa/webauthn/                                 account      200
GET     account/2fa/webauthn/add/                             account      302
GET     account/2fa/webauthn/reauthenticate/                  account      302
POST    account/2fa/webauthn/keys/999/remove/                 account      302
GET     account/2fa/webauthn/keys/999/edit/                   account      302
GET     account/2fa/webauthn/login/                           second_step  302
GET     account/sessions/                                     account      200
POST    account/sessions/                                     account      302
GET     admin/login/                                          operators'_door 302
GET     lab/{state}                                           page         200
GET     lab/{state}/tree/main                          page         200
GET     lab/{state}/tree/main/prior.json               page         200
GET     lab/{state}/blob/main/prior.json               page         200
GET     lab/{state}/commits/main                       page         200
GET     lab/{state}/commit/main                        page         200
GET     lab/{state}/compare                            page         200
GET     lab/{state}/refs                               page         200
POST    lab/{state}/refs/change                        writer's_page 302  do=make&kind=branch&name=next
GET     lab/{state}/discussions                        page         200
GET     lab/{state}/discussions/new                    member's_page 200
POST    lab/{state}/discussions/new                    member's_page 302  title=Hello
GET     lab/{state}/discussions/9                      page         404
POST    lab/{state}/discussions/9/act                  member's_page 404
POST    lab/{state}/discussions/9/files                member's_page 404
POST    lab/{state}/like                               member's_page 302  do=like
GET     lab/{state}/graph                              page         404
GET     lab/{state}/notice                             page         404
GET     lab/{state}/sbom                               page         404
GET     lab/{state}/settings                           admin's_page 200
POST    lab/{state}/settings                           admin's_page 302  do=settings
GET     models/lab/{state}                                    page         200
GET     models/lab/{state}/tree/main                          page         200
GET     models/lab/{state}/tree/main/prior.json               page         200
GET     models/lab/{state}/blob/main/prior.json               page         200
GET     models/lab/{state}/commits/main                       page         200
GET     models/lab/{state}/commit/main                        page         200
GET     models/lab/{state}/compare                            page         200
GET     models/lab/{state}/refs                               page         200
POST    models/lab/{state}/refs/change                        writer's_page 302  do=make&kind=branch&name=next
GET     models/lab/{state}/discussions                        page         200
GET     models/lab/{state}/discussions/new                    member's_page 200
POST    models/lab/{state}/discussions/new                    member's_page 302  title=Hello
GET     models/lab/{state}/discussions/9                      page         404
POST    models/lab/{state}/discussions/9/act                  member's_page 404
POST    models/lab/{state}/discussions/9/files                member's_page 404
POST    models/lab/{state}/like                               member's_page 302  do=like
GET     models/lab/{state}/graph                                  page         404
GET     models/lab/{state}/notice                                 page         404
GET     models/lab/{state}/sbom                                   page         404
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
POST    lab/{state}/holds/place                               moderator's_page 302  kind=quarantine&reason=old
POST    lab/{state}/holds/{hold}/lift                         moderator's_page 302
POST    lab/{state}/holds/{yank}/lift                         admin's_page 302
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
        groups = re.findall(r"\S{4} \S{3} \S{4}", RULES[self.rule])
        number = STATES.index(state)
        return groups[number].replace(" ", "") if number < len(groups) else "-" * len(PEOPLE)

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
