"""What was measured by this hub: one row a finished benchmark."""

from __future__ import annotations

from typing import Any, Self

from django.db import models
from django.db.models import Q

from hub.accounts.access import Actor, along, reaches, readable
from hub.accounts.models import Role
from hub.jobs.models import Job
from hub.repos.models import Repository


class ResultQuerySet(models.QuerySet["Result"]):
    def visible_to(self, actor: Actor) -> Self:
        """Results on tasks the actor may see; those of a private time only where the actor reaches the task."""
        known = Q(private=False) | along("task__", reaches(actor, Role.READ))
        return self.filter(known, along("task__", readable(actor)))

    def for_cards(self) -> Self:
        """With everything a list shows of a result."""
        return self.select_related("task__namespace", "job__owner")


class Result(models.Model):
    """The report of one benchmark job on one task."""

    job = models.OneToOneField(Job, on_delete=models.CASCADE, related_name="benchmark")
    task = models.ForeignKey(Repository, on_delete=models.CASCADE, related_name="results")
    commit = models.CharField(max_length=40, help_text="the task's commit that was measured")
    report = models.JSONField()
    private = models.BooleanField(
        default=False, help_text="the task was private then, so the report may name private priors"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    objects = ResultQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"{self.task} {self.created_at:%Y-%m-%d %H:%M}"

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The report's table."""
        rows: list[dict[str, Any]] = self.report.get("rows", [])
        return rows
