"""A prior's page shows what the program brought of it, and that no one else's name borrows it."""

from __future__ import annotations

import json
import re

import pytest
from django.test import Client

from composer.rank.starter_curves import AT, known_alone
from hub.repos.models import Repository
from tests.factories import function_manifest, make_commit, make_organisation, make_prior, make_repository, make_user
from tests.web.world import body


@pytest.mark.django_db
def test_a_seeded_prior_shows_the_curves_of_the_starter_history_as_such(client: Client) -> None:
    own = make_repository(make_organisation("priorhub"), "char-ngrams", kind=Repository.Kind.PRIOR)
    make_commit(own, {"prior.json": json.dumps(function_manifest()).encode()})
    make_prior(make_user("eve"), "char-ngrams")

    html = body(client.get("/priorhub/char-ngrams"))

    section = html.split('id="starter"')[1].split("</section>")[0]
    assert "measured before this hub, and not by it" in section
    assert re.search(r"above no prior on \d+ of \d+ tasks, with 16 labels a class", section)
    assert section.count('class="plot"') == 3
    assert len(re.findall(r"<span>-?[\d.]+ to -?[\d.]+", section)) == 3  # an interval each
    assert "where it gains most" in section and "where it gains least" in section
    assert 'id="starter"' not in body(client.get("/eve/char-ngrams"))


def test_the_curves_are_of_the_best_the_middle_and_the_worst_task() -> None:
    found = known_alone("priorhub/all-minilm-l6-v2")

    assert found is not None and found.candidate == "priorhub/all-minilm-l6-v2#*"
    gains = [one.gain for one in found.shown]
    assert gains == sorted(gains, reverse=True) and 0 < found.above <= found.tasks
    assert all(one.point.low <= one.point.score <= one.point.high and one.worth.labels == AT for one in found.shown)
    assert known_alone("priorhub/nobody-ran-it") is None
