"""Who likes what."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from hub.repos.models.repositories import Repository


class Like(models.Model):
    """That a person likes a repository; `Repository.likes` counts these rows (hub/repos/likes.py keeps both)."""

    repository = models.ForeignKey(Repository, on_delete=models.CASCADE, related_name="liked_by")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="likes")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint("repository", "user", name="one_like_a_repository_and_user")]
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.user_id} likes {self.repository_id}"
