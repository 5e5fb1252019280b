"""What was measured by this hub: benchmarks that somebody asked for, and runs on boards, which alone rank."""

from __future__ import annotations

import secrets
from typing import Any, Self

from django.conf import settings
from django.db import models
from django.db.models import Q

from hub.accounts.access import Actor, administers, along, governs, reaches, readable
from hub.accounts.models import Role
from hub.ids import uuid7
from hub.jobs.models import Job
from hub.repos.models import Namespace, Repository
from priors.errors import NotFound


class OfTask(models.Model):
    """What was measured on a task: its numbers outlive it, its rows do not (kept.py)."""

    task_name = models.CharField(max_length=200, blank=True, help_text="what the task was called when it was deleted")
    task_owner = models.ForeignKey(
        Namespace, null=True, on_delete=models.SET_NULL, related_name="+", help_text="whose the deleted task was"
    )
    task_private = models.BooleanField(
        default=True, help_text="whether the deleted task was private: others than its readers see nothing of it"
    )

    class Meta:
        abstract = True

    @property
    def task_called(self) -> str:
        """The task's name, also of one that was deleted."""
        task: Repository | None = getattr(self, "task")  # noqa: B009 each model has its own kind of key
        return task.full_name if task is not None else self.task_name

    @property
    def live_task(self) -> Repository:
        """The task. Raises NotFound once it is deleted."""
        task: Repository | None = getattr(self, "task")  # noqa: B009
        if task is None:
            raise NotFound(f"The task {self.task_name} was deleted. What was measured on it stays, and nothing more.")
        return task


def _measured_for(actor: Actor, path: str = "") -> Q:
    """What was measured on tasks the actor may see, or might when they were deleted.

    What was measured while a task was private is for those who reach it alone. Of a deleted one these are the people of
    the namespace it was of.
    """
    known = Q(private=False) | along(f"{path}task__", reaches(actor, Role.READ))
    was_seen = Q(private=False, **{f"{path}task_private": False})
    if administers(actor, Role.READ):
        was_seen = Q()
    else:
        was_seen |= along(f"{path}task_owner__", governs(actor, Role.READ))
    return (known & along(f"{path}task__", readable(actor))) | (Q(**{f"{path}task": None}) & was_seen)


class ResultQuerySet(models.QuerySet["Result"]):
    def visible_to(self, actor: Actor) -> Self:
        """Results on tasks the actor may see; those of a private time only where the actor reaches the task."""
        return self.filter(_measured_for(actor))

    def for_cards(self) -> Self:
        """With everything a list shows of a result."""
        return self.select_related("task__namespace", "job__owner")


class Result(OfTask):
    """The report of one benchmark job on one task. Kept for ever."""

    job = models.OneToOneField(Job, null=True, on_delete=models.SET_NULL, related_name="benchmark")
    task = models.ForeignKey(Repository, null=True, on_delete=models.SET_NULL, related_name="results")
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
        return f"{self.task_called} {self.created_at:%Y-%m-%d %H:%M}"

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The report's table."""
        rows: list[dict[str, Any]] = self.report.get("rows", [])
        return rows


def _salt() -> str:
    return secrets.token_hex(32)


class BoardQuerySet(models.QuerySet["Board"]):
    def visible_to(self, actor: Actor) -> Self:
        """Those of tasks the actor may see."""
        return self.filter(along("task__", readable(actor)))

    def gone(self, actor: Actor) -> Self:
        """Those of deleted tasks of which the actor sees runs."""
        return self.filter(task=None, pk__in=Run.objects.visible_to(actor).order_by().values("board"))

    def for_cards(self) -> Self:
        """With everything a list shows of a board."""
        return self.select_related("task__namespace", "task__head")


class Board(OfTask):
    """Where priors and compositions are compared on one task: how they are judged, and how often one may ask."""

    task = models.OneToOneField(Repository, null=True, on_delete=models.SET_NULL, related_name="board")
    labels = models.PositiveIntegerField(default=16, help_text="labelled rows a class to learn from")
    draws = models.PositiveSmallIntegerField(default=5, help_text="how often the labels are drawn anew")
    test_rows = models.PositiveIntegerField(default=1500, help_text="rows that judge, at most")
    budget = models.PositiveSmallIntegerField(
        default=5,
        help_text="answers a week for an account, its network, and a namespace whose people submit",
    )
    salt = models.CharField(max_length=64, default=_salt, editable=False, help_text="secret: the seeds come from it")
    created_at = models.DateTimeField(auto_now_add=True)
    objects = BoardQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"board of {self.task_called}"

    def get_absolute_url(self) -> str:
        """The board's page."""
        return f"/{self.task.full_name}/board" if self.task is not None else f"/boards/deleted/{self.pk}"


