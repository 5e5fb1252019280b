"""The audit log: who did what, in a chain of hashes that only grows.

Each entry hashes the one before, so a change or a gap shows (`manage.py fsck`), and triggers in the database refuse
UPDATE, DELETE and TRUNCATE whoever asks. SQLite drops the triggers when Django rebuilds a table: a migration that
alters accounts_auditentry has to call `install_triggers` again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from django.db import connection, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils import timezone

from hub.accounts.access import Actor
from hub.accounts.models import ApiToken, AuditEntry

_LOCK = 0x7072696F72  # any number that no other advisory lock has
_TABLE = "accounts_auditentry"


def record(
    action: str, *, by: Actor | None = None, subject: object = "", namespace: object = "", **detail: Any
) -> None:
    """Adds an entry, in the transaction of what it tells of: both are kept, or neither is.

    Call it last there: on PostgreSQL it holds the end of the chain until the transaction is over.
    """
    token: ApiToken | None = getattr(by, "token", None)
    entry = AuditEntry(
        at=timezone.now(),
        action=action,
        actor=by.get_username() if by is not None else "",
        token=token.prefix if token is not None else "",
        namespace=str(namespace),
        subject=str(subject)[:300],
        detail=detail,
    )
    with transaction.atomic():
        if connection.vendor == "postgresql":  # SQLite has one writer at a time anyway
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        last = AuditEntry.objects.order_by("-pk").values_list("digest", flat=True).first()
        entry.previous = last or ""
        entry.digest = digest_of(entry)
        entry.save(force_insert=True)


def digest_of(entry: AuditEntry) -> str:
    """SHA-256 over the entry's fields and the digest of the one before."""
    at: datetime = entry.at
    fields = [
        entry.previous, at.isoformat(), entry.action, entry.actor, entry.token, entry.namespace, entry.subject,
        entry.detail,
    ]  # fmt: skip
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def broken_links() -> Iterator[str]:
    """What is wrong with the chain, in words; nothing when it holds."""
    previous = ""
    for entry in AuditEntry.objects.order_by("pk").iterator():
        if entry.previous != previous:
            yield f"audit entry {entry.pk}: the one before it is not the one it followed"
        if digest_of(entry) != entry.digest:
            yield f"audit entry {entry.pk}: its fields were changed"
        previous = entry.digest


def install_triggers(database: BaseDatabaseWrapper) -> None:
    """Makes the database refuse to change or remove entries."""
    with database.cursor() as cursor:
        for statement in _INSTALL[database.vendor]:
            cursor.execute(statement)


def remove_triggers(database: BaseDatabaseWrapper) -> None:
    """Undoes `install_triggers`, for the migration's reverse and for tests that empty tables."""
    with database.cursor() as cursor:
        for statement in _REMOVE[database.vendor]:
            cursor.execute(statement)


_INSTALL = {
    "sqlite": [
        f"CREATE TRIGGER IF NOT EXISTS audit_no_{verb.lower()} BEFORE {verb} ON {_TABLE} "
        "BEGIN SELECT RAISE(ABORT, 'the audit log only grows'); END"
        for verb in ("UPDATE", "DELETE")
    ],
    "postgresql": [
        "CREATE OR REPLACE FUNCTION audit_only_grows() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'the audit log only grows'; END $$",
        f"CREATE OR REPLACE TRIGGER audit_no_change BEFORE UPDATE OR DELETE ON {_TABLE} "
        "FOR EACH ROW EXECUTE FUNCTION audit_only_grows()",
        f"CREATE OR REPLACE TRIGGER audit_no_truncate BEFORE TRUNCATE ON {_TABLE} "
        "FOR EACH STATEMENT EXECUTE FUNCTION audit_only_grows()",
    ],
}
_REMOVE = {
    "sqlite": ["DROP TRIGGER IF EXISTS audit_no_update", "DROP TRIGGER IF EXISTS audit_no_delete"],
    "postgresql": [
        f"DROP TRIGGER IF EXISTS audit_no_change ON {_TABLE}",
        f"DROP TRIGGER IF EXISTS audit_no_truncate ON {_TABLE}",
        "DROP FUNCTION IF EXISTS audit_only_grows()",
    ],
}
