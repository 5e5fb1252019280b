"""Lists for the Hugging Face protocol: what they find, in which order, page by page, for whom."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser

from hub.catalog import services as catalog
from hub.catalog.listing import SORTS, repositories
from hub.catalog.models import Item
from hub.catalog.query import Page
from hub.errors import BadRequest
from hub.jobs.cleanup import delete_repository
from hub.repos.models import Repository
from tests.factories import make_commit, make_repository, make_user

NOBODY = AnonymousUser()


def card(**front: Any) -> dict[str, bytes]:
    lines = "".join(f"{key}: {value}\n" for key, value in front.items())
    return {"README.md": f"---\n{lines}---\n# Title\n".encode()}


def names(page: Page) -> list[str]:
    return [item.repository.full_name for item in page.items]


@pytest.fixture
def ann(db: None, home: Any) -> Any:
    return make_user("ann")


def test_a_repository_is_listed_from_its_creation_on_and_gone_when_deleted(ann: Any) -> None:
    made = make_repository(ann, "fresh")
    assert names(repositories(NOBODY, search_text="FRES")) == ["ann/fresh"]
    assert names(repositories(NOBODY, search_text="nn/fr", type="dataset")) == []

    delete_repository(made)
    assert names(repositories(NOBODY, search_text="fresh")) == []


def test_every_filter_has_to_hold(ann: Any) -> None:
    both = card(
        license="apache-2.0", language="[en, no]", library_name="mylib", pipeline_tag="fill-mask", datasets="squad",
        base_model="Google/BERT", tags="[One, two]",
    )  # fmt: skip
    make_commit(make_repository(ann, "a"), both, by=ann)
    make_commit(make_repository(ann, "b"), card(license="mit", tags="[one]"), by=ann)

    def found(*filters: str, **more: Any) -> list[str]:
        return sorted(names(repositories(NOBODY, filters=filters, **more)))

    assert found("one") == ["ann/a", "ann/b"]
    assert found("one", "two") == found("ONE", "license:apache-2.0") == ["ann/a"]
    for tag in ("dataset:squad", "base_model:google/bert", "en", "no", "mylib", "fill-mask"):
        assert found(tag) == ["ann/a"]
    assert found("one", pipeline_tag="fill-mask", library="mylib", language="en", author="Ann") == ["ann/a"]
    assert found("license:mit", "license:apache-2.0") == found("one", author="bob") == found("on") == []


def test_pages_hold_each_once_although_others_come_and_go_between_them(ann: Any) -> None:
    made = [make_repository(ann, f"r{number}") for number in range(7)]

    seen, after = [], ""
    for turn in range(4):
        page = repositories(NOBODY, sort="createdAt", after=after, limit=2)
        seen += names(page)
        make_repository(ann, f"later{turn}")
        after = page.next or ""

    assert seen == [repository.full_name for repository in reversed(made)]
    assert after == ""


@pytest.mark.parametrize("sort", SORTS)
def test_each_order_is_the_largest_first_and_total(ann: Any, sort: str) -> None:
    column = {"created": "created_at", "updated": "updated_at"}.get(SORTS[sort], SORTS[sort])
    for number in (3, 1, 2, 2):
        item = catalog.enlist(
            Repository.objects.create(namespace=ann.namespaces.get(), name=f"s{Item.objects.count()}", kind="plain")
        )
        value = item.created_at + timedelta(days=number) if column.endswith("_at") else number
        catalog.recount({item.pk: {column: value}})

    pages = [repositories(NOBODY, sort=sort, limit=1)]
    while pages[-1].next:
        pages.append(repositories(NOBODY, sort=sort, limit=1, after=pages[-1].next))

    assert [name for page in pages for name in names(page)] == ["ann/s0", "ann/s3", "ann/s2", "ann/s1"]


def test_private_repositories_are_listed_for_those_who_may_read_them(ann: Any) -> None:
    make_repository(ann, "open")
    hidden = make_repository(ann, "hidden", private=True)

    assert names(repositories(NOBODY)) == names(repositories(make_user())) == ["ann/open"]
    assert names(repositories(ann, sort="createdAt")) == ["ann/hidden", "ann/open"]
    assert len(repositories(make_user(admin=True)).items) == 2

    Repository.objects.filter(pk=hidden.pk).update(private=False, gated="auto")
    hidden.refresh_from_db()
    catalog.changed(hidden)
    assert len(repositories(NOBODY).items) == 2
    assert names(repositories(NOBODY, gated=True)) == ["ann/hidden"]
    assert names(repositories(NOBODY, gated=False)) == ["ann/open"]


def test_a_repository_made_private_behind_the_catalogue_is_not_shown(ann: Any) -> None:
    made = make_repository(ann, "was-open")
    assert len(repositories(NOBODY).items) == 1

    Repository.objects.filter(pk=made.pk).update(private=True)  # no `changed`: memory still says it is public

    assert repositories(NOBODY).items == []


def test_parameters_filter_by_range_and_leave_out_what_is_unknown(ann: Any) -> None:
    for name, number in (("small", 5_000_000), ("large", 7_000_000_000), ("unknown", None)):
        make_repository(ann, name)
        if number:
            catalog.recount({Item.objects.get(repository__name=name).pk: {"parameters": number}})

    def found(text: str) -> list[str]:
        return sorted(names(repositories(NOBODY, num_parameters=text)))

    assert found("min:1M,max:10M") == ["ann/small"]
    assert found("min:1M") == ["ann/large", "ann/small"]
    assert found("max:7B") == ["ann/large", "ann/small"]


@pytest.mark.parametrize(
    "wrong",
    [{"sort": "likedMost"}, {"limit": 0}, {"limit": 10_000}, {"after": "x"}, {"after": "WyJhIiwgMV0"},
     {"num_parameters": "1M"}, {"num_parameters": "min:1M;max:2M"}],
)  # fmt: skip
def test_what_cannot_be_read_is_refused(ann: Any, wrong: dict[str, Any]) -> None:
    with pytest.raises(BadRequest):
        repositories(NOBODY, **wrong)


def test_lists_cost_the_same_queries_for_few_and_for_many(ann: Any, django_assert_num_queries: Any) -> None:
    for number in range(40):
        make_repository(ann, f"n{number}", private=number % 2 == 0)
        if number in (3, 39):
            repositories(ann)
            with django_assert_num_queries(3):  # the revision, one's hidden ones, the page
                page = repositories(ann, search_text="n", filters=(), sort="likes", limit=2)
                assert [item.repository.namespace.name for item in page.items] == ["ann", "ann"]