class HiddenRows(models.Model):
    """Rows that judge and that nobody gets: sealed, in a table of their own and not in the store.

    No commit, no blob and no lock names them, so nothing that resolves, lists, clones, copies or exports repositories
    can carry them along; only hub/boards/hidden.py opens them, inside workers. The newest of a board are in use.
    """

    board = models.ForeignKey(Board, on_delete=models.CASCADE, related_name="hidden")
    seal = models.CharField(max_length=64, help_text="SHA-256 of salt and file: says which rows, and nothing of them")
    name = models.CharField(max_length=100, help_text="of the file: its ending says how it is read")
    rows = models.PositiveIntegerField()
    sealed = models.BinaryField(help_text="nothing once the task is deleted")
    by_name = models.CharField(max_length=150)
    created_at = models.DateTimeField(auto_now_add=True, help_text="or when the same rows were sent again")

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [models.UniqueConstraint(fields=["board", "seal"], name="hidden_rows_once_a_board")]

    def __str__(self) -> str:
        return f"{self.rows} hidden rows of {self.board_id}"


class RunQuerySet(models.QuerySet["Run"]):
    def visible_to(self, actor: Actor) -> Self:
        """Those on boards the actor may see; of a private time only where the actor reaches the task."""
        return self.filter(_measured_for(actor, "board__"))

    def ranked(self) -> Self:
        """Those that may stand in a ranking: scored, and not withdrawn."""
        return self.filter(state=Run.State.SCORED, withdrawn_at=None)

    def for_cards(self) -> Self:
        """With everything a list shows of a run."""
        return self.select_related("board__task__namespace", "repository__namespace", "owner", "job").defer(
            "hits", "lock"
        )


