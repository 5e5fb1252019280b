"""The catalogue: what is known about each repository, derived from its main branch and never edited by hand."""

from __future__ import annotations

from typing import Any, ClassVar, Self
from uuid import uuid4

from django.db import models

from hub.accounts.access import Actor, along, readable
from hub.catalog.listed import gives_of, ref_of, takes_of
from hub.repos.models import Commit, Repository


def _epoch() -> str:
    return uuid4().hex


class ItemQuerySet(models.QuerySet["Item"]):
    def visible_to(self, actor: Actor) -> Self:
        """Items of repositories the actor may see."""
        return self.filter(along("repository__", readable(actor)))

    def open_to(self, actor: Actor) -> Self:
        """Those whose files the actor may have, too."""
        return self.filter(repository__in=Repository.objects.open_to(actor).order_by())

    def priors(self) -> Self:
        """Those with a manifest: priors, and plain models of a family that the loader knows."""
        return self.filter(manifest__isnull=False)

    def for_cards(self) -> Self:
        """With everything a list or a library shows."""
        return self.select_related("repository__namespace", "commit").defer("card_html", "search_text", "terms")


class Item(models.Model):
    """One repository as lists, facets and the search see it. Empty and None mean unknown, which is not 0."""

    class Kind(models.TextChoices):
        NETWORK = "network"
        FUNCTION = "function"

    DERIVATION: ClassVar[int] = 2
    """Rises when the rules that derive an item change; `catalog.sweep` derives older ones again."""

    repository = models.OneToOneField(Repository, on_delete=models.CASCADE, related_name="item")
    commit = models.ForeignKey(Commit, null=True, on_delete=models.SET_NULL, related_name="+", help_text="tip of main")
    revision = models.PositiveBigIntegerField(db_index=True, help_text="the catalogue's number at the last change")
    derivation = models.PositiveSmallIntegerField(
        default=0, db_index=True, help_text="the rules its slow facts come from; 0: a worker has yet to read the files"
    )
    attempts = models.PositiveSmallIntegerField(default=0, help_text="how often a worker began to read them")
    woken_at = models.DateTimeField(null=True, help_text="when a worker was last told, or began")
    problem = models.CharField(max_length=500, blank=True, help_text="why the files could not be read")
    slow_key = models.CharField(max_length=64, blank=True, help_text="hash of the files that slow facts come from")

    identity = models.CharField(max_length=71, blank=True, db_index=True, help_text="sha256:… of what decides outputs")
    manifest = models.JSONField(null=True, help_text="prior.json as committed, or derived for a plain model")
    kind = models.CharField(max_length=16, choices=Kind, blank=True)
    modality = models.CharField(max_length=16, blank=True)
    default_tap = models.CharField(max_length=100, blank=True)

    card = models.JSONField(default=dict, help_text="the front matter of README.md")
    config = models.JSONField(default=dict, help_text="what config.json says about the architecture")
    architecture = models.CharField(max_length=100, blank=True, help_text="as config.json names it")
    task = models.CharField(max_length=100, blank=True, help_text="pipeline_tag")
    library = models.CharField(max_length=100, blank=True)
    languages = models.JSONField(default=list)
    license = models.CharField(max_length=200, blank=True, help_text="SPDX expression")
    may_sell = models.BooleanField(null=True)
    may_fine_tune = models.BooleanField(null=True)
    summary = models.CharField(max_length=500, blank=True)
    tags = models.JSONField(default=list, help_text="those of the Hugging Face protocol, license:… and the like too")

    parameters = models.PositiveBigIntegerField(null=True)
    dtypes = models.JSONField(default=dict, help_text="parameters by dtype, from the safetensors headers")
    size_bytes = models.PositiveBigIntegerField(default=0, help_text="all files of the commit together")
    score = models.FloatField(null=True, help_text="best gain in points over no prior that this hub measured")
    price_cents = models.PositiveIntegerField(null=True)

    downloads = models.PositiveBigIntegerField(default=0, help_text="of the last 30 days")
    downloads_all_time = models.PositiveBigIntegerField(default=0)
    likes = models.PositiveIntegerField(default=0)
    trending = models.FloatField(default=0)

    card_html = models.TextField(blank=True, help_text="README.md rendered and sanitised by a worker")
    card_key = models.CharField(max_length=64, blank=True, help_text="hash of what card_html was rendered from")
    terms = models.TextField(blank=True, help_text="one `key:value` a line: what facets count and filters ask for")
    search_text = models.TextField(blank=True, help_text="the words a search looks at, besides the name")
    created_at = models.DateTimeField(help_text="the repository's")
    updated_at = models.DateTimeField(help_text="the last commit to main")
    objects = ItemQuerySet.as_manager()

    class Meta:
        ordering = ["-updated_at"]

    def __str__(self) -> str:
        return self.ref

    @property
    def ref(self) -> str:
        """`prior://namespace/name@sha256:…`, the name that also pins the content; the plain name of other items."""
        return ref_of(self.repository.full_name, self.identity)

    @property
    def takes(self) -> str:
        """The type of a prior's first input port; the others (a mask) are derived from the same value."""
        return takes_of(self.manifest)

    @property
    def gives(self) -> dict[str, str]:
        """A prior's type by tap."""
        return gives_of(self.manifest)

    @property
    def facts(self) -> dict[str, Any]:
        """`safetensors` as the Hugging Face protocol has it: parameters by dtype and in total, or nothing."""
        return {"parameters": self.dtypes, "total": self.parameters} if self.dtypes else {}


