"""Work that outlives a request. The Job row is the truth; the broker only wakes workers."""

from __future__ import annotations

from typing import Self

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

from hub.accounts.access import Actor, acts, administers
from hub.accounts.models import Role
from hub.ids import uuid7
from hub.repos.models import Blob


class JobQuerySet(models.QuerySet["Job"]):
    def visible_to(self, actor: Actor) -> Self:
        """The actor's own; all for an administrator."""
        if administers(actor, Role.READ):
            return self
        return self.filter(owner=actor.pk) if acts(actor, Role.READ) else self.none()

    def live(self) -> Self:
        """Waiting or running."""
        return self.filter(status__in=Job.LIVE)


class Job(models.Model):
    """One piece of work: what is wanted (`spec`), how far it is, and what came of it."""

    class Kind(models.TextChoices):
        RECOMMEND = "recommend"
        FIT = "fit"
        BENCHMARK = "benchmark"
        PREDICT = "predict"
        IMPORT = "import"
        VERIFY = "verify"
        RETRAIN = "retrain"

    class Status(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        DONE = "done"
        FAILED = "failed"
        CANCELLED = "cancelled"

    LIVE = (Status.QUEUED, Status.RUNNING)

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    kind = models.CharField(max_length=16, choices=Kind)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="jobs")
    queue = models.CharField(max_length=16)
    spec = models.JSONField()
    key = models.CharField(
        max_length=64, db_index=True, help_text="SHA-256 of kind, spec and owner: asking twice is one job"
    )
    status = models.CharField(max_length=16, choices=Status, default=Status.QUEUED)
    attempt = models.PositiveIntegerField(default=0, help_text="how often a worker has started it")
    fence = models.PositiveIntegerField(default=0, help_text="rises with every claim; a late writer carries an old one")
    step = models.PositiveBigIntegerField(default=0)
    of = models.PositiveBigIntegerField(default=0)
    message = models.CharField(max_length=500, blank=True)
    result = models.JSONField(null=True, blank=True)
    output = models.ForeignKey(
        Blob,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="jobs",
        help_text="a file it made, to download",
    )
    error = models.JSONField(null=True, blank=True, help_text="code and detail, once it failed")
    cancel_requested = models.BooleanField(default=False)
    worker = models.CharField(max_length=200, blank=True, help_text="host:pid of the last claim")
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True, blank=True)
    heartbeat_at = models.DateTimeField(null=True, blank=True)
    woken_at = models.DateTimeField(null=True, blank=True, help_text="when its queue was last told of it")
    finished_at = models.DateTimeField(null=True, blank=True)
    objects = JobQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["key"], condition=Q(status__in=["queued", "running"]), name="one_live_job_a_key"
            ),
        ]
        indexes = [models.Index(fields=["status", "heartbeat_at"], name="job_status_heartbeat")]

    def __str__(self) -> str:
        return f"{self.kind} {self.id}"

    def get_absolute_url(self) -> str:
        """The job's page."""
        return f"/jobs/{self.id}"

    @property
    def is_live(self) -> bool:
        """Waiting or running: it will still change."""
        return self.status in self.LIVE

    @property
    def progress(self) -> float | None:
        """Between 0 and 1; None while the number of steps is unknown."""
        if self.status == self.Status.DONE:
            return 1.0
        return min(1.0, self.step / self.of) if self.of else None

    @property
    def seconds(self) -> float | None:
        """How long it has run, or ran; None before it started."""
        if self.started_at is None:
            return None
        return ((self.finished_at or timezone.now()) - self.started_at).total_seconds()


class SourceToken(models.Model):
    """What an import shows to the other hub: encrypted, a row of its own, and gone when the job ends (secret.py).

    Not a field of Job: nothing that reads, lists or copies jobs can carry it along.
    """

    job = models.OneToOneField(Job, primary_key=True, on_delete=models.CASCADE, related_name="source_token")
    sealed = models.TextField()

    def __str__(self) -> str:
        return f"token for {self.job_id}"


class JobEvent(models.Model):
    """What happened to a job, in order of id (two events can share a millisecond)."""

    class Kind(models.TextChoices):
        STATUS = "status"
        PROGRESS = "progress"

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="events")
    at = models.DateTimeField(auto_now_add=True)
    kind = models.CharField(max_length=16, choices=Kind)
    data = models.JSONField()

    class Meta:
        ordering = ["id"]
        indexes = [models.Index(fields=["job", "id"], name="event_job_id")]

    def __str__(self) -> str:
        return f"{self.kind} of {self.job_id}"
