"""Who may act: users, organisations' members and teams, and the tokens that act for them.

An organisation is a Namespace of kind `org` (hub/repos/models.py). What all of this adds up to is decided in access.py.
"""

from __future__ import annotations

from datetime import datetime
from typing import Self

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower
from django.utils import timezone

from hub.ids import uuid7


class Role(models.TextChoices):
    """What a member, a team or a token may do; each includes the ones before it."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"

    @classmethod
    def at_least(cls, role: str) -> list[str]:
        """`role` and those that include it, for `role__in=`."""
        return cls.values[cls.values.index(role) :]


class User(AbstractUser):
    """A person. Their namespace carries the same name (hub/accounts/services.py makes both).

    Suspended is `is_active=False`: neither password nor token opens the account, and it may nothing.
    """

    token: ApiToken | None = None
    """The token this request acts with, set by services.authenticate; None for a session, and for the hub's own work.

    It lives in memory only, and everything decided about the actor (access.py) is narrowed by it.
    """

    def __str__(self) -> str:
        return self.username


class Membership(models.Model):
    """A person in an organisation. The role holds for all its repositories; teams add to it."""

    organisation = models.ForeignKey("repos.Namespace", on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=8, choices=Role, default=Role.READ)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint("organisation", "user", name="one_membership_an_organisation_and_user")]
        ordering = ["user__username"]

    def __str__(self) -> str:
        return f"{self.user_id} in {self.organisation_id} ({self.role})"


class Invitation(models.Model):
    """An organisation asks a person to join. It counts only while the one who invited could still give that role."""

    organisation = models.ForeignKey("repos.Namespace", on_delete=models.CASCADE, related_name="invitations")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="invitations")
    role = models.CharField(max_length=8, choices=Role, default=Role.READ)
    invited_by = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint("organisation", "user", name="one_invitation_an_organisation_and_user")]
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"{self.user_id} to {self.organisation_id} ({self.role})"


class Team(models.Model):
    """Some members of an organisation, to give more on single repositories than their role gives on all."""

    organisation = models.ForeignKey("repos.Namespace", on_delete=models.CASCADE, related_name="teams")
    name = models.CharField(max_length=96)
    # To memberships, not users: who leaves the organisation is out of its teams by the same deletion.
    members = models.ManyToManyField(Membership, related_name="teams", blank=True)

    class Meta:
        constraints = [models.UniqueConstraint("organisation", Lower("name"), name="team_name_unique_in_organisation")]
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class TeamGrant(models.Model):
    """What a team may do with one repository of its organisation. It counts nowhere else, so a move takes it away."""

    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="grants")
    repository = models.ForeignKey("repos.Repository", on_delete=models.CASCADE, related_name="team_grants")
    role = models.CharField(max_length=8, choices=Role, default=Role.WRITE)

    class Meta:
        constraints = [models.UniqueConstraint("team", "repository", name="one_grant_a_team_and_repository")]

    def __str__(self) -> str:
        return f"{self.role} for team {self.team_id} on {self.repository_id}"


class ApiTokenQuerySet(models.QuerySet["ApiToken"]):
    def visible_to(self, actor: object) -> Self:
        """A person's own tokens; none for somebody who acts with a fine-grained one."""
        if not isinstance(actor, User) or (actor.token is not None and not actor.token.covers(Role.READ)):
            return self.none()
        return self.filter(user=actor)

    def usable(self, now: datetime) -> Self:
        """Neither revoked nor expired, of an active user."""
        return self.filter(Q(expires_at=None) | Q(expires_at__gt=now), revoked_at=None, user__is_active=True)


class ApiToken(models.Model):
    """A bearer token. Only its SHA-256 is stored: whoever reads the database cannot act with it."""

    class Role(models.TextChoices):
        READ = "read"
        WRITE = "write"
        FINE_GRAINED = "fine_grained", "fine-grained"

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="tokens")
    name = models.CharField(max_length=100, help_text="what it is for, in the owner's words")
    prefix = models.CharField(max_length=8, help_text="the first characters, to recognise it by")
    digest = models.CharField(max_length=64, unique=True, help_text="SHA-256 of the whole token, hex")
    role = models.CharField(
        max_length=16, choices=Role, default=Role.READ, help_text="fine_grained: only what its scopes name"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    last_address = models.CharField(
        max_length=16, blank=True, default="", help_text="keyed digest of where it was last used from (sightings.py)"
    )
    two_addresses_at = models.DateTimeField(
        null=True, blank=True, help_text="when it was last used from two addresses within minutes"
    )
    revoked_at = models.DateTimeField(null=True, blank=True)
    objects = ApiTokenQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    def covers(self, role: str) -> bool:
        """Whether it gives `role` wherever its user has it. A write token does for all; a fine-grained for none."""
        return self.role == self.Role.WRITE or (self.role == self.Role.READ and role == Role.READ)

    @property
    def scopes(self) -> list[str]:
        """What the token may do, spelled out: `read`, `write`, or `write:ann/mail` and `read:lab/*`."""
        match self.role:
            case self.Role.WRITE:
                return ["read", "write"]
            case self.Role.READ:
                return ["read"]
        return [str(scope) for scope in self.scope_rows.select_related("namespace", "repository__namespace")]

    @property
    def may_write(self) -> bool:
        """Whether there is any place where it may more than read."""
        if self.role == self.Role.FINE_GRAINED:
            return self.scope_rows.filter(role__in=Role.at_least(Role.WRITE)).exists()
        return self.role == self.Role.WRITE

    @property
    def is_usable(self) -> bool:
        """Not revoked and not expired."""
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > timezone.now())


