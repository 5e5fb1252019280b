from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command

from hub.catalog.derive import derive
from hub.catalog.models import Item
from hub.home import prior_cache
from hub.ops.fsck import fsck
from hub.repos.models import Commit, Repository


@pytest.mark.slow
@pytest.mark.starter
@pytest.mark.django_db
def test_seeding_publishes_the_starter_catalogue_and_twice_changes_nothing(home: Path) -> None:
    pytest.importorskip("torch")
    for _ in range(2):
        call_command("seed", "--no-tasks", stdout=StringIO())

    assert Item.objects.filter(kind="network").count() >= 3
    assert Item.objects.filter(kind="function").count() >= 8
    assert {prior.modality for prior in Item.objects.priors()} >= {"text", "image", "audio", "tab"}
    for prior in Item.objects.priors():
        assert derive(prior.pk)
    for prior in Item.objects.priors():
        assert prior.license
        assert prior.kind == "function" or prior.dtypes
        assert prior.summary
        assert "<h2>" in prior.card_html
    assert Commit.objects.count() == Repository.objects.count()
    assert fsck(print) == 0
    assert [path for path in prior_cache().parent.parent.iterdir() if path.name.startswith("seed-")] == []
