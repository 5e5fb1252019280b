"""Plain functions that make what tests need, through the services that make it in production."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping
from typing import Any

from django.utils import timezone

from hub.accounts import organisations
from hub.accounts import services as accounts
from hub.accounts.models import ApiToken, User
from hub.boards import hidden, lines, versions
from hub.boards.editions import edition_of
from hub.boards.models import Board, Outcome, Run
from hub.repos import commits
from hub.repos import services as repos
from hub.repos.blobs import put_blob
from hub.repos.commits import Put
from hub.repos.models import Blob, Commit, Namespace, Repository

PASSWORD = "correct horse battery"
"""Of those who sign in."""
_numbers = itertools.count(1)


def make_user(name: str | None = None, *, password: str | None = None, admin: bool = False) -> User:
    """A user with a namespace of the same name."""
    return accounts.create_user(name=name or f"user{next(_numbers)}", password=password, admin=admin)


def make_token(user: User, *, role: str = ApiToken.Role.WRITE, **fields: Any) -> str:
    """The text of a token."""
    return accounts.create_token(user=user, name="test", role=role, **fields)[0]


def bearer(user: User, *, role: str = ApiToken.Role.WRITE) -> dict[str, str]:
    """Headers of a request with a token of `user`, for Django's test client."""
    return {"Authorization": f"Bearer {make_token(user, role=role)}"}


def make_organisation(name: str | None = None, *, admin: User | None = None) -> Namespace:
    """An organisation; without an admin only administrators of the hub can change it."""
    if admin is not None:
        return organisations.create_organisation(name=name or f"org{next(_numbers)}", by=admin)
    return Namespace.objects.create(name=name or f"org{next(_numbers)}", kind=Namespace.Kind.ORG)


def sha256(data: bytes) -> str:
    """Hex digest."""
    return hashlib.sha256(data).hexdigest()


def make_blob(data: bytes, *, by: User | None = None) -> Blob:
    """Stored bytes."""
    return put_blob([data], by=by)


def make_repository(
    owner: User | Namespace, name: str | None = None, *, kind: str = Repository.Kind.PLAIN, private: bool = False
) -> Repository:
    """An empty repository in the owner's namespace."""
    full_name = f"{owner}/{name or f'repo{next(_numbers)}'}"
    return repos.create_repository(name=full_name, kind=kind, private=private)


def make_commit(
    repository: Repository, files: Mapping[str, bytes], *, by: User | None = None, **options: Any
) -> Commit:
    """A commit of these bytes by path."""
    stored = [Put(path, make_blob(data, by=by).sha256) for path, data in files.items()]
    return commits.commit(
        repository=repository,
        changes=stored,
        message="A change",
        by=by,
        **{"replace": True, "skip_unchanged": False, **options},
    )


def function_manifest(name: str = "char-ngrams", **changes: Any) -> dict[str, Any]:
    """A valid prior.json of a function prior, which needs no weights."""
    return {
        "prior": 1,
        "name": name,
        "version": "1.0.0",
        "summary": "Counts of character n-grams, hashed.",
        "kind": "function",
        "function": {"id": "char_ngrams", "config": {}},
        "inputs": {"x": "text.raw[B]:str"},
        "taps": {"out": "vec.feat[B,D:4096]:f32"},
        "default_tap": "out",
        "license": {"spdx": "Apache-2.0", "file": None},
        "tags": ["text"],
        **changes,
    }


def make_prior(
    owner: User | Namespace, name: str = "char-ngrams", *, private: bool = False, card: str = "", **changes: Any
) -> Commit:
    """A published function prior."""
    repository = make_repository(owner, name, kind=Repository.Kind.PRIOR, private=private)
    files = {"prior.json": json.dumps(function_manifest(name, **changes)).encode()}
    if card:
        files["README.md"] = card.encode()
    return make_commit(repository, files, by=owner if isinstance(owner, User) else None)


GRAPH = (
    '{"composition": 1, "nodes": {"x": {"op": "input", "type": "vec.feat[B,D:4]:f32"}, '
    '"y": {"op": "head", "in": ["x"], "labels": ["a", "b"]}}, "outputs": {"y": "y"}}'
)
"""A composition.json that reads."""

TASK_CSV = b"text,topic\nhello there,talk\nno lunch today,food\ngood morning,talk\nsoup is good,food\n"


def make_task(owner: User, name: str = "topics", *, private: bool = False) -> Commit:
    """A task repository of four rows and two classes."""
    document = {
        "task": 1, "name": name, "target": "topic", "kind": "binary", "metric": "accuracy", "group": None,
        "columns": [{"name": "text", "modality": "text"}, {"name": "topic", "modality": "target"}],
        "labels": ["food", "talk"], "rows": 4, "unlabelled": 0, "splits": {}, "data": "data.csv",
    }  # fmt: skip
    repository = make_repository(owner, name, kind=Repository.Kind.TASK, private=private)
    return make_commit(repository, {"task.json": json.dumps(document).encode(), "data.csv": TASK_CSV}, by=owner)


def make_board(owner: User, name: str, **rules: Any) -> Board:
    """The board of a new task of four rows."""
    make_task(owner, name)
    task = Repository.objects.for_cards().get(namespace__name=owner.username, name=name)
    return Board.objects.create(task=task, **{"labels": 2, "draws": 2, **rules})


def make_run(board: Board, name: str, score: float, by: User, *, address: str = "", **fields: Any) -> Run:
    """A run of the prior `name` as a worker's result leaves it, with the same score in both draws."""
    head = board.task.head
    assert head is not None
    none = {"arm": "no_prior", "name": "no prior", "members": [], "mean": 0.5, "low": 0.4, "high": 0.6}
    none |= {"gain": score - 0.5, "gain_low": score - 0.6, "gain_high": score - 0.4}
    skipped = {"arm": "adapted", "name": "best single prior, adapted", "members": [], "skipped": "no network"}
    run = Run.objects.create(
        **{
            "board": board, "owner": by, "owner_name": by.username, "account": by.pk,
            "network": lines.digest_of(address), "namespace": name.partition("/")[0], "trusted": by.is_superuser,
            "submission": name, "kind": "prior",
            "repository": Repository.objects.named(name.partition("#")[0]).first(),
            "commit": "0" * 40, "content": f"of {name} {Run.objects.count()}",
            "task_commit": head.oid, "edition": edition_of(board, head, hidden.of(board)), "labels": board.labels,
            "draws": 2, "state": "scored", "metric": "accuracy", "mean": score, "low": score - 0.1,
            "high": score + 0.1, "low90": score - 0.1, "high90": score + 0.1, "error": 0.02, "step": 0.0,
            "shown": score, "facts": {"against": [none, skipped], "seeds": "5" * 64}, "finished_at": timezone.now(),
            **fields,
        }
    )  # fmt: skip
    Outcome.objects.bulk_create(
        Outcome(run=run, arm="single", name=name, members=[f"{name}#out"], submitted=True, labels=board.labels,
                draw=draw, score=score, low=score - 0.1, high=score + 0.1)
        for draw in range(2)
    )  # fmt: skip
    versions.changed()
    return run
