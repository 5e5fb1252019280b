"""A person or an organisation gets another name: what follows, what leads there, and who may not have the old one."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from django.test import Client
from django.utils import timezone

from hub.accounts import organisations, services
from hub.accounts.models import ApiToken, AuditEntry, User
from hub.accounts.renaming import WAIT, rename_namespace
from hub.catalog.query import Query
from hub.catalog.search import search
from hub.errors import BadName
from hub.jobs.cleanup import delete_repository
from hub.jobs.models import Job
from hub.repos import services as repos
from hub.repos.models import Namespace, Repository, RetiredName
from priors.errors import Conflict, NotAllowed, NotFound
from tests.factories import (
    bearer,
    make_commit,
    make_organisation,
    make_prior,
    make_repository,
    make_token,
    make_user,
)

pytestmark = pytest.mark.django_db
PASSWORD = "a password of ann's"


@pytest.fixture(autouse=True)
def own_home(home: Path) -> Path:
    return home


@pytest.fixture
def ann() -> User:
    return make_user("ann", password=PASSWORD)


def published(owner: User, name: str, **fields: bool) -> Repository:
    repository = make_repository(owner, name, **fields)
    make_commit(repository, {"a.txt": b"a"}, by=owner)
    return repository


def renamed(name: str, to: str, by: User) -> Namespace:
    return rename_namespace(Namespace.objects.get(name=name), to, by=by)


def waited(name: str) -> None:
    Namespace.objects.filter(name=name).update(renamed_at=timezone.now() - WAIT - timedelta(days=1))


def test_everything_goes_on_under_the_new_name(ann: User, client: Client) -> None:
    published(ann, "mail")
    text = make_token(ann)
    narrow, _ = services.create_token(user=ann, name="n", role="fine_grained", scopes=["write:ann/*"])
    Namespace.objects.filter(name="ann").update(quota_bytes=5_000_000)
    client.force_login(ann)

    renamed("ann", "walter", ann)

    who = client.get("/api/v1/whoami", headers={"Authorization": f"Bearer {text}"}).json()
    assert who["name"] == "walter"
    assert ApiToken.objects.get(name="n").scopes == ["write:walter/*"]
    made = client.post(
        "/api/v1/repos", {"name": "walter/new", "kind": "plain"}, content_type="application/json",
        headers={"Authorization": f"Bearer {narrow}"},
    )  # fmt: skip
    assert made.status_code == 201
    assert Namespace.objects.get(name="walter").quota_bytes == 5_000_000
    assert "walter" in client.get("/account").content.decode()  # the session goes on
    assert client.post("/login", {"login": "walter", "password": PASSWORD}).status_code == 302


def test_old_addresses_lead_to_the_same_repositories_through_a_chain_of_three(ann: User, client: Client) -> None:
    mail = published(ann, "mail")
    for old, new in (("ann", "walter"), ("walter", "rudolf"), ("rudolf", "konrad")):
        renamed(old, new, User.objects.get(pk=ann.pk))
        waited(new)

    for old in ("ann", "walter", "rudolf"):
        assert client.get(f"/{old}/mail")["Location"] == "/konrad/mail"
        assert client.get(f"/{old}")["Location"] == "/konrad"
        assert client.get(f"/api/v1/repos/{old}/mail")["Location"] == "/api/v1/repos/konrad/mail"
        assert client.get(f"/api/models/{old}/mail").status_code == 307
    assert client.get("/konrad/mail").status_code == 200
    assert {row.repository_id for row in RetiredName.objects.filter(key__endswith="/mail")} == {mail.pk}


def test_old_addresses_of_people_and_organisations_lead_on_in_the_protocol(ann: User, client: Client) -> None:
    lab = make_organisation("lab", admin=ann)
    published(ann, "mail")
    renamed("ann", "walter", ann)
    rename_namespace(lab, "works", by=User.objects.get(pk=ann.pk))

    for old, new in (
        ("/api/users/ann/overview?a=b", "/api/users/walter/overview?a=b"),
        ("/api/users/ann/likes", "/api/users/walter/likes"),
        ("/api/organizations/lab/overview", "/api/organizations/works/overview"),
        ("/api/organizations/lab/members", "/api/organizations/works/members"),
    ):
        answer = client.get(old)
        assert (answer.status_code, answer["Location"]) == (307, new)
        assert client.get(new).status_code == 200
    for wrong in ("/api/users/lab/overview", "/api/organizations/ann/overview", "/api/users/nobody/overview"):
        assert client.get(wrong).status_code == 404


@pytest.mark.parametrize("name", ["ann", "Ann", "ANN"])
def test_the_old_name_is_nobodys_again(ann: User, name: str) -> None:
    renamed("ann", "walter", ann)

    with pytest.raises(Conflict, match="given out once"):
        make_user(name)
    with pytest.raises(Conflict, match="given out once"):
        organisations.create_organisation(name=name, by=make_user("eve"))
    with pytest.raises(Conflict, match="given out once"):
        renamed("eve2", name, make_user("eve2"))
    assert User.objects.filter(username__iexact="ann").count() == 0


def test_its_old_owner_may_have_it_back(ann: User, client: Client) -> None:
    published(ann, "mail")
    renamed("ann", "walter", ann)
    waited("walter")

    renamed("walter", "ann", User.objects.get(pk=ann.pk))

    assert client.get("/ann/mail").status_code == 200
    assert client.get("/walter/mail")["Location"] == "/ann/mail"
    with pytest.raises(Conflict):
        make_user("walter")


def test_a_redirect_ends_with_its_repository_and_never_reaches_another(ann: User, client: Client) -> None:
    mail = published(ann, "mail")
    renamed("ann", "walter", ann)
    delete_repository(Repository.objects.get(pk=mail.pk))

    assert client.get("/ann/mail").status_code == 404
    with pytest.raises(Conflict, match="given out once"):
        repos.create_repository(name="walter/mail", kind="plain")
    with pytest.raises(NotFound, match="is called walter now"):
        repos.create_repository(name="ann/mail", kind="plain")


def test_a_private_repository_is_not_betrayed_by_its_redirect(ann: User, client: Client) -> None:
    published(ann, "secret", private=True)
    renamed("ann", "walter", ann)

    assert client.get("/ann/secret").status_code == client.get("/ann/never").status_code == 404
    client.force_login(User.objects.get(pk=ann.pk))
    assert client.get("/ann/secret")["Location"] == "/walter/secret"


def test_it_has_to_wait_before_the_next_and_an_administrator_need_not(ann: User) -> None:
    renamed("ann", "walter", ann)
    with pytest.raises(Conflict, match="can have another from"):
        renamed("walter", "rudolf", User.objects.get(pk=ann.pk))

    renamed("walter", "rudolf", make_user("root", admin=True))


@pytest.mark.parametrize(
    ("to", "error"),
    [
        ("Ann", BadName), ("api", BadName), ("a b", BadName), ("", BadName), ("bureau", Conflict),
        ("8ureau-x", None), ("bur-eau", BadName), ("a" * 97, BadName),
    ],
)  # fmt: skip
def test_a_new_name_is_looked_at_as_every_name_is(ann: User, to: str, error: type[Exception] | None) -> None:
    make_organisation("bureau")
    if error is None:
        renamed("ann", to, ann)
        return
    with pytest.raises(error):
        renamed("ann", to, ann)
    assert User.objects.get(pk=ann.pk).username == "ann"
    assert not RetiredName.objects.exists()


def test_it_may_resemble_the_name_it_takes_the_place_of() -> None:
    user = make_user("ann-smith")

    assert renamed("ann-smith", "annsmith", user).name == "annsmith"


def test_only_its_owner_its_admins_and_administrators_rename(ann: User) -> None:
    lab = make_organisation("lab", admin=ann)
    eve = make_user("eve")
    for name in ("ann", "lab"):
        with pytest.raises(NotAllowed):
            renamed(name, "rudolf", eve)
    renamed("lab", "bureau", ann)

    assert Namespace.objects.get(pk=lab.pk).name == "bureau"
    assert organisations.create_team(organisation=Namespace.objects.get(pk=lab.pk), name="t", by=ann)


def test_the_hubs_own_namespace_keeps_its_name() -> None:
    Namespace.objects.get_or_create(name="priorhub")
    with pytest.raises(NotAllowed, match="hub's own"):
        renamed("priorhub", "rudolf", make_user("root", admin=True))


def test_priors_keep_names_that_references_can_have(ann: User) -> None:
    make_prior(ann, "grams")
    with pytest.raises(BadName, match="lower case"):
        renamed("ann", "Walter", ann)
    assert renamed("ann", "walter", ann)


def test_the_catalogue_finds_it_under_the_new_name(ann: User) -> None:
    make_prior(ann, "grams")
    renamed("ann", "walter", ann)

    (item,) = search(Query(q="walter"), visible_to=ann).page(limit=10).items
    assert item.full_name == "walter/grams"


def test_a_job_that_will_write_there_has_to_end_first(ann: User) -> None:
    job = Job.objects.create(kind="import", owner=ann, queue="quick", spec={"push_to": "ann/x"}, key="k")
    with pytest.raises(Conflict, match="Jobs are writing"):
        renamed("ann", "walter", ann)
    Job.objects.filter(pk=job.pk).update(status=Job.Status.DONE)
    assert renamed("ann", "walter", ann)


def test_deleting_finds_what_jobs_made_of_it_under_its_old_name(ann: User) -> None:
    mail = published(ann, "mail")
    job = Job.objects.create(kind="predict", owner=ann, queue="quick", spec={"data": "ann/mail@" + "0" * 40}, key="k")
    renamed("ann", "walter", ann)

    delete_repository(Repository.objects.get(pk=mail.pk))

    job.refresh_from_db()
    assert job.status == "cancelled"


def test_the_log_tells_and_still_shows_what_was_before(ann: User, client: Client) -> None:
    lab = make_organisation("lab", admin=ann)
    organisations.create_team(organisation=lab, name="readers", by=ann)
    renamed("lab", "bureau", ann)
    client.force_login(ann)

    page = client.get("/organizations/bureau/audit").content.decode()

    assert "namespace.renamed" in page and "team.made" in page
    entry = AuditEntry.objects.get(action="namespace.renamed")
    assert (entry.namespace, entry.subject, entry.detail) == ("bureau", "bureau", {"left": "lab"})


def test_the_api_and_the_pages_rename(ann: User, client: Client) -> None:
    lab = make_organisation("lab", admin=ann)
    answer = client.post(
        "/api/v1/namespaces/lab/rename", {"to": "bureau"}, content_type="application/json", headers=bearer(ann)
    )
    assert (answer.status_code, answer.json()) == (200, {"name": "bureau", "kind": "org"})
    client.force_login(ann)

    wrong = client.post("/account/rename", {"to": "walter", "password": "wrong"})
    right = client.post("/account/rename", {"to": "walter", "password": PASSWORD})
    soon = client.post("/organizations/bureau", {"act": "rename", "to": "studio"})
    waited("bureau")
    moved = client.post("/organizations/bureau", {"act": "rename", "to": "studio"})

    assert (wrong.status_code, right.status_code, soon.status_code) == (422, 302, 422)
    assert "walter" in client.get("/account").content.decode()
    assert moved["Location"] == "/organizations/studio"
    assert Namespace.objects.get(pk=lab.pk).name == "studio"
