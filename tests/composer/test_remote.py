"""`--remote`: the rows go to a hub, a job does the work there, and what comes back is what a local run gives."""

import csv
import json
import sys

import pytest

from composer.cli import main
from composer.remote import send_task
from hub.accounts.services import create_token, create_user
from hub.jobs.tasks import run_job
from priors.client import Hub
from priors.errors import BadTask
from priors.tasks import Task
from tests.factories import function_manifest

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def hub(home, live_server, tmp_path, monkeypatch):
    """A hub with two function priors, whose worker is the thread that takes the request."""
    token = create_token(user=create_user(name="ada"), name="cli", role="write")[0]
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("PRIORHUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PRIORHUB_URL", live_server.url)
    monkeypatch.setenv("PRIORHUB_TOKEN", token)
    monkeypatch.setattr("hub.announce._send", lambda task, of, queue: run_job(of) if task == "jobs.run" else None)
    with Hub() as hub:
        for name in ("char_ngrams", "word_ngrams"):
            folder = tmp_path / "priors" / "ada" / name.replace("_", "-")
            folder.mkdir(parents=True)
            manifest = function_manifest(folder.name, function={"id": name, "config": {}})
            (folder / "prior.json").write_text(json.dumps(manifest))
            hub.push(folder, f"ada/{folder.name}")
        yield hub


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "train set.csv"
    words = (("win a free prize", "spam"), ("see you at dinner", "ham"))
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(
            [("text", "label"), *((f"{words[i % 2][0]} {i}", words[i % 2][1]) for i in range(16))]
        )
    return path


@pytest.fixture
def run(monkeypatch, capsys):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["priorhub", *map(str, arguments), "--json"])
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        out, err = capsys.readouterr()
        assert (left.value.code or 0) == 0, err
        return json.loads(out)

    return call


def test_a_remote_recommendation_is_the_local_one(hub, table, run, tmp_path):
    data = ["--data", table, "--target", "label"]

    far = run("recommend", *data, "--remote")
    near = run("recommend", *data, "--library", tmp_path / "priors")

    assert (far["answer"], far["best"]["members"]) == (near["answer"], near["best"]["members"])


def test_a_remote_fit_comes_back_as_the_model_a_local_fit_gives(hub, table, run, tmp_path):
    data = ["--data", table, "--target", "label"]

    far = run("fit", *data, "--remote", "--out", tmp_path / "far")
    near = run("fit", *data, "--library", tmp_path / "priors", "--out", tmp_path / "near")

    assert far["repo"] == "ada/train-set-model"
    assert far["model"] == near["model"]
    assert (tmp_path / "far/model.safetensors").read_bytes() == (tmp_path / "near/model.safetensors").read_bytes()
    assert run("verify", tmp_path / "far")["identity"] == far["model"]


def test_predictions_of_a_job_are_fetched_as_a_file(hub, table, run, tmp_path):
    fitted = run("fit", "--data", table, "--target", "label", "--remote", "--out", tmp_path / "far")
    data = send_task(hub, Task.from_csv(table, "label"), report=lambda *step, **more: None)

    job = hub.submit("predict", {"model": fitted["repo"], "data": data})
    result = hub.wait(job)
    path = hub.job_file(job, tmp_path / "predictions.csv")

    assert result["rows"] == 16
    with path.open(newline="") as file:
        assert {"prediction", "p_ham", "p_spam"} <= set(next(csv.DictReader(file)))


def test_equal_rows_are_sent_once_and_are_nobody_elses_business(hub, table, live_server):
    task = Task.from_csv(table, "label")

    first = send_task(hub, task, report=lambda *step, **more: None)
    second = send_task(hub, task, report=lambda *step, **more: None)

    assert first == second
    assert len(hub.commits(first.partition("@")[0])) == 1
    assert hub.show(first)["private"] is True


def test_files_outside_the_tables_folder_are_not_sent(hub, tmp_path):
    from PIL import Image

    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    task = Task.from_table({"p": [str(tmp_path / "a.png")] * 4, "y": ["a", "b"] * 2}, "y")

    with pytest.raises(BadTask, match="is absolute"):
        send_task(hub, task, report=lambda *step, **more: None)