class Run(models.Model):
    """One submission to a board, measured by one job of this hub. Kept for ever; withdrawn, it only leaves the ranking.

    `mean` to `error` are what was measured; of a board with hidden rows nobody is shown them, but `shown` (ladder.py).
    Names stand beside keys: a run outlives the account and the repository it is of.
    """

    class State(models.TextChoices):
        WAITING = "waiting"
        SCORED = "scored"
        FAILED = "failed"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    board = models.ForeignKey(Board, on_delete=models.CASCADE, related_name="runs")
    job = models.OneToOneField(Job, null=True, on_delete=models.SET_NULL, related_name="run")
    state = models.CharField(max_length=8, choices=State, default=State.WAITING)
    private = models.BooleanField(default=False, help_text="the task was private then: others do not see it later")

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="runs")
    owner_name = models.CharField(max_length=150)
    account = models.PositiveBigIntegerField(help_text="the owner's key, also once the account is gone")
    network = models.CharField(max_length=32, blank=True, help_text="keyed digest of the caller's address")
    namespace = models.CharField(max_length=96, help_text="of what was submitted")
    speaks = models.BooleanField(default=False, help_text="the owner is of that namespace: its budget paid, too")
    trusted = models.BooleanField(default=False, help_text="asked for by an administrator of the hub")

    submission = models.CharField(max_length=300, help_text="namespace/name of a prior or composition, perhaps #tap")
    repository = models.ForeignKey(
        Repository, null=True, on_delete=models.SET_NULL, related_name="board_runs",
        help_text="what was submitted, also under another name since; empty once it is deleted",
    )  # fmt: skip
    kind = models.CharField(max_length=16, help_text="prior or composition")
    commit = models.CharField(max_length=40, help_text="of the submission's repository")
    content = models.CharField(max_length=100, help_text="hash of what decides its outputs, whatever its name")

    edition = models.CharField(max_length=64, help_text="hash of everything two runs must share to be compared")
    task_commit = models.CharField(max_length=40)
    hidden = models.ForeignKey(HiddenRows, null=True, on_delete=models.RESTRICT, related_name="+")
    data = models.CharField(max_length=64, blank=True, help_text="fingerprint of the rows it was judged on")
    labels = models.PositiveIntegerField()
    draws = models.PositiveSmallIntegerField()
    test_rows = models.PositiveIntegerField(default=0)
    metric = models.CharField(max_length=32, blank=True)

    mean = models.FloatField(null=True)
    low = models.FloatField(null=True, help_text="of the 95 % interval over draws and rows")
    high = models.FloatField(null=True)
    low90 = models.FloatField(null=True)
    high90 = models.FloatField(null=True)
    error = models.FloatField(null=True, help_text="standard error from the rows that judged")
    step = models.FloatField(null=True, help_text="what the shown score is rounded to; 0: it is exact")
    shown = models.FloatField(
        null=True, help_text="what everybody sees; empty: not clearly above the same owner's best"
    )
    hits = models.BinaryField(null=True, editable=False, help_text="float32: each row's part in the score")
    lock = models.JSONField(default=dict, help_text="the pinned lock of what was fitted")
    facts = models.JSONField(default=dict, help_text="hardware, versions, seeds, what was skipped and why")
    problem = models.CharField(max_length=500, blank=True)

    withdrawn_at = models.DateTimeField(null=True)
    withdrawn_why = models.CharField(max_length=500, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True)
    objects = RunQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["board", "edition", "content"],
                condition=Q(state__in=["waiting", "scored"], withdrawn_at=None),
                name="one_run_a_content_and_edition",
            )
        ]
        indexes = [models.Index(fields=["board", "created_at"], name="run_board_created")]

    def __str__(self) -> str:
        return f"{self.submission} on {self.board_id}"

    def get_absolute_url(self) -> str:
        """The run's page."""
        return f"/boards/runs/{self.pk}"

    @property
    def called(self) -> str:
        """What was submitted, by the name it has now: that of something private is as it was when it was submitted."""
        _, mark, tap = self.submission.partition("#")
        if self.repository is None or self.repository.private:
            return self.submission
        return self.repository.full_name + mark + tap


class Outcome(models.Model):
    """The score of one way in one draw of a run: of what was submitted, or of what it is held against.

    The board's number of labels has every way; other numbers, for the label curve, the submission and no prior.
    """

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="outcomes")
    arm = models.CharField(max_length=16)
    name = models.CharField(max_length=300)
    members = models.JSONField(default=list)
    submitted = models.BooleanField(default=False)
    labels = models.PositiveIntegerField(help_text="labelled rows a class")
    draw = models.PositiveSmallIntegerField(help_text="which of the hub's seeds; the same number in every run")
    score = models.FloatField()
    low = models.FloatField()
    high = models.FloatField()
    seconds = models.FloatField(default=0)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(
                fields=["run", "arm", "submitted", "labels", "draw"], name="one_outcome_a_way_and_draw"
            )
        ]

    def __str__(self) -> str:
        return f"{self.arm} {self.draw}: {self.score:.4f}"


class Claim(models.Model):
    """A score that somebody says they have: shown as that, and read by nothing that ranks."""

    class Source(models.TextChoices):
        CARD = "card"
        ENTERED = "entered"

    board = models.ForeignKey(Board, on_delete=models.CASCADE, related_name="claims")
    repository = models.ForeignKey(Repository, on_delete=models.CASCADE, related_name="claims")
    source = models.CharField(max_length=8, choices=Source)
    metric = models.CharField(max_length=60, blank=True)
    score = models.FloatField()
    by_name = models.CharField(max_length=150, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-score"]
        constraints = [
            models.UniqueConstraint(fields=["board", "repository", "source"], name="one_claim_a_repository_and_source")
        ]

    def __str__(self) -> str:
        return f"{self.repository_id} claims {self.score:g}"


def _epoch() -> str:
    return secrets.token_hex(8)


class Version(models.Model):
    """The number of what was measured: one row, which every change of runs raises (versions.py)."""

    value = models.PositiveBigIntegerField(default=0)
    epoch = models.CharField(max_length=16, default=_epoch, help_text="tells a database that was put back from this")

    def __str__(self) -> str:
        return str(self.value)
