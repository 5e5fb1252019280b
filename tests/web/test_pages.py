"""What is on each page: home, search, repositories, jobs and results."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from hub.accounts.models import User
from hub.catalog.derive import derive
from hub.jobs.models import Job
from hub.repos.models import Repository
from hub.web.templatetags import show
from tests.factories import make_prior, make_repository, make_task, make_user
from tests.web.world import World, body, make_job, make_result, ranking


@pytest.fixture
def job_page(signed_in: Client, world: World) -> Callable[[str], str]:
    return lambda name: body(signed_in.get(f"/jobs/{world[name].pk}"))  # type: ignore[arg-type]


# ── home ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_empty_hub_shows_the_first_steps(client: Client, db: None) -> None:
    html = body(client.get("/"))  # type: ignore[arg-type]

    assert "First steps on this hub" in html
    assert "manage.py seed" in html


def test_home_shows_what_the_hub_measured(client: Client, world: World) -> None:
    html = body(client.get("/"))  # type: ignore[arg-type]

    assert "12 labels a class saved" in html
    assert "char-ngrams" in html
    assert "First steps" in html  # nobody administers this hub yet


def test_the_definition_of_a_prior_takes_about_forty_words(client: Client, db: None) -> None:
    lead = re.search(r'class="lead">([^<]+)<', body(client.get("/")))  # type: ignore[arg-type]

    assert lead and 30 <= len(lead[1].split()) <= 50


# ── search ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_search_finds_words_and_counts_facets_without_their_own_filter(client: Client, world: World) -> None:
    html = body(client.get("/priors?q=character&modality=text"))  # type: ignore[arg-type]

    assert "ada/" in html and "char-ngrams" in html
    assert "1 found<" in html
    assert re.search(r"Functions <span class=\"count\">1</span>", html)


def test_an_empty_search_says_what_each_filter_costs(client: Client, world: World) -> None:
    html = body(client.get("/priors?q=ngrams&modality=audio"))  # type: ignore[arg-type]

    assert "Nothing matches all of this" in html
    assert re.search(r"Without Audio: 2<", html)


def test_htmx_gets_the_results_alone(client: Client, world: World) -> None:
    response = client.get("/priors?q=character", headers={"HX-Request": "true"})

    assert body(response).lstrip().startswith('<div id="results"')  # type: ignore[arg-type]
    assert "HX-Request" in response["Vary"]


def test_an_unknown_filter_counts_as_not_given(client: Client, world: World) -> None:
    everything = re.search(r"\d+ found<", body(client.get("/priors")))  # type: ignore[arg-type]

    assert everything and everything[0] in body(client.get("/priors?modality=smell&kind=magic&after=999"))  # type: ignore[arg-type]


# ── repositories ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_prior_page_pins_its_snippets_to_the_version(client: Client, world: World) -> None:
    repository = Repository.objects.named("ada/char-ngrams").get()
    html = body(client.get("/ada/char-ngrams"))  # type: ignore[arg-type]

    assert repository.head is not None and repository.head.oid[:12] in html
    assert "vec.feat[B,D:4096]:f32" in html
    assert "Hashes **pieces**" in html  # the card, until a worker has rendered it
    assert derive(repository.item.pk)
    assert "<strong>pieces</strong>" in body(client.get("/ada/char-ngrams"))  # type: ignore[arg-type]
    assert "Results it took part in" in html


def test_an_old_version_says_that_it_is_old(client: Client, ada: User, world: World) -> None:
    old = Repository.objects.named("ada/char-ngrams").get().head
    assert old is not None
    html = body(client.get(f"/ada/char-ngrams/v/{old.oid}"))  # type: ignore[arg-type]

    assert "See the newest" not in html
    assert client.get("/ada/char-ngrams/v/0123456789").status_code == 404


def test_a_composition_is_drawn(client: Client, world: World) -> None:
    html = body(client.get("/ada/topics-model"))  # type: ignore[arg-type]

    assert "from data to prediction, using char-ngrams" in html
    assert 'href="/ada/char-ngrams"' in html


def test_a_private_repository_looks_like_none(client: Client, ada: User) -> None:
    make_task(ada, "secret", private=True)

    private, unknown = client.get("/ada/secret"), client.get("/ada/nothing")

    assert private.status_code == unknown.status_code == 404
    strip = re.compile(r'value="[A-Za-z0-9]{64}"|/ada/\w+|%2Fada%2F\w+|next=[^"]*')
    assert strip.sub("", body(private)) == strip.sub("", body(unknown))  # type: ignore[arg-type]


def test_a_repository_without_a_commit_says_how_to_push(client: Client, ada: User) -> None:
    make_repository(ada, "fresh")

    assert "priorhub push" in body(client.get("/ada/fresh"))  # type: ignore[arg-type]


def test_running_needs_an_account(client: Client, world: World) -> None:
    response = client.post("/ada/topics/run", {"kind": "recommend"})

    assert response.status_code == 302 and response["Location"].startswith("/login")
    assert "sign in" in body(client.get("/ada/topics"))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["recommend", "fit", "benchmark"])
def test_a_task_runs_from_its_page(signed_in: Client, ada: User, kind: str) -> None:
    make_task(ada)

    response = signed_in.post("/ada/topics/run", {"kind": kind})

    job = Job.objects.get()
    assert response["Location"] == f"/jobs/{job.pk}"
    assert (job.kind, job.owner, job.status) == (kind, ada, "queued")


def test_what_a_recommendation_may_cost_is_asked_on_the_tasks_page(signed_in: Client, ada: User) -> None:
    make_task(ada)
    cost = {
        "budget_mb": "50",
        "license": "sell",
        "minutes": "",
        "memory_mb": "2000.5",
        "latency_ms": "20",
        "price": "12.5",
    }
    given = {"kind": "recommend", **cost}

    signed_in.post("/ada/topics/run", given)
    wrong = signed_in.post("/ada/topics/run", given | {"minutes": "-7"})

    numbers = {"budget_mb": 50.0, "memory_mb": 2000.5, "latency_ms": 20.0, "price": 12.5}
    assert Job.objects.get().spec["limits"] == numbers | {"license": "sell"}
    html = body(wrong)
    assert wrong.status_code == 422 and "greater than or equal to 0" in html
    assert " open><summary>What it may cost" in html and 'value="-7"' in html and 'aria-invalid="true"' in html


def test_an_unknown_kind_of_job_is_explained(signed_in: Client, ada: User) -> None:
    make_task(ada)

    response = signed_in.post("/ada/topics/run", {"kind": "mine-bitcoin"})

    assert response.status_code == 422
    assert "is no kind of job" in body(response)  # type: ignore[arg-type]


def test_deleting_asks_for_the_name(signed_in: Client, ada: User) -> None:
    make_task(ada)

    refused = signed_in.post("/ada/topics/delete", {"name": "topics"})
    assert refused.status_code == 422 and Repository.objects.exists()

    assert signed_in.post("/ada/topics/delete", {"name": "ada/topics"})["Location"] == "/"
    assert not Repository.objects.exists()


def test_somebody_else_cannot_delete(client: Client, ada: User) -> None:
    make_task(ada)
    client.force_login(make_user("eve"))

    response = client.post("/ada/topics/delete", {"name": "ada/topics"})

    assert response.status_code == 403
    assert Repository.objects.exists()


def test_a_wrong_address_offers_near_names_that_are_public(client: Client, ada: User) -> None:
    make_prior(ada, "char-ngrams-large")
    make_prior(ada, "char-ngrams-secret", private=True)

    html = body(client.get("/ada/char-ngrams"))  # type: ignore[arg-type]

    assert "/ada/char-ngrams-large" in html and "secret" not in html
    assert "There is nothing here" in body(client.get("/no/such/page/at/all"))  # type: ignore[arg-type]


# ── jobs ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_running_job_says_how_far_it_is(job_page: Callable[[str], str]) -> None:
    html = job_page("running")

    assert "Step 3 of 9" in html and 'max="9" value="3"' in html
    assert 'data-live="true"' in html and "Features of char-ngrams" in html
    assert '<noscript><meta http-equiv="refresh"' in html


def test_a_failed_job_gives_its_cause_first(job_page: Callable[[str], str]) -> None:
    html = job_page("failed")

    assert "column &#x27;x&#x27; is NaN in row 3" in html
    assert "Run it again" in html


def test_a_recommendation_shows_sets_intervals_and_reasons(job_page: Callable[[str], str]) -> None:
    html = job_page("recommended")

    assert "layers_2_6 + char-ngrams" in html
    assert "the set is 3 points above the best single one" in html
    assert 'role="img"' in html and "sentence meaning from the middle layers" in html


def test_a_recommendation_says_what_each_prior_is_worth_and_what_would_change_it(
    job_page: Callable[[str], str],
) -> None:
    html = job_page("recommended")

    assert "column &#x27;id&#x27; is enough to tell" in html
    assert "+3.1 points" in html and "+0.4 points to +5.8 points" in html
    assert "About 340 labelled rows in all would tell the set from layers_2_6." in html
    assert "headlines (agreement 0.71; best there: lab/e5#layer_6)" in html
    assert "old-encoder (it has read 64 rows only)" in html
    assert "set with an adapted member: as was measured on texts" in html
    assert "-0.2 points" in html and "(beyond the limits)" in html


@pytest.mark.parametrize("odd", [None, "text", 7, [1], {"parts": 3, "credits": [{}], "nearest": [{"agreement": "x"}]}])
def test_a_strange_explanation_is_no_error(signed_in: Client, ada: User, odd: Any) -> None:
    result = {**ranking(), "explained": odd, "prospects": odd, "passed": [{}, {"rows": "many"}, 4]}
    make_task(ada)
    job = make_job(ada, "recommend", "done", result=result)

    assert signed_in.get(f"/jobs/{job.pk}").status_code == 200


def test_no_recommendation_is_said_plainly(signed_in: Client, ada: User) -> None:
    make_task(ada)
    job = make_job(ada, "recommend", "done", result={**ranking(), "answer": "none"})

    assert "We do not expect a prior to help here." in body(signed_in.get(f"/jobs/{job.pk}"))  # type: ignore[arg-type]


def test_a_fit_leads_to_its_model(job_page: Callable[[str], str]) -> None:
    html = job_page("fitted")

    assert 'href="/ada/topics-model"' in html
    assert "Why these priors" in html


@pytest.mark.parametrize("result", [{}, {"singles": [{}], "sets": [{"name": "x"}]}, {"best": {"name": "x"}}])
def test_a_result_with_fields_missing_is_still_shown(signed_in: Client, ada: User, result: dict[str, Any]) -> None:
    for kind in ("recommend", "fit", "benchmark", "predict"):
        job = make_job(ada, kind, "done", result=result)

        assert signed_in.get(f"/jobs/{job.pk}").status_code == 200


def test_jobs_of_others_do_not_exist(client: Client, world: World) -> None:
    client.force_login(make_user("eve"))

    assert client.get(f"/jobs/{world['running'].pk}").status_code == 404
    assert client.post(f"/jobs/{world['running'].pk}/cancel").status_code == 404


def test_cancel_asks_the_job_to_stop(signed_in: Client, world: World) -> None:
    signed_in.post(f"/jobs/{world['running'].pk}/cancel")

    world["running"].refresh_from_db()
    assert world["running"].cancel_requested
    assert "Stopping at the next step" in body(signed_in.get(f"/jobs/{world['running'].pk}"))  # type: ignore[arg-type]


# ── results ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_result_has_table_plots_and_sentence(client: Client, world: World) -> None:
    html = body(client.get(f"/results/{world['result'].pk}"))  # type: ignore[arg-type]

    assert html.count('role="img"') == 2
    assert "16 labels a class with the recommended set" in html
    assert "73.9\u00a0%" in html and "Show as table" in html


def test_a_result_comes_as_csv_and_json(client: Client, world: World) -> None:
    number = world["result"].pk
    csv = body(client.get(f"/results/{number}.csv"))  # type: ignore[arg-type]

    assert csv.splitlines()[0] == "name,kind,priors,accuracy,low,high,seconds"
    assert len(csv.splitlines()) == 9
    assert client.get(f"/results/{number}.json").json()["labels_per_class"] == 16


def test_a_spreadsheet_formula_in_a_name_is_defused(client: Client, ada: User) -> None:
    result = make_result(ada, make_task(ada).repository)
    result.report["rows"][0]["name"] = "=HYPERLINK(1)"
    result.save()

    assert "'=HYPERLINK(1)" in body(client.get(f"/results/{result.pk}.csv"))  # type: ignore[arg-type]


def test_results_on_private_data_are_private(client: Client, ada: User) -> None:
    result = make_result(ada, make_task(ada, private=True).repository)

    for address in (f"/results/{result.pk}", f"/results/{result.pk}.json", f"/results/{result.pk}.csv"):
        assert client.get(address).status_code == 404
    assert "ada/topics" not in body(client.get("/results"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (show.short_seconds(0.0412), "41 ms"),
        (show.short_seconds(200), "3 min 20 s"),
        (show.bytes_short(90_868_376), "90.9 MB"),
        (show.count(22_565_376), "22.6 M"),
        (show.count(1440), "1,440"),
        (show.percent(None), "unknown"),
        (show.metric(0.5, "r2"), "0.500"),
        (show.points(0.021), "+2.1 points"),
        (show.port_short("text.tokens[B,T,D:384]:f32@bert/layer_3"), "text.tokens 384"),
        (show.port_short("text.raw[B]:str"), "text.raw"),
        (show.prior_name("prior://priorhub/char-ngrams@sha256:00"), "priorhub/char-ngrams"),
    ],
)
def test_values_are_written_with_their_units(written: str, said: str) -> None:
    assert written == said
