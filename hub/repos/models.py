"""What is published: repositories with git-compatible commits over content-addressed blobs."""

from __future__ import annotations

from typing import Self

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db import models
from django.db.models import Exists, OuterRef, Q
from django.db.models.functions import Lower

from hub.ids import uuid7

Actor = AbstractBaseUser | AnonymousUser
"""Whoever asks: a user, or nobody in particular."""


class Namespace(models.Model):
    """The first half of a repository's name. One without an owner belongs to the hub itself (`priorhub`)."""

    class Kind(models.TextChoices):
        USER = "user"
        ORG = "org"

    name = models.CharField(max_length=96)
    kind = models.CharField(max_length=8, choices=Kind, default=Kind.USER)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="namespaces"
    )

    class Meta:
        constraints = [models.UniqueConstraint(Lower("name"), name="namespace_name_unique_in_any_case")]

    def __str__(self) -> str:
        return self.name


class RepositoryQuerySet(models.QuerySet["Repository"]):
    def visible_to(self, actor: Actor) -> Self:
        """Public ones, and the actor's own; all for an administrator. Anything else does not exist for the actor."""
        if getattr(actor, "is_superuser", False):
            return self
        mine = Q(namespace__owner=actor.pk) if actor.is_authenticated else Q(pk=None)
        return self.filter(Q(private=False) | mine)

    def named(self, name: str) -> Self:
        """The one called `namespace/name`, exactly."""
        namespace, _, rest = name.partition("/")
        return self.filter(namespace__name=namespace, name=rest)

    def for_cards(self) -> Self:
        """With everything a list shows of a repository."""
        return self.select_related("namespace", "head")


class Repository(models.Model):
    """`namespace/name`: a line of commits, with branches and tags."""

    class Kind(models.TextChoices):
        PRIOR = "prior"
        COMPOSITION = "composition"
        TASK = "task"
        PLAIN = "plain"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    namespace = models.ForeignKey(Namespace, on_delete=models.PROTECT, related_name="repositories")
    name = models.CharField(max_length=96)
    kind = models.CharField(max_length=16, choices=Kind)
    private = models.BooleanField(default=False)
    description = models.CharField(max_length=500, blank=True)
    head = models.ForeignKey(
        "Commit", null=True, blank=True, on_delete=models.SET_NULL, related_name="+", help_text="tip of main"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    objects = RepositoryQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint("namespace", Lower("name"), name="repository_name_unique_in_any_case"),
        ]
        ordering = ["-updated_at"]

    def __str__(self) -> str:
        return self.full_name

    def get_absolute_url(self) -> str:
        """The repository's page."""
        return f"/{self.full_name}"

    @property
    def full_name(self) -> str:
        """`namespace/name`; costs a query unless the namespace was selected with the row."""
        return f"{self.namespace.name}/{self.name}"


class BlobQuerySet(models.QuerySet["Blob"]):
    def usable_by(self, actor: Actor) -> Self:
        """Those the actor uploaded, or can read in some repository.

        Hashes of private files stand in public locks: knowing a hash must not be a way to the bytes.
        """
        if getattr(actor, "is_superuser", False):
            return self
        readable = Exists(
            TreeEntry.objects.filter(
                blob=OuterRef("pk"), commit__repository__in=Repository.objects.visible_to(actor).order_by()
            )
        )
        uploaded = Exists(BlobUpload.objects.filter(blob=OuterRef("pk"), user=actor.pk))
        return self.filter(uploaded | readable)

    def unused(self) -> Self:
        """Those that no commit and no job refers to."""
        return self.filter(~Exists(TreeEntry.objects.filter(blob=OuterRef("pk"))), jobs=None)


class Blob(models.Model):
    """Bytes by their hash. The row exists once the bytes are on disk, whole and verified."""

    sha256 = models.CharField(max_length=64, primary_key=True)
    size = models.PositiveBigIntegerField()
    git_oid = models.CharField(max_length=40, help_text="the id git gives the same bytes")
    touched_at = models.DateTimeField(
        auto_now_add=True, help_text="last upload or question; `sweep` counts its grace from it"
    )

    objects = BlobQuerySet.as_manager()

    def __str__(self) -> str:
        return f"{self.sha256[:12]} ({self.size} bytes)"


class BlobUpload(models.Model):
    """That a user once sent these bytes, so they may commit them by hash."""

    blob = models.ForeignKey(Blob, on_delete=models.CASCADE, related_name="uploads")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")

    class Meta:
        constraints = [models.UniqueConstraint("blob", "user", name="one_upload_a_blob_and_user")]

    def __str__(self) -> str:
        return f"{self.user_id} sent {self.blob_id}"


class Commit(models.Model):
    """One state of a repository, whole: every path has its TreeEntry."""

    repository = models.ForeignKey(Repository, on_delete=models.CASCADE, related_name="commits")
    oid = models.CharField(max_length=40, help_text="the id git gives this commit")
    tree_oid = models.CharField(max_length=40)
    parent = models.ForeignKey("self", null=True, blank=True, on_delete=models.CASCADE, related_name="children")
    message = models.TextField()
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    author_name = models.CharField(max_length=150, help_text="as hashed into the oid: it outlives the account")
    created_at = models.DateTimeField(help_text="whole seconds, as hashed into the oid")

    class Meta:
        constraints = [models.UniqueConstraint("repository", "oid", name="commit_oid_unique_in_repository")]
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.oid[:12]} {self.message.splitlines()[0] if self.message else ''}"


class TreeEntry(models.Model):
    """A file of a commit."""

    commit = models.ForeignKey(Commit, on_delete=models.CASCADE, related_name="entries")
    path = models.CharField(max_length=512)
    blob = models.ForeignKey(Blob, on_delete=models.PROTECT, related_name="entries")

    class Meta:
        constraints = [models.UniqueConstraint("commit", "path", name="tree_path_unique_in_commit")]
        ordering = ["path"]

    def __str__(self) -> str:
        return self.path


class Ref(models.Model):
    """A name for a commit: a branch moves, a tag stays."""

    class Kind(models.TextChoices):
        BRANCH = "branch"
        TAG = "tag"

    repository = models.ForeignKey(Repository, on_delete=models.CASCADE, related_name="refs")
    kind = models.CharField(max_length=8, choices=Kind)
    name = models.CharField(max_length=200)
    commit = models.ForeignKey(Commit, on_delete=models.CASCADE, related_name="refs")

    class Meta:
        constraints = [models.UniqueConstraint("repository", "kind", "name", name="ref_name_unique_in_repository")]
        ordering = ["kind", "name"]

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"
