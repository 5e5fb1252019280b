"""Names that are not given out again."""

from __future__ import annotations

from django.db import models

from hub.repos.models.repositories import Namespace, Repository


class RetiredName(models.Model):
    """A name that was somebody's and will never be somebody else's (retired.py)."""

    key = models.CharField(max_length=220, unique=True, help_text="`ann`, `models/ann/mail`; lower case")
    repository = models.ForeignKey(
        Repository, null=True, on_delete=models.SET_NULL, related_name="former_names",
        help_text="which repository left this name; None once it is gone, or when it was deleted under it",
    )  # fmt: skip
    namespace = models.ForeignKey(
        Namespace, null=True, on_delete=models.SET_NULL, related_name="former_names",
        help_text="which person or organisation left this name for another",
    )  # fmt: skip
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.key