class TokenScope(models.Model):
    """One place a fine-grained token reaches: a whole namespace, or one repository, by id and not by name."""

    token = models.ForeignKey(ApiToken, on_delete=models.CASCADE, related_name="scope_rows")
    role = models.CharField(max_length=8, choices=Role)
    namespace = models.ForeignKey("repos.Namespace", null=True, on_delete=models.CASCADE, related_name="+")
    repository = models.ForeignKey("repos.Repository", null=True, on_delete=models.CASCADE, related_name="+")

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(namespace=None) ^ Q(repository=None), name="token_scope_names_one_place"
            ),
        ]
        ordering = ["pk"]

    def __str__(self) -> str:
        where = f"{self.namespace}/*" if self.namespace is not None else str(self.repository)
        return f"{self.role}:{where}"


class SetupLink(models.Model):
    """The one-time right to become the first administrator, printed by `manage.py up`."""

    digest = models.CharField(max_length=64, unique=True, help_text="SHA-256 of the secret in the link, hex")
    created_at = models.DateTimeField(auto_now_add=True)
    consumed_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"set-up link of {self.created_at:%Y-%m-%d %H:%M}"


class SignUpLink(models.Model):
    """The one-time right to make an account, given by an administrator where sign-up is by invitation."""

    digest = models.CharField(max_length=64, unique=True, help_text="SHA-256 of the secret in the link, hex")
    made_by = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    consumed_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"sign-up link of {self.created_at:%Y-%m-%d %H:%M}"


class AccessRequest(models.Model):
    """That a person, or an organisation for all its members, wants or has the files of a gated repository."""

    class Status(models.TextChoices):
        PENDING = "pending"
        ACCEPTED = "accepted"
        REJECTED = "rejected"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    repository = models.ForeignKey("repos.Repository", on_delete=models.CASCADE, related_name="access_requests")
    user = models.ForeignKey(User, null=True, on_delete=models.CASCADE, related_name="access_requests")
    organisation = models.ForeignKey(
        "repos.Namespace", null=True, on_delete=models.CASCADE, related_name="access_requests"
    )
    status = models.CharField(max_length=8, choices=Status, default=Status.PENDING)
    fields = models.JSONField(default=dict, help_text="what the owner wanted to know, as the requester answered")
    reason = models.CharField(max_length=500, blank=True, help_text="why it was rejected")
    created_at = models.DateTimeField(auto_now_add=True)
    due_at = models.DateTimeField(null=True, help_text="until when the owner should answer; None: not asked by hand")
    decided_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(user=None) ^ Q(organisation=None), name="access_request_is_for_one_of_both"
            ),
            models.UniqueConstraint("repository", "user", name="one_access_request_a_repository_and_user"),
            models.UniqueConstraint(
                "repository", "organisation", name="one_access_request_a_repository_and_organisation"
            ),
        ]
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"{self.user or self.organisation} to {self.repository} ({self.status})"

    @property
    def is_overdue(self) -> bool:
        """Whether the owner let the deadline pass without an answer."""
        return self.status == self.Status.PENDING and self.due_at is not None and self.due_at < timezone.now()


class RateWindow(models.Model):
    """How much of a limit is used up (rates.py). `started` is seconds since 1970, to be compared without conversion."""

    key = models.CharField(max_length=200, primary_key=True)
    started = models.FloatField()
    spent = models.PositiveIntegerField()

    def __str__(self) -> str:
        return f"{self.key}: {self.spent}"


class AuditEntry(models.Model):
    """One act that somebody may have to account for. Rows are only added (audit.py); the database refuses the rest.

    It names users and places by text and number, not by foreign key: a key would have to change when they go.
    """

    at = models.DateTimeField()
    action = models.CharField(max_length=64)
    actor = models.CharField(max_length=150, blank=True, help_text="the user's name; empty: the hub itself")
    token = models.CharField(max_length=8, blank=True, help_text="first characters of the token they acted with")
    namespace = models.CharField(max_length=96, blank=True, help_text="whose admins may read this entry")
    subject = models.CharField(max_length=300, blank=True)
    detail = models.JSONField(default=dict)
    previous = models.CharField(max_length=64, blank=True, help_text="digest of the entry before; empty for the first")
    digest = models.CharField(max_length=64, unique=True)

    class Meta:
        ordering = ["pk"]
        indexes = [models.Index("namespace", "id", name="audit_of_a_namespace")]

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M} {self.actor or 'hub'} {self.action} {self.subject}"
