"""One journey through a real hub in a real browser: set up, search, a prior, a task, jobs watched live, a result.

Chromium comes from the system (Debian: `apt-get install chromium`); without it the test is skipped. Screenshots at
390 and 1280 px go to PRIORHUB_SCREENSHOTS (a folder). README's picture is made with
PRIORHUB_README_IMAGE=docs/images/home.png JOURNEY_TASK=topics.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.web import browser

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

ROOT = Path(__file__).parents[2]
CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)
TASK = os.environ.get("JOURNEY_TASK", "wine")
JOB_S = 300

pytestmark = [
    pytest.mark.web,
    pytest.mark.starter,
    pytest.mark.skipif(not CHROMIUM, reason="no Chromium here: apt-get install chromium"),
]


@dataclass(frozen=True)
class Running:
    """A hub that was started for this test."""

    url: str
    setup: str


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """`manage.py up` on a free port and an empty home, stopped with its whole group afterwards."""
    folder = tmp_path_factory.mktemp("journey")
    log = folder / "up.log"
    variables = {**os.environ, "PRIORHUB_HOME": str(folder / "home"), "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}
    variables.pop("DJANGO_SETTINGS_MODULE", None)
    with log.open("w") as out:
        started = subprocess.Popen(
            [sys.executable, "manage.py", "up", "--port", "0"],
            cwd=ROOT, env=variables, stdout=out, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        yield _wait_for(started, log)
    finally:
        started.send_signal(signal.SIGINT)
        try:
            started.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(started.pid, signal.SIGKILL)
            started.wait()


def _wait_for(started: subprocess.Popen[bytes], log: Path) -> Running:
    until = time.monotonic() + 240  # seeding converts the starter packages first
    while time.monotonic() < until and started.poll() is None:
        said = log.read_text()
        address = re.search(r"The hub is at (http://\S+?)/? ", said)
        setup = re.search(r"(http://\S+/setup\S+)", said)
        if address and setup:
            return Running(address[1], setup[1])
        time.sleep(0.2)
    raise AssertionError(f"the hub did not start:\n{log.read_text()[-4000:]}")


@pytest.fixture(scope="module")
def opened(hub: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[browser.Visit]:
    """A browser whose visitor became the first administrator, by the link in the terminal."""
    shots = Path(os.environ.get("PRIORHUB_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    shots.mkdir(parents=True, exist_ok=True)
    with browser.open_visit(CHROMIUM, hub.url, profile=tmp_path_factory.mktemp("profile"), shots=shots) as visit:
        page = visit.page
        page.goto(hub.setup)
        page.get_by_label("Name").fill("ada")
        page.get_by_label("Password").fill("correct horse battery")
        page.get_by_role("button", name="Create the account").click()
        page.get_by_role("link", name="ada", exact=True).wait_for()
        visit.shoot("first-visit")
        yield visit


@pytest.fixture
def visit(opened: browser.Visit) -> Iterator[browser.Visit]:
    """The same browser for every test; each answers for its own problems."""
    yield opened
    found, opened.problems[:] = list(opened.problems), []
    assert found == []


def test_from_a_search_to_a_measured_result(hub: Running, visit: browser.Visit) -> None:
    page = visit.page

    page.goto(hub.url)
    # search: typing is enough, the address follows
    page.keyboard.press("/")
    page.keyboard.type("sentence")
    page.keyboard.press("Enter")
    page.get_by_role("link", name="all-minilm-l6-v2").wait_for()
    page.get_by_label("Search priors").fill("character")
    page.wait_for_url(re.compile("q=character"))
    page.get_by_role("link", name="char-ngrams").wait_for()
    page.get_by_role("link", name=re.compile("^Text")).click()
    page.wait_for_url(lambda url: "modality=text" in url and "q=character" in url)
    visit.shoot("search")

    # a prior
    page.get_by_role("link", name="char-ngrams").click()
    page.get_by_role("heading", level=1, name="priorhub/char-ngrams").wait_for()
    assert page.get_by_text("from priors import Hub").is_visible()
    visit.shoot("prior")

    # a task: which priors?
    page.goto(f"{hub.url}/priorhub/{TASK}")
    visit.shoot("task")
    page.get_by_text("What it may cost").click()
    page.get_by_label("Size, at most").fill("500")
    page.get_by_label("License").select_option("sell")
    visit.shoot("limits")
    page.get_by_role("button", name="Recommend").click()
    visit.watch_job_to_its_end(seconds=JOB_S)
    page.get_by_text("Expected score on new rows").wait_for()
    assert page.get_by_role("img").count() == 1
    visit.shoot("recommendation")

    # fit what was recommended; the model is a repository with a drawn graph
    page.get_by_role("button", name="Fit this").click()
    visit.watch_job_to_its_end(seconds=JOB_S)
    page.get_by_role("link", name="Open the model").click()
    page.get_by_role("group", name=re.compile("steps from data to prediction")).wait_for()
    visit.shoot("model")

    # measure it
    page.goto(f"{hub.url}/priorhub/{TASK}")
    page.get_by_role("button", name="Benchmark").click()
    visit.watch_job_to_its_end(seconds=JOB_S)
    page.get_by_role("link", name="Open the result").click()
    page.get_by_role("heading", name="The numbers").wait_for()
    assert page.get_by_role("img").count() == 2
    assert page.get_by_role("row").filter(has_text="recommended").count() == 1
    visit.shoot("result")

    # home shows it, in both color schemes
    page.goto(hub.url)
    page.get_by_text("Newest results, measured here").wait_for()
    visit.shoot("home")
    if image := os.environ.get("PRIORHUB_README_IMAGE"):
        visit.picture(ROOT / image)
    page.get_by_role("button", name="Dark").click()
    assert page.locator("html").get_attribute("data-theme") == "dark"
    visit.shoot("home-dark")


def test_a_table_of_ones_own_from_upload_to_predictions(hub: Running, visit: browser.Visit, tmp_path: Path) -> None:
    table = tmp_path / "flats.csv"
    rows = [f"{20 + 3 * n},{n % 4},{'large' if n > 20 else 'small'}" for n in range(40)]
    table.write_text("\n".join(["size,rooms,kind", *rows, "33,1,", "120,3,"]) + "\n")
    page = visit.page

    page.goto(f"{hub.url}/try")
    page.get_by_label("Drop a CSV here").set_input_files(table)
    assert "flats.csv" in page.locator("[data-chosen]").inner_text()
    page.get_by_role("button", name="Continue").click()
    assert page.get_by_role("radio", name="kind").is_checked()
    visit.shoot("own-data")
    page.get_by_role("button", name="Find the best priors and fit").click()
    visit.watch_job_to_its_end(seconds=JOB_S)
    visit.shoot("own-model")

    page.get_by_role("button", name="Predict all rows").click()
    visit.watch_job_to_its_end(seconds=JOB_S)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the CSV").click()
    lines = Path(download.value.path()).read_text().splitlines()
    assert len(lines) == 43 and "prediction" in lines[0]

    page.goto(f"{hub.url}/ada/flats/delete")
    page.get_by_label("Type ada/flats").fill("ada/flats")
    page.get_by_role("button", name="Delete for good").click()
    page.get_by_text("ada/flats is deleted").wait_for()


def test_the_site_works_without_scripts(hub: Running, visit: browser.Visit) -> None:
    page = visit.without_scripts()

    page.goto(f"{hub.url}/priors?q=image")
    page.get_by_role("link", name=re.compile("^Networks")).click()
    page.get_by_role("link", name="efficientnet-lite0").click()
    page.get_by_role("heading", level=1, name="efficientnet-lite0").wait_for()
    page.get_by_role("button", name="Light").click()
    assert page.locator("html").get_attribute("data-theme") == "light"
