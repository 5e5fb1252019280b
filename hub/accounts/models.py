"""Who may act: users, the tokens that act for them, and the link that makes the first administrator."""

from __future__ import annotations

from datetime import datetime
from typing import Self

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.db.models import Q
from django.utils import timezone


class User(AbstractUser):
    """A person. Their namespace carries the same name (hub/accounts/services.py makes both)."""

    def __str__(self) -> str:
        return self.username


class ApiTokenQuerySet(models.QuerySet["ApiToken"]):
    def visible_to(self, actor: object) -> Self:
        """A person's own tokens."""
        return self.filter(user=actor) if isinstance(actor, User) else self.none()

    def usable(self, now: datetime) -> Self:
        """Neither revoked nor expired, of an active user."""
        return self.filter(Q(expires_at=None) | Q(expires_at__gt=now), revoked_at=None, user__is_active=True)


class ApiToken(models.Model):
    """A bearer token. Only its SHA-256 is stored: whoever reads the database cannot act with it."""

    class Scope(models.TextChoices):
        READ = "read"
        WRITE = "write"

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="tokens")
    name = models.CharField(max_length=100, help_text="what it is for, in the owner's words")
    prefix = models.CharField(max_length=8, help_text="the first characters, to recognise it by")
    digest = models.CharField(max_length=64, unique=True, help_text="SHA-256 of the whole token, hex")
    scope = models.CharField(max_length=8, choices=Scope, default=Scope.READ, help_text="write includes read")
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    objects = ApiTokenQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    @property
    def scopes(self) -> list[str]:
        """What the token may do, spelled out."""
        return ["read", "write"] if self.scope == self.Scope.WRITE else ["read"]

    @property
    def is_usable(self) -> bool:
        """Not revoked and not expired."""
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > timezone.now())


class SetupLink(models.Model):
    """The one-time right to become the first administrator, printed by `manage.py up`."""

    digest = models.CharField(max_length=64, unique=True, help_text="SHA-256 of the secret in the link, hex")
    created_at = models.DateTimeField(auto_now_add=True)
    consumed_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"set-up link of {self.created_at:%Y-%m-%d %H:%M}"