class Revision(models.Model):
    """The catalogue's number: one row, which every change raises. Who holds its lock is the only one that changes."""

    value = models.PositiveBigIntegerField(default=0)
    epoch = models.CharField(max_length=32, default=_epoch, help_text="tells a database that was put back from this")

    def __str__(self) -> str:
        return str(self.value)


class Removed(models.Model):
    """That an item is gone since a revision, so that what is kept in memory can forget it."""

    item_id = models.BigIntegerField()
    revision = models.PositiveBigIntegerField(db_index=True)

    def __str__(self) -> str:
        return f"{self.item_id} at {self.revision}"


class Word(models.Model):
    """A word that stands in some item's text: what a mistyped one is compared with."""

    text = models.CharField(max_length=40, unique=True)

    def __str__(self) -> str:
        return self.text


class Lineage(models.Model):
    """That an item says it comes from another repository, which may or may not be here."""

    class Kind(models.TextChoices):
        FINETUNE = "finetune"
        ADAPTER = "adapter"
        MERGE = "merge"
        QUANTIZED = "quantized"
        PARENT = "parent", "parent, by its manifest"

    item = models.ForeignKey(Item, on_delete=models.CASCADE, related_name="parents")
    kind = models.CharField(max_length=16, choices=Kind)
    name = models.CharField(max_length=200, help_text="as written: namespace/name, or a prior reference")
    parent = models.ForeignKey(
        Repository, null=True, on_delete=models.SET_NULL, related_name="descendants", help_text="where it is here"
    )

    class Meta:
        constraints = [models.UniqueConstraint("item", "kind", "name", name="one_edge_a_kind_and_name")]
        ordering = ["name", "kind"]

    def __str__(self) -> str:
        return f"{self.item_id} {self.kind} {self.name}"


class Download(models.Model):
    """That an account, or a nameless address, got files of a repository on a day. Folded into totals, then removed."""

    repository = models.ForeignKey(Repository, on_delete=models.CASCADE, related_name="+")
    day = models.DateField(db_index=True)
    who = models.CharField(max_length=32, help_text="a hash: of the account's id, or of the address and the day's salt")

    class Meta:
        constraints = [models.UniqueConstraint("repository", "day", "who", name="one_download_a_day_and_person")]

    def __str__(self) -> str:
        return f"{self.repository_id} {self.day}"


class DownloadDay(models.Model):
    """How many distinct accounts and addresses got files of a repository on a day that is over."""

    repository = models.ForeignKey(Repository, on_delete=models.CASCADE, related_name="download_days")
    day = models.DateField(db_index=True)
    count = models.PositiveIntegerField()

    class Meta:
        constraints = [models.UniqueConstraint("repository", "day", name="one_count_a_repository_and_day")]

    def __str__(self) -> str:
        return f"{self.repository_id} {self.day}: {self.count}"
