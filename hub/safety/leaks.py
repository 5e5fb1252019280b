"""What happens when somebody is about to publish a token or a key.

A token of this hub that still works is revoked at once and the commit refused: it was on its way to strangers. Other
forms are refused where everybody could read them; a private repository may hold them, until it becomes public.
`.secretsignore` at the top of a repository, with the patterns of .gitignore, names files whose finds are meant
(examples, test data). It never covers a working token of ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from django.db import transaction
from pathspec import GitIgnoreSpec

from hub.accounts import audit
from hub.accounts.models import ApiToken
from hub.accounts.services import revoke_token
from hub.accounts.tokens import digest
from hub.errors import SecretFound
from hub.repos import trees
from hub.repos.models import Repository
from hub.repos.patterns import spec_of
from hub.repos.storage import store
from hub.repos.trees import FileEntry
from hub.safety.secrets import FORMS, Secret, find_secrets, looks_like_text

IGNORE = ".secretsignore"
MAX_AT_ONCE = 1 << 20
"""A larger file is scanned after the commit (scans.py), and so are those beyond the first 32 MiB of a commit."""
_BUDGET = 32 << 20
_MAX_IGNORE = 64 << 10


def refuse_secrets(repository: Repository, files: Iterable[FileEntry], ignore: FileEntry | None) -> None:
    """Raises SecretFound for the first file that may not be published here; revokes tokens of ours on the way.

    files   those whose content is new here; what is too large for a commit to wait for is left to the scans
    ignore  the `.secretsignore` of the commit
    """
    meant = _patterns(ignore)
    files = list(files)
    later = left_to_scans(files)
    for entry in files:
        if entry.path not in later:
            for secret in _secrets_of(entry):
                refuse(repository, entry.path, secret, ignored=meant.match_file(entry.path))


def left_to_scans(files: Iterable[FileEntry]) -> set[str]:
    """The paths of a commit's new files whose secrets it does not wait for: the large ones, and what is too much."""
    later, left = set(), _BUDGET
    for entry in sorted(files, key=lambda entry: (entry.size, entry.path)):
        left -= entry.size
        if entry.size > MAX_AT_ONCE or left < 0:
            later.add(entry.path)
    return later


def require_publishable(repository: Repository) -> None:
    """Raises SecretFound when the newest files of a private repository hold what may not become public."""
    if repository.head is None:
        return
    files = trees.read(repository.head.tree_id)
    meant = _patterns(files.get(IGNORE))
    for entry in files.values():
        for secret in _secrets_of(entry):
            _refuse_public(entry.path, secret, ignored=meant.match_file(entry.path))


def refuse(repository: Repository, path: str, secret: Secret, *, ignored: bool) -> None:
    """Raises SecretFound unless this find may stand in the repository."""
    if secret.form == "ours" and (token := _working(secret.text)) is not None:
        found = SecretFound(
            f"{path!r}, line {secret.line}: the token {token.prefix}… of this hub. It was revoked, for others may have "
            "seen it. Make a new one, take it out of the file and commit again."
        )
        found.revoke = partial(_revoke, token, repository)
        found.revoke()
        raise found
    if not repository.private:
        _refuse_public(path, secret, ignored=ignored)


@contextmanager
def atomic() -> Iterator[None]:
    """A transaction like any other, but a token that a commit in it gave away stays revoked when it is rolled back."""
    try:
        with transaction.atomic():
            yield
    except SecretFound as found:
        if found.revoke is not None:
            found.revoke()
        raise


def at_line(secret: Secret, line: int) -> Secret:
    """The same find, counted from the beginning of a file that was read in pieces."""
    return replace(secret, line=line)


def is_meant(ignore: FileEntry | None, path: str) -> bool:
    """Whether `.secretsignore` names this file."""
    return _patterns(ignore).match_file(path)


def _refuse_public(path: str, secret: Secret, *, ignored: bool) -> None:
    if not ignored:
        raise SecretFound(
            f"{path!r}, line {secret.line}: {FORMS[secret.form]}, which everybody could read here. Revoke it where it "
            f"was made and take it out; if it is only an example, name the file in {IGNORE}."
        )


@transaction.atomic
def _revoke(token: ApiToken, repository: Repository) -> None:
    if ApiToken.objects.filter(pk=token.pk, revoked_at=None).exists():
        revoke_token(token)
        audit.record("token.leaked", subject=repository, namespace=repository.namespace, token_prefix=token.prefix)


def _working(text: str) -> ApiToken | None:
    token = ApiToken.objects.filter(digest=digest(text)).first()
    return token if token is not None and token.is_usable else None


def _secrets_of(entry: FileEntry) -> Iterator[Secret]:
    with store().open(entry.sha256) as file:
        head = file.read(4096)
        if looks_like_text(head):
            yield from find_secrets(head + file.read(MAX_AT_ONCE))


def _patterns(ignore: FileEntry | None) -> GitIgnoreSpec:
    if ignore is None or ignore.size > _MAX_IGNORE:
        return spec_of([])
    with store().open(ignore.sha256) as file:
        return spec_of(file.read().decode(errors="replace").splitlines())
