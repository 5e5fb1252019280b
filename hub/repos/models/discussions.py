"""What is said about a repository, and the pull requests that come with it."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q

from hub.ids import uuid7
from hub.repos.models.repositories import Commit, Repository


class Discussion(models.Model):
    """A thread of a repository; with a branch `refs/pr/<number>` of its own it is a pull request."""

    class Status(models.TextChoices):
        DRAFT = "draft"
        OPEN = "open"
        CLOSED = "closed"
        MERGED = "merged"

    repository = models.ForeignKey(Repository, on_delete=models.CASCADE, related_name="discussions")
    number = models.PositiveIntegerField(help_text="counts from 1 in each repository; in the thread's address")
    title = models.CharField(max_length=200)
    is_pull = models.BooleanField(default=False)
    status = models.CharField(max_length=8, choices=Status, default=Status.OPEN)
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="discussions"
    )
    merge_commit = models.ForeignKey(Commit, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True, help_text="when something was last said or done")

    class Meta:
        constraints = [
            models.UniqueConstraint("repository", "number", name="discussion_number_unique_in_repository"),
            models.CheckConstraint(
                condition=Q(is_pull=True) | Q(status__in=["open", "closed"]), name="only_pulls_are_drafts_or_merged"
            ),
        ]
        ordering = ["-number"]

    def __str__(self) -> str:
        return f"#{self.number} {self.title}"

    def get_absolute_url(self) -> str:
        """The thread's page."""
        return f"{self.repository.get_absolute_url()}/discussions/{self.number}"

    @property
    def ref(self) -> str:
        """The name of a pull request's branch."""
        return f"refs/pr/{self.number}"

    @property
    def is_live(self) -> bool:
        """Whether it is neither closed nor merged."""
        return self.status in {self.Status.OPEN, self.Status.DRAFT}


class DiscussionEvent(models.Model):
    """Something said or done in a thread. The commits of a pull request are not among them: its branch has them."""

    class Kind(models.TextChoices):
        COMMENT = "comment"
        STATUS = "status-change"
        TITLE = "title-change"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    discussion = models.ForeignKey(Discussion, on_delete=models.CASCADE, related_name="events")
    kind = models.CharField(max_length=16, choices=Kind)
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    text = models.TextField(blank=True, help_text="a comment's Markdown; empty once it is hidden")
    html = models.TextField(blank=True, help_text="the same, made safe when it was written")
    edits = models.JSONField(default=list, blank=True, help_text="what a comment said before: raw, updatedAt, author")
    edited_at = models.DateTimeField(null=True, blank=True)
    edited_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    hidden_at = models.DateTimeField(null=True, blank=True)
    before = models.CharField(max_length=200, blank=True, help_text="the title or status until then")
    after = models.CharField(max_length=200, blank=True, help_text="the title or status from then on")

    class Meta:
        ordering = ["created_at", "id"]

    def __str__(self) -> str:
        return f"{self.kind} by {self.author_id} in {self.discussion_id}"
