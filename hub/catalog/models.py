"""The catalogue: what is known about each published prior, derived from its main branch and never edited by hand."""

from __future__ import annotations

from typing import Self

from django.db import models

from hub.accounts.access import Actor
from hub.repos.models import Commit, Repository


class PriorQuerySet(models.QuerySet["Prior"]):
    def visible_to(self, actor: Actor) -> Self:
        """Priors of repositories the actor may see."""
        return self.filter(repository__in=Repository.objects.visible_to(actor))

    def open_to(self, actor: Actor) -> Self:
        """Those whose files the actor may have, too."""
        return self.filter(repository__in=Repository.objects.open_to(actor))

    def for_cards(self) -> Self:
        """With everything a card shows."""
        return self.select_related("repository__namespace", "commit").defer("card_html", "search_text")


class Prior(models.Model):
    """One prior at the tip of its repository's main branch."""

    class Kind(models.TextChoices):
        NETWORK = "network"
        FUNCTION = "function"

    repository = models.OneToOneField(Repository, on_delete=models.CASCADE, related_name="prior")
    commit = models.ForeignKey(Commit, on_delete=models.CASCADE, related_name="+")
    identity = models.CharField(max_length=71, db_index=True, help_text="sha256:… of what determines its outputs")
    manifest = models.JSONField(help_text="prior.json as it was committed")
    kind = models.CharField(max_length=16, choices=Kind)
    modality = models.CharField(max_length=16)
    default_tap = models.CharField(max_length=100)
    parameters = models.PositiveBigIntegerField()
    size_bytes = models.PositiveBigIntegerField(help_text="all files of the commit together")
    license = models.CharField(max_length=200, help_text="SPDX expression")
    summary = models.CharField(max_length=500)
    tags = models.JSONField(default=list)
    search_text = models.TextField(help_text="the words a search looks at")
    card_html = models.TextField(blank=True, help_text="README.md rendered and sanitised at commit")
    updated_at = models.DateTimeField(auto_now=True)
    objects = PriorQuerySet.as_manager()

    class Meta:
        ordering = ["-updated_at"]

    def __str__(self) -> str:
        return self.ref

    @property
    def ref(self) -> str:
        """`prior://namespace/name@sha256:…`, the name that also pins the content."""
        return f"prior://{self.repository.full_name}@{self.identity}"

    @property
    def takes(self) -> str:
        """The type of the first input port; the others (a mask) are derived from the same value."""
        inputs: dict[str, str] = self.manifest["inputs"]
        return next(iter(inputs.values()))

    @property
    def gives(self) -> dict[str, str]:
        """Type by tap."""
        taps: dict[str, str] = self.manifest["taps"]
        return taps
