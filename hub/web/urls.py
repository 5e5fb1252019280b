"""Addresses of the pages. First segments are reserved names (hub/repos/names.py), so no namespace can hide one."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, include, path

from hub.web.pages import View, explained
from hub.web.views import (
    accounts,
    boards,
    code,
    community,
    compare,
    compose,
    compositions,
    gates,
    home,
    imports,
    jobs,
    manage,
    organisations,
    own,
    priors,
    repositories,
    results,
    safety,
)
from hub.wire import paths as paths  # its converters: revisions and paths may hold quoted slashes


def at(route: str, view: View, name: str) -> URLPattern:
    return path(route, explained(view), name=name)


def of_repository(route: str, view: View, name: str) -> list[URLPattern]:
    """A page of a repository: at `owner/name`, and with its type before that as the Hugging Face client links it."""
    return [
        at(f"<str:owner>/<str:name>{route}", view, name),
        at(f"<repotype:type>/<str:owner>/<str:name>{route}", view, f"{name}-typed"),
    ]


urlpatterns: list[URLPattern | URLResolver] = [
    at("", home.home, "home"),
    at("docs", home.docs, "docs"),
    at("account/theme", home.theme, "theme"),
    at("robots.txt", home.robots, "robots"),
    at("priors", priors.search, "priors"),
    at("tasks", repositories.tasks, "tasks"),
    at("results", results.index, "results"),
    at("results/<int:result_id>", results.show, "result"),
    at("results/<int:result_id>.json", results.as_json, "result-json"),
    at("results/<int:result_id>.csv", results.as_csv, "result-csv"),
    at("boards", boards.index, "boards"),
    at("boards/deleted/<int:board_id>", boards.of_deleted, "board-deleted"),
    at("boards/runs/<uuid:run_id>", boards.run, "run"),
    at("boards/runs/<uuid:run_id>/withdraw", boards.withdraw, "run-withdraw"),
    at("jobs", jobs.index, "jobs"),
    at("jobs/<uuid:job_id>", jobs.show, "job"),
    at("jobs/<uuid:job_id>/cancel", jobs.cancel, "job-cancel"),
    at("jobs/<uuid:job_id>/again", jobs.again, "job-again"),
    at("try", own.upload, "own"),
    at("try/<uuid:number>", own.target, "own-target"),
    at("compose", compose.compose, "compose"),
    at("import", imports.new, "import"),
    path("", include("hub.accounts.urls")),
    at("signup/<str:secret>", accounts.invited, "signup-link"),
    at("setup", accounts.setup, "setup"),
    at("setup/<str:token>", accounts.setup, "setup-link"),
    at("account", accounts.account, "account"),
    at("account/tokens/<int:token_id>/revoke", accounts.revoke, "token-revoke"),
    at("account/invite", accounts.invite, "invite"),
    at("account/rename", accounts.rename, "account-rename"),
    at("account/delete", accounts.delete, "account-delete"),
    at("account/invitations/<int:invitation_id>", organisations.answer_invitation, "invitation"),
    at("audit", organisations.log, "log"),
    at("organizations/new", organisations.new, "organisation-new"),
    at("organizations/<str:name>", organisations.show, "organisation"),
    at("organizations/<str:name>/audit", organisations.log, "organisation-log"),
    at("<str:owner>", organisations.owner, "owner"),
    at("<str:owner>/<str:name>/ask-access", gates.ask, "ask-access"),
    at("<str:owner>/<str:name>/access", gates.index, "access"),
    *of_repository("", repositories.show, "repository"),
    *of_repository("/tree/<revision:rev>", code.tree, "tree"),
    *of_repository("/tree/<revision:rev>/<rest:path>", code.tree, "tree-below"),
    *of_repository("/blob/<revision:rev>/<rest:path>", code.tree, "file"),
    *of_repository("/commits/<rest:rev>", code.history, "history"),
    *of_repository("/commit/<segment:rev>", code.commit, "commit"),
    *of_repository("/compare", compare.compare, "compare"),
    *of_repository("/refs", code.refs, "refs"),
    *of_repository("/refs/change", code.change_refs, "refs-change"),
    *of_repository("/discussions", community.index, "community"),
    *of_repository("/discussions/new", community.new, "thread-new"),
    *of_repository("/discussions/<int:number>", community.show, "thread"),
    *of_repository("/discussions/<int:number>/act", community.act, "thread-act"),
    *of_repository("/discussions/<int:number>/files", community.add_files, "thread-files"),
    *of_repository("/like", community.like, "like"),
    *of_repository("/graph", compositions.graph, "graph"),
    *of_repository("/notice", compositions.notice, "notice"),
    *of_repository("/sbom", compositions.sbom, "sbom"),
    *of_repository("/settings", manage.settings, "repository-settings"),
    at("<str:owner>/<str:name>/v/<str:rev>", repositories.show, "repository-version"),
    at("<str:owner>/<str:name>/board", boards.show, "board"),
    at("<str:owner>/<str:name>/board/submit", boards.submit, "board-submit"),
    at("<str:owner>/<str:name>/board/rules", boards.rules, "board-rules"),
    at("<str:owner>/<str:name>/board/hide", boards.hide, "board-hide"),
    at("<str:owner>/<str:name>/run", repositories.run, "repository-run"),
    at("<str:owner>/<str:name>/predict", repositories.predict, "repository-predict"),
    at("<str:owner>/<str:name>/predict-rows", own.predict, "own-predict"),
    at("<str:owner>/<str:name>/delete", repositories.delete, "repository-delete"),
    at("<str:owner>/<str:name>/holds", safety.index, "repository-holds"),
    at("<str:owner>/<str:name>/holds/place", safety.place, "repository-hold"),
    at("<str:owner>/<str:name>/holds/<int:hold_id>/lift", safety.lift, "repository-hold-lift"),
]
