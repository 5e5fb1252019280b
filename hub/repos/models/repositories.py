"""What is published: repositories with git-compatible commits over content-addressed blobs."""

from __future__ import annotations

from typing import ClassVar, Self

from django.conf import settings
from django.db import models
from django.db.models import Case, Exists, OuterRef, Q, When
from django.db.models.functions import Lower

from hub.accounts.access import Actor, administers, narrow_token, open_to, readable
from hub.accounts.models import Role
from hub.ids import uuid7
from hub.safety.models import Hold
from priors.errors import NotFound


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
    quota_bytes = models.PositiveBigIntegerField(
        null=True, blank=True, help_text="how much it may store; empty: STORAGE_QUOTA_BYTES"
    )
    renamed_at = models.DateTimeField(null=True, blank=True, help_text="when it got the name it has now")

    class Meta:
        constraints = [models.UniqueConstraint(Lower("name"), name="namespace_name_unique_in_any_case")]

    def __str__(self) -> str:
        return self.name


class RepositoryQuerySet(models.QuerySet["Repository"]):
    def visible_to(self, actor: Actor) -> Self:
        """Public ones, and those the actor reaches. Anything else does not exist for the actor."""
        return self.filter(readable(actor))

    def open_to(self, actor: Actor) -> Self:
        """Those of `visible_to` whose files the actor may have, too: gated ones only with a grant."""
        return self.filter(open_to(actor))

    def unheld(self) -> Self:
        """Without those of which something is in quarantine or yanked (hub/safety)."""
        return self.exclude(holds__in=Hold.objects.standing().filter(sha256=""))

    def named(self, name: str) -> Self:
        """The one called `namespace/name`, exactly; `datasets/namespace/name` and `spaces/…` name those types.

        Without a prefix a model comes first, then a dataset, then a space of that name.
        """
        prefix, slash, rest = name.partition("/")
        if slash and "/" in rest and prefix in Repository.TYPE_OF_PREFIX:
            found, name = self.filter(type=Repository.TYPE_OF_PREFIX[prefix]), rest
        else:
            found = self.order_by(Case(When(type=Repository.Type.MODEL, then=0), default=1), "type")
        namespace, _, name = name.partition("/")
        return found.filter(namespace__name=namespace, name=name)

    def lock(self, repository: Repository) -> None:
        """Keeps others from changing it until the transaction ends. Raises NotFound when it was deleted meanwhile."""
        if not self.select_for_update().filter(pk=repository.pk).exists():
            raise NotFound(f"There is no repository {repository} any more: it was deleted.")

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

    class Type(models.TextChoices):
        """What the Hugging Face protocol takes it for; each type has names of its own."""

        MODEL = "model"
        DATASET = "dataset"
        SPACE = "space"

    class Gate(models.TextChoices):
        NONE = ""
        AUTO = "auto"
        MANUAL = "manual"

    TYPE_OF_PREFIX: ClassVar[dict[str, str]] = {"models": "model", "datasets": "dataset", "spaces": "space"}

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    namespace = models.ForeignKey(Namespace, on_delete=models.PROTECT, related_name="repositories")
    name = models.CharField(max_length=96)
    kind = models.CharField(max_length=16, choices=Kind)
    type = models.CharField(max_length=8, choices=Type, default=Type.MODEL)
    private = models.BooleanField(default=False)
    gated = models.CharField(
        max_length=8, choices=Gate, default=Gate.NONE, blank=True, help_text="who may read the files has to be granted"
    )
    description = models.CharField(max_length=500, blank=True)
    provenance = models.JSONField(
        default=dict, blank=True, help_text="where an imported repository came from: endpoint, repo, commit, license"
    )
    likes = models.PositiveIntegerField(default=0, help_text="how many Like rows there are")
    head = models.ForeignKey(
        "Commit", null=True, blank=True, on_delete=models.SET_NULL, related_name="+", help_text="tip of main"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    objects = RepositoryQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint("namespace", "type", Lower("name"), name="repository_name_unique_in_any_case"),
        ]
        ordering = ["-updated_at"]

    def __str__(self) -> str:
        return self.full_name

    def get_absolute_url(self) -> str:
        """The repository's page."""
        return f"/{self.prefixed_name}"

    @property
    def full_name(self) -> str:
        """`namespace/name`; costs a query unless the namespace was selected with the row."""
        return f"{self.namespace.name}/{self.name}"

    @property
    def prefixed_name(self) -> str:
        """`full_name`, with `datasets/` or `spaces/` before it for those types."""
        return self.full_name if self.type == self.Type.MODEL else f"{self.type}s/{self.full_name}"


class BlobQuerySet(models.QuerySet["Blob"]):
    def usable_by(self, actor: Actor) -> Self:
        """Those the actor uploaded, or can read in some repository; by a fine-grained token, uploaded with that token.

        Hashes of private files stand in public locks: knowing a hash must not be a way to the bytes.
        """
        if administers(actor, Role.READ):
            return self
        readable = Exists(
            RepositoryBlob.objects.filter(
                blob=OuterRef("pk"), repository__in=Repository.objects.open_to(actor).unheld().order_by()
            )
        )
        uploaded = Exists(BlobUpload.objects.made_by(actor).filter(blob=OuterRef("pk")))
        return self.filter(uploaded | readable)

    def unused(self) -> Self:
        """Those that no folder and no job refers to."""
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


