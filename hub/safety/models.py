"""What may not be handed out, and why; what scans found; which commits are still to be scanned."""

from __future__ import annotations

from typing import Self

from django.conf import settings
from django.db import models
from django.db.models import Q


class HoldQuerySet(models.QuerySet["Hold"]):
    def standing(self) -> Self:
        """Those that were not lifted."""
        return self.filter(lifted_at=None)


class Hold(models.Model):
    """A reason why files may not be downloaded: of a repository, of one of its revisions, or bytes by their hash.

    It covers what agrees with every field that is set. Bytes are held by hash and not by row, so that deleting and
    sending them again frees nothing. A lifted hold stays for the record.
    """

    class Kind(models.TextChoices):
        QUARANTINE = "quarantine"  # a moderator suspects harm
        YANK = "yank"  # the owner took it back
        SCAN = "scan"  # a scan after the commit found what may not stand

    kind = models.CharField(max_length=12, choices=Kind)
    repository = models.ForeignKey(
        "repos.Repository", null=True, blank=True, on_delete=models.CASCADE, related_name="holds"
    )
    commit = models.ForeignKey("repos.Commit", null=True, blank=True, on_delete=models.CASCADE, related_name="holds")
    sha256 = models.CharField(max_length=64, blank=True)
    reason = models.CharField(max_length=500, help_text="shown to everybody who may see the repository")
    by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    by_name = models.CharField(max_length=150, help_text="as it was then: it outlives the account")
    created_at = models.DateTimeField(auto_now_add=True)
    lifted_at = models.DateTimeField(null=True, blank=True)
    lifted_by_name = models.CharField(max_length=150, blank=True)
    objects = HoldQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(repository__isnull=False) | ~Q(sha256=""), name="hold_covers_something"),
            models.CheckConstraint(
                condition=Q(commit=None) | Q(repository__isnull=False), name="held_commit_names_its_repository"
            ),
        ]
        indexes = [models.Index("sha256", condition=Q(lifted_at=None), name="standing_holds_by_hash")]
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"{self.kind}: {self.reason}"


class Finding(models.Model):
    """Something a check or a scan noticed about bytes, wherever they lie; shown beside the file."""

    class Rule(models.TextChoices):
        PICKLE = "pickle"
        HEADER = "header"
        NOT_FINITE = "not-finite"
        IMAGE = "image"

    sha256 = models.CharField(max_length=64)
    rule = models.CharField(max_length=12, choices=Rule)
    detail = models.CharField(max_length=300)

    class Meta:
        constraints = [models.UniqueConstraint("sha256", "rule", name="one_finding_a_rule_and_blob")]

    def __str__(self) -> str:
        return f"{self.rule} in {self.sha256[:12]}: {self.detail}"


class Scanned(models.Model):
    """That the slow scans went over these bytes, with the rules of that version."""

    sha256 = models.CharField(max_length=64, primary_key=True)
    rules = models.PositiveSmallIntegerField()
    at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return self.sha256


class ScanDue(models.Model):
    """A commit whose slow scans are not done. The row is the truth; messages to workers only hurry."""

    commit = models.OneToOneField("repos.Commit", on_delete=models.CASCADE, related_name="scan_due")
    tries = models.PositiveSmallIntegerField(default=0)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"scan of {self.commit_id}"
