from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import Error, connection, transaction

from hub.accounts import audit, organisations, services
from hub.accounts.models import AuditEntry
from hub.jobs.cleanup import delete_repository
from hub.ops.fsck import fsck
from hub.repos import services as repos
from tests.factories import make_commit, make_organisation, make_repository, make_token, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def own_home(home: Path) -> Path:
    return home


@pytest.fixture
def guarded() -> Iterator[None]:
    """With the triggers that production has; tests/conftest.py takes them away."""
    audit.install_triggers(connection)
    yield
    audit.remove_triggers(connection)


def actions() -> list[str]:
    return list(AuditEntry.objects.values_list("action", flat=True))


def test_the_database_refuses_to_change_or_remove_an_entry(guarded: None) -> None:
    audit.record("one")

    for attempt in (
        lambda: AuditEntry.objects.update(actor="eve"),
        lambda: AuditEntry.objects.all().delete(),
        lambda: connection.cursor().execute("UPDATE accounts_auditentry SET actor = 'eve'"),
        lambda: connection.cursor().execute("DELETE FROM accounts_auditentry"),
    ):
        with pytest.raises(Error, match="only grows"), transaction.atomic():
            attempt()
    audit.record("two")
    assert actions() == ["one", "two"]


def test_a_migration_puts_the_triggers_in_place() -> None:
    from importlib import import_module

    migration = import_module("hub.accounts.migrations.0004_audit_only_grows")

    assert migration.install_triggers is audit.install_triggers
    assert [type(step).__name__ for step in migration.Migration.operations] == ["RunPython"]


def test_a_changed_entry_a_gap_and_another_order_show() -> None:
    for action in ("one", "two", "three"):
        audit.record(action)
    assert list(audit.broken_links()) == []
    assert fsck(print) == 0
    first, second, _ = AuditEntry.objects.all()

    AuditEntry.objects.filter(pk=second.pk).update(actor="eve")
    assert list(audit.broken_links()) == [f"audit entry {second.pk}: its fields were changed"]
    second.delete()
    assert len(list(audit.broken_links())) == 1
    AuditEntry.objects.filter(pk=first.pk).delete()
    assert len(list(audit.broken_links())) == 1
    assert fsck(lambda line: None) == 1


def test_an_act_that_is_rolled_back_leaves_no_entry() -> None:
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        audit.record("one")
        _ = 1 / 0

    assert actions() == []


def test_who_did_what_with_which_token_is_kept_and_outlives_them() -> None:
    ann, root = make_user("ann"), make_user("root", admin=True)
    by = services.authenticate(text := make_token(ann)).user
    lab = organisations.create_organisation(name="lab", by=by)
    entry = AuditEntry.objects.get(action="organisation.made")
    assert (entry.actor, entry.token, entry.namespace) == ("ann", text[:8], "lab")

    organisations.delete_organisation(lab, by=root)
    services.delete_account(ann, by=root)

    assert AuditEntry.objects.get(action="organisation.made").actor == "ann"
    assert text not in str(list(AuditEntry.objects.values()))
    assert list(audit.broken_links()) == []


def test_what_changes_rights_or_ends_something_has_an_entry() -> None:
    ann, bob = make_user("ann"), make_user("bob")
    lab = make_organisation("lab", admin=ann)
    thing = make_repository(lab, "thing")
    make_commit(thing, {"a": b"a"}, by=ann)

    _, token = services.create_token(user=ann, name="t", role="write")
    services.revoke_token(token, by=ann)
    organisations.accept(organisations.invite(organisation=lab, user=bob, role="read", by=ann), by=bob)
    organisations.set_role(organisation=lab, user=bob, role="write", by=ann)
    team = organisations.create_team(organisation=lab, name="t", by=ann)
    organisations.set_team_members(team, [bob], by=ann)
    organisations.grant(team, repository=thing, role="admin", by=ann)
    organisations.delete_team(team, by=ann)
    organisations.remove_member(organisation=lab, user=bob, by=bob)
    repos.change_settings(thing, private=True, gated="manual", by=ann)
    repos.change_settings(thing, private=True, by=ann)
    repos.move_repository(thing, "ann/thing", by=ann)
    delete_repository(thing, by=ann)
    services.suspend(bob, by=make_user("root", admin=True))

    assert actions() == [
        "organisation.made", "token.made", "token.revoked", "member.invited", "member.joined", "member.role",
        "team.made", "team.members", "team.grant", "team.deleted", "member.removed", "repository.settings",
        "repository.moved", "repository.deleted", "user.suspended",
    ]  # fmt: skip
    assert AuditEntry.objects.get(action="repository.settings").detail == {"private": True, "gated": "manual"}


@pytest.mark.django_db(transaction=True)
def test_entries_of_many_threads_are_one_chain() -> None:
    def write(number: int) -> None:
        try:
            for _ in range(5):
                audit.record(f"by {number}")
        finally:
            connection.close()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert AuditEntry.objects.count() == 40
    assert list(audit.broken_links()) == []
