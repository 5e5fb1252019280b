"""Which chunks lie where, and which of them make a blob."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils import timezone

from hub.ids import uuid7


class Xorb(models.Model):
    """A file of packed chunks in the store. It never changes; it goes when no blob needs any of its chunks, or when the
    few that are needed have moved to another."""

    hash = models.CharField(max_length=64, unique=True, help_text="of its chunks, as Xet writes it")
    key = models.CharField(
        max_length=120,
        unique=True,
        help_text="its object's name; never used again, so that deleting cannot hit another",
    )
    size = models.PositiveIntegerField(help_text="packed")
    raw_size = models.PositiveIntegerField()
    touched_at = models.DateTimeField(default=timezone.now, help_text="`sweep` counts its grace from it")
    payer = models.ForeignKey(
        "repos.Namespace", null=True, on_delete=models.SET_NULL, related_name="+",
        help_text="whose quota it counts for as long as no blob needs it; empty: nobody's",
    )  # fmt: skip
    may_be_thin = models.BooleanField(
        default=True, db_index=True, help_text="much of it may be in no blob: `sweep` counts"
    )
    retired_at = models.DateTimeField(
        null=True, help_text="its chunks lie elsewhere since; the object stays a while for those who still read it"
    )

    def __str__(self) -> str:
        return self.hash


class Chunk(models.Model):
    """A chunk's one place."""

    hash = models.BinaryField(max_length=32, unique=True)
    xorb = models.ForeignKey(Xorb, on_delete=models.CASCADE, related_name="chunks")
    number = models.PositiveIntegerField(help_text="in its xorb, from 0")
    offset = models.PositiveIntegerField(help_text="of its frame in the xorb")
    size = models.PositiveIntegerField(help_text="of its frame")
    raw_size = models.PositiveIntegerField()

    class Meta:
        constraints = [models.UniqueConstraint("xorb", "number", name="one_chunk_a_place")]

    def __str__(self) -> str:
        return f"chunk {self.number} of {self.xorb_id}"


class ChunkedBlob(models.Model):
    """That a blob lies in chunks, and what Xet calls it. Blobs without such a row lie whole."""

    blob = models.OneToOneField("repos.Blob", on_delete=models.CASCADE, primary_key=True, related_name="chunked")
    xet_hash = models.CharField(max_length=64, db_index=True)

    def __str__(self) -> str:
        return self.xet_hash


class AssembledBlob(models.Model):
    """A chunked blob as one object in the bucket, for clients to get: a cache that may be emptied at any time."""

    blob = models.OneToOneField("repos.Blob", on_delete=models.CASCADE, primary_key=True, related_name="assembled")
    key = models.CharField(max_length=120, unique=True)
    used_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return self.key


class DirectUpload(models.Model):
    """Bytes that a client puts into the bucket itself; a worker looks at them before they are anybody's."""

    class Kind(models.TextChoices):
        FILE = "file"
        XORB = "xorb"
        SHARD = "shard"  # small: the web process puts it there, for a worker to read the chunks it names
        LIST = "list"  # the same: a file's SHA-256 and the hashes of its chunks

    class Status(models.TextChoices):
        OPEN = "open"  # the client has the address
        ARRIVED = "arrived"  # it says that it is done; waits for a worker
        CHECKING = "checking"
        DONE = "done"
        REFUSED = "refused"  # by what was sent
        FAILED = "failed"  # by a fault of the hub, in every attempt

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    kind = models.CharField(max_length=5, choices=Kind, default=Kind.FILE)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    token = models.ForeignKey(
        "accounts.ApiToken", null=True, on_delete=models.CASCADE, related_name="+", help_text="a fine-grained one"
    )
    scope = models.ForeignKey(
        "Scope", null=True, on_delete=models.CASCADE, related_name="+", help_text="none of a file"
    )
    payer = models.ForeignKey(
        "repos.Namespace", null=True, on_delete=models.CASCADE, related_name="+",
        help_text="whose quota a xorb, or the files of a shard or list, count for",
    )  # fmt: skip
    name = models.CharField(max_length=64, help_text="SHA-256 of what is sent, the hash of a xorb, as announced")
    size = models.PositiveBigIntegerField(help_text="as announced")
    key = models.CharField(max_length=120, unique=True)
    parts_id = models.TextField(blank=True, help_text="what the bucket calls an upload in parts")
    status = models.CharField(max_length=8, choices=Status, default=Status.OPEN)
    refusal = models.CharField(max_length=500, blank=True, help_text="what the uploader is told")
    attempts = models.PositiveSmallIntegerField(default=0, help_text="checks that were begun; the last one's fence")
    due_at = models.DateTimeField(default=timezone.now, help_text="workers are told again after it")
    changed_at = models.DateTimeField(default=timezone.now)

    class Meta:
        indexes = [models.Index(fields=["status", "changed_at"], name="direct_upload_by_status")]

    def __str__(self) -> str:
        return f"{self.key} ({self.status})"


class Segment(models.Model):
    """A run of chunks of one xorb: the blob's bytes from `offset` on."""

    chunked = models.ForeignKey(ChunkedBlob, on_delete=models.CASCADE, related_name="segments")
    offset = models.PositiveBigIntegerField()
    xorb = models.ForeignKey(Xorb, on_delete=models.PROTECT, related_name="segments")
    start = models.PositiveIntegerField(help_text="first chunk")
    stop = models.PositiveIntegerField(help_text="the one after the last")
    size = models.PositiveIntegerField(help_text="raw")

    class Meta:
        constraints = [
            models.UniqueConstraint("chunked", "offset", name="one_segment_an_offset"),
            models.CheckConstraint(condition=models.Q(stop__gt=models.F("start")), name="segment_has_chunks"),
        ]
        ordering = ["chunked", "offset"]

    def __str__(self) -> str:
        return f"{self.start} to {self.stop} of {self.xorb_id}"


class Scope(models.Model):
    """What one user sent to one namespace: clients may name that again without sending it, and nothing else.

    A client remembers what it sent by the address it sent it to, which has `epoch` in it: a higher one makes it forget.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    namespace = models.ForeignKey("repos.Namespace", on_delete=models.CASCADE, related_name="+")
    token = models.ForeignKey(
        "accounts.ApiToken", null=True, on_delete=models.CASCADE, related_name="+", help_text="a fine-grained one"
    )
    epoch = models.PositiveIntegerField(default=1)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["user", "namespace"], condition=models.Q(token=None), name="one_scope_a_user_and_namespace"
            ),
            models.UniqueConstraint(fields=["token", "namespace"], name="one_scope_a_token_and_namespace"),
        ]

    def __str__(self) -> str:
        return f"{self.user_id} in {self.namespace_id}"


class KnownXorb(models.Model):
    """A list of chunks that may be named in a scope: a xorb as it was sent, or one that the hub told the client of.

    Its chunks may lie in several xorbs of the store: those that were here already are not stored again.
    """

    scope = models.ForeignKey(Scope, on_delete=models.CASCADE, related_name="xorbs")
    hash = models.CharField(max_length=64)
    chunks = models.BinaryField(help_text="hash (32 bytes) and raw size (4, little-endian) of each")
    lie_in = models.ManyToManyField(Xorb, related_name="known_as")

    class Meta:
        constraints = [models.UniqueConstraint("scope", "hash", name="one_xorb_a_scope_and_hash")]

    def __str__(self) -> str:
        return self.hash
