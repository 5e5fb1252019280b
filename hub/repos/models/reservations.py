"""Room that is taken before bytes arrive."""

from __future__ import annotations

from django.db import models

from hub.repos.models.repositories import Namespace


class Reservation(models.Model):
    """Bytes that count against a namespace's quota though no commit of it has them (yet)."""

    namespace = models.ForeignKey(Namespace, on_delete=models.CASCADE, related_name="reservations")
    size = models.PositiveBigIntegerField()
    sha256 = models.CharField(max_length=64, blank=True, help_text="of the bytes, once they are here")
    expires_at = models.DateTimeField(help_text="a writer that died does not hold its room for ever")

    class Meta:
        indexes = [models.Index("namespace", "expires_at", name="reservations_of_a_namespace")]

    def __str__(self) -> str:
        return f"{self.size} bytes for {self.namespace_id}"