class BlobUploadQuerySet(models.QuerySet["BlobUpload"]):
    def made_by(self, actor: Actor) -> Self:
        """The actor's; for a fine-grained token those that it made itself."""
        token = narrow_token(actor)
        return self.filter(user=actor.pk) if token is None else self.filter(user=actor.pk, token=token.pk)


class BlobUpload(models.Model):
    """That a user once sent these bytes, so they may commit them by hash."""

    blob = models.ForeignKey(Blob, on_delete=models.CASCADE, related_name="uploads")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    token = models.ForeignKey(
        "accounts.ApiToken", null=True, on_delete=models.CASCADE, related_name="+", help_text="a fine-grained one"
    )

    objects = BlobUploadQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["blob", "user"], condition=Q(token=None), name="one_upload_a_blob_and_user"
            ),
            models.UniqueConstraint(fields=["blob", "token"], name="one_upload_a_blob_and_token"),
        ]

    def __str__(self) -> str:
        return f"{self.user_id} sent {self.blob_id}"


class Tree(models.Model):
    """A folder by the id git gives it: the same content is one row, in whichever commit and repository it stands."""

    oid = models.CharField(max_length=40, primary_key=True)

    def __str__(self) -> str:
        return self.oid


class TreeEntry(models.Model):
    """A name in a folder: a file, whole or in git by its LFS pointer, or another folder."""

    tree = models.ForeignKey(Tree, on_delete=models.CASCADE, related_name="entries")
    name = models.CharField(max_length=255)
    blob = models.ForeignKey(Blob, null=True, blank=True, on_delete=models.PROTECT, related_name="entries")
    lfs = models.BooleanField(default=False, help_text="git holds a pointer in place of the bytes")
    subtree = models.ForeignKey(Tree, null=True, blank=True, on_delete=models.PROTECT, related_name="parents")

    class Meta:
        constraints = [
            models.UniqueConstraint("tree", "name", name="one_entry_a_name"),
            models.CheckConstraint(
                condition=Q(blob=None, subtree__isnull=False, lfs=False) | Q(blob__isnull=False, subtree=None),
                name="entry_is_file_or_folder",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class RepositoryBlob(models.Model):
    """That some commit of a repository has these bytes: who may read the repository may use them elsewhere."""

    repository = models.ForeignKey(Repository, on_delete=models.CASCADE, related_name="+")
    blob = models.ForeignKey(Blob, on_delete=models.CASCADE, related_name="+")
    payer = models.ForeignKey(
        Namespace, null=True, on_delete=models.SET_NULL, related_name="+",
        help_text="whose quota it counts for while it is only proposed; empty: that of the repository's namespace",
    )  # fmt: skip

    class Meta:
        constraints = [models.UniqueConstraint("repository", "blob", name="one_use_a_repository_and_blob")]

    def __str__(self) -> str:
        return f"{self.repository_id} has {self.blob_id}"


class Commit(models.Model):
    """One state of a repository."""

    repository = models.ForeignKey(Repository, on_delete=models.CASCADE, related_name="commits")
    oid = models.CharField(max_length=40, help_text="the id git gives this commit")
    tree = models.ForeignKey(Tree, on_delete=models.PROTECT, related_name="commits")
    parent = models.ForeignKey("self", null=True, blank=True, on_delete=models.CASCADE, related_name="children")
    merged = models.ForeignKey(
        "self", null=True, blank=True, on_delete=models.CASCADE, related_name="+", help_text="second parent of a merge"
    )
    message = models.TextField(help_text="title, and after an empty line more")
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    author_name = models.CharField(max_length=150, help_text="as hashed into the oid: it outlives the account")
    created_at = models.DateTimeField(help_text="whole seconds, as hashed into the oid")

    class Meta:
        constraints = [models.UniqueConstraint("repository", "oid", name="commit_oid_unique_in_repository")]
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.oid[:12]} {self.title}"

    @property
    def title(self) -> str:
        """The message's first line."""
        return self.message.partition("\n")[0]


class Ref(models.Model):
    """A name for a commit: a branch moves, a tag stays. A pull request's is called `refs/pr/<number>`."""

    class Kind(models.TextChoices):
        BRANCH = "branch"
        TAG = "tag"
        PULL = "pull"  # refs/pr/<number>: the branch of a pull request

    repository = models.ForeignKey(Repository, on_delete=models.CASCADE, related_name="refs")
    kind = models.CharField(max_length=8, choices=Kind)
    name = models.CharField(max_length=200)
    commit = models.ForeignKey(Commit, on_delete=models.CASCADE, related_name="refs")

    class Meta:
        constraints = [models.UniqueConstraint("repository", "kind", "name", name="ref_name_unique_in_repository")]
        ordering = ["kind", "name"]

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"
