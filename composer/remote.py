"""`recommend` and `fit` run by a hub: the rows go there as a private task, the same code runs there as a job."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from composer._console import Report

if TYPE_CHECKING:
    from composer.graph import Graph
    from priors.client import Hub
    from priors.tasks import Task


def recommend(hub: Hub, task: Task, *, limits: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """The ranking as JSON, computed by the hub. Raises HubError, or the error the job failed with."""
    spec = {"task": send_task(hub, task, report=report), "limits": dict(limits)}
    return dict(hub.wait(hub.submit("recommend", spec), report))


def fit(
    hub: Hub,
    task: Task,
    graph: Graph | None,
    out: Path,
    *,
    push_to: str | None,
    options: Mapping[str, Any],
    report: Report,
) -> dict[str, Any]:
    """Fits on the hub, pulls the model into `out`, and returns the job's result with `repo` and `commit`.

    The model is kept as `push_to`, by default <me>/<task name>-model. `options` are those of `composer.fit.fit`: seed,
    fusion, class_weights, adapt, budget_seconds.
    """
    spec = {
        "task": send_task(hub, task, report=report),
        "composition": None if graph is None else graph.to_dict(),
        "push_to": push_to or f"{hub.whoami()['name']}/{_slug(task.name)}-model",
        **options,
        "private": True,
    }
    result = dict(hub.wait(hub.submit("fit", spec), report))
    hub.pull(result["repo"], result["commit"], to=out, report=report)
    return result


def send_task(hub: Hub, task: Task, *, report: Report) -> str:
    """Publishes the task as <me>/task-<fingerprint>, private, and returns its reference with the commit.

    Equal rows make an equal task: sent once, found again. Absolute paths to media are refused (BadTask).
    """
    repo = f"{hub.whoami()['name']}/task-{task.fingerprint[:16]}"
    with tempfile.TemporaryDirectory() as scratch:
        folder = task.save(Path(scratch) / "task", portable=True)
        commit = hub.push(folder, repo, f"Rows of {task.name}", "task", private=True, report=report)
    return f"{repo}@{commit}"


def _slug(name: str) -> str:
    """The name in the characters a repository may have."""
    kept = "".join(char if char.isascii() and char.isalnum() else "-" for char in name.lower())
    return "-".join(part for part in kept.split("-") if part)[:60] or "task"
