from __future__ import annotations

from pathlib import Path

import pytest
from django.test import Client

from hub.accounts import organisations, services
from hub.accounts.models import User
from hub.errors import BadName
from hub.jobs.cleanup import delete_repository
from hub.repos import services as repos
from hub.repos.lookalikes import resembled, skeleton
from hub.repos.models import Repository
from hub.repos.retired import moved_to
from priors.errors import Conflict, NotAllowed
from tests.factories import bearer, make_commit, make_organisation, make_repository, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def own_home(home: Path) -> Path:
    return home


@pytest.fixture
def ann() -> User:
    return make_user("ann")


def published(owner: User, name: str, **fields: str) -> Repository:
    repository = make_repository(owner, name)
    make_commit(repository, {"a.txt": b"a"}, by=owner)
    return repository


@pytest.mark.parametrize("again", ["mail", "Mail", "MAIL"])
def test_a_deleted_repository_leaves_its_name_to_nobody(ann: User, again: str) -> None:
    delete_repository(published(ann, "mail"))

    with pytest.raises(Conflict, match="given out once"):
        make_repository(ann, again)
    assert not Repository.objects.exists()


def test_a_name_of_another_type_is_another_name(ann: User) -> None:
    delete_repository(published(ann, "mail"))

    assert repos.create_repository(name="ann/mail", kind="plain", type="dataset")


def test_what_never_had_a_commit_leaves_its_name_free(ann: User) -> None:
    repos.delete_repository(make_repository(ann, "mail"))

    assert make_repository(ann, "mail")


def test_a_deleted_account_leaves_its_name_to_nobody(ann: User) -> None:
    bob, root = make_user("bob"), make_user("root", admin=True)
    with pytest.raises(NotAllowed):
        services.delete_account(ann, by=bob)
    services.delete_account(ann, by=ann)

    with pytest.raises(Conflict):
        make_user("ANN")
    with pytest.raises(Conflict):
        organisations.create_organisation(name="Ann", by=bob)
    with pytest.raises(Conflict):
        services.create_user(name="ann", vouched=True)
    lab = make_organisation("lab", admin=bob)
    organisations.delete_organisation(lab, by=root)
    with pytest.raises(Conflict):
        make_user("lab")


def test_an_account_with_repositories_or_a_lonely_organisation_stays(ann: User) -> None:
    repository = published(ann, "mail")
    with pytest.raises(Conflict, match="still has repositories"):
        services.delete_account(ann, by=ann)
    delete_repository(repository)
    lab = make_organisation("lab", admin=ann)

    with pytest.raises(Conflict, match="last admin"):
        services.delete_account(ann, by=ann)
    organisations.delete_organisation(lab, by=ann)
    services.delete_account(ann, by=ann)

    assert not User.objects.filter(username="ann").exists()


def test_an_organisation_with_repositories_stays(ann: User) -> None:
    lab = make_organisation("lab", admin=ann)
    make_repository(lab, "thing")

    with pytest.raises(Conflict, match="still has repositories"):
        organisations.delete_organisation(lab, by=ann)


def test_all_old_names_of_a_chain_of_moves_lead_to_the_repository(client: Client, ann: User) -> None:
    lab, mail = make_organisation("lab", admin=ann), published(ann, "mail")
    for to in ("ann/post", "lab/post", "lab/letters"):
        repos.move_repository(mail, to)

    for old in ("ann/mail", "ann/post", "lab/post", "Ann/Mail"):
        answer = client.get(f"/api/v1/repos/{old}/tree/main?x=1")
        assert (answer.status_code, answer["Location"]) == (307, "/api/v1/repos/lab/letters/tree/main?x=1")
        answer = client.get(f"/{old}")
        assert (answer.status_code, answer["Location"]) == (307, "/lab/letters")
    assert lab.repositories.get() == mail


def test_an_old_name_never_leads_to_another_account(client: Client, ann: User) -> None:
    mail = published(ann, "mail")
    repos.move_repository(mail, "ann/post")

    with pytest.raises(Conflict):
        make_repository(ann, "mail")
    delete_repository(mail)

    for old in ("mail", "post"):
        assert client.get(f"/api/v1/repos/ann/{old}").status_code == 404
        with pytest.raises(Conflict):
            make_repository(ann, old)


def test_a_repository_may_go_back_to_a_name_it_had_and_only_it(client: Client, ann: User) -> None:
    mail, other = published(ann, "mail"), published(ann, "other")
    repos.move_repository(mail, "ann/post")

    with pytest.raises(Conflict):
        repos.move_repository(other, "ann/mail")
    other.refresh_from_db()
    assert other.name == "other"
    repos.move_repository(mail, "ann/mail")

    assert client.get("/api/v1/repos/ann/mail").status_code == 200
    assert client.get("/api/v1/repos/ann/post").status_code == 307


def test_an_old_name_of_something_private_looks_like_none(client: Client, ann: User) -> None:
    mail = published(ann, "mail")
    repos.move_repository(mail, "ann/post")
    repos.change_settings(mail, private=True)

    assert client.get("/api/v1/repos/ann/mail").status_code == 404
    assert moved_to("ann/mail", actor=make_user("bob")) is None
    assert client.get("/api/v1/repos/ann/mail", headers=bearer(ann)).status_code == 307


@pytest.mark.parametrize(
    ("name", "other"),
    [("rnodel", "model"), ("rn0del", "model"), ("op-en_ai", "openai"), ("0penai", "openai"), ("opena1", "openai"),
     ("OpenAI", None), ("vvhisper", "whisper"), ("claude", "daude")],
)  # fmt: skip
def test_a_look_alike_of_any_name_is_found(name: str, other: str | None) -> None:
    assert resembled(name, [other or "openai"]) == other


@pytest.mark.parametrize("name", ["opnai", "openaii", "oepnai", "openau", "openia"])
def test_a_name_one_slip_from_a_well_known_one_is_found(name: str) -> None:
    assert resembled(name, [], ["openai"]) == "openai"
    assert resembled(name, ["openai"]) is None


@pytest.mark.parametrize(
    ("name", "known"), [("ann", "anna"), ("lab-2", "lab-1"), ("user10", "user1"), ("bert", "bart")]
)
def test_short_names_and_numbers_in_series_are_no_look_alikes(name: str, known: str) -> None:
    assert resembled(name, [known], [known]) is None


def test_a_skeleton_is_the_same_however_often_it_is_taken() -> None:
    assert skeleton(skeleton("Rn-0_vv.1cl")) == skeleton("Rn-0_vv.1cl")


def test_the_refusal_names_what_is_resembled(ann: User) -> None:
    make_user("modelers")
    openai = make_user("openai")

    with pytest.raises(BadName, match="'modelers', which is there"):
        make_user("rnodelers")
    assert services.create_user(name="opnai")  # nothing of openai's is public yet
    published(openai, "gpt")
    with pytest.raises(BadName, match="'openai'"):
        organisations.create_organisation(name="openaj", by=ann)
    assert services.create_user(name="openaj", vouched=True)
