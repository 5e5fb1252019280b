"""What visitors type. Errors say what to do; typed values stay."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import PurePath
from typing import Any

from django import forms
from django.core.files.uploadedfile import UploadedFile
from django.utils import timezone

from hub.accounts.models import ApiToken
from hub.repos.discussions import MAX_TEXT, MAX_TITLE
from hub.repos.models import Repository

MAX_UPLOAD_BYTES = 20 * 1000 * 1000
SUFFIXES = (".csv", ".tsv")


class TableField(forms.FileField):
    """A CSV of at most 20 MB."""

    def clean(self, data: Any, initial: Any = None) -> UploadedFile[Any]:
        upload: UploadedFile[Any] = super().clean(data, initial)
        name = upload.name or ""
        if PurePath(name).suffix.lower() not in SUFFIXES:
            raise forms.ValidationError(f"{name} is not a .csv or .tsv file. Export your table as CSV.")
        if upload.size is not None and upload.size > MAX_UPLOAD_BYTES:
            size = upload.size / 1e6
            raise forms.ValidationError(
                f"The file has {size:.1f} MB; 20 MB are the most here. Take fewer rows, or use the command line."
            )
        return upload


class UploadForm(forms.Form):
    """Step one of trying your own data."""

    file = TableField(error_messages={"required": "Choose a CSV file.", "empty": "The file is empty. Choose another."})


class PredictForm(UploadForm):
    """Rows to predict: the columns the model was fitted on, a target column is not needed."""


def _most(label: str, help_text: str) -> forms.FloatField:
    """A limit: any number from 0, or nothing."""
    widget = forms.NumberInput(attrs={"step": "any", "inputmode": "decimal"})
    return forms.FloatField(label=label, required=False, min_value=0, help_text=help_text, widget=widget)


class LimitsForm(forms.Form):
    """What a recommendation may cost. A field that is left empty is no limit."""

    budget_mb = _most("Size, at most", "Megabytes of a prior's files.")
    license = forms.ChoiceField(
        label="License", required=False,
        choices=[("", "any"), ("sell", "only what lets the model be sold")],
        help_text="Priors whose license is not known to permit it are left out.",
    )  # fmt: skip
    minutes = _most("Time to adapt, at most", "Minutes. Ways of adapting that take longer are marked.")
    memory_mb = _most("Memory to adapt, at most", "Megabytes. Ways that need more are marked.")
    latency_ms = _most("Time a row, at most", "Milliseconds on the worker that ranks, of all priors of a set together.")
    price = _most("Fees, at most", "Percent of what the model is sold for, of all priors of a set together.")

    def limits(self) -> dict[str, Any]:
        """The limits of a recommend job, of a valid form."""
        return {key: value for key, value in self.cleaned_data.items() if value not in (None, "")}


class TargetForm(forms.Form):
    """Step two: which of the detected columns to learn."""

    target = forms.ChoiceField(error_messages={"required": "Choose the column to learn."})

    def __init__(self, *args: Any, columns: list[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["target"]
        assert isinstance(field, forms.ChoiceField)  # noqa: S101 -- for the type checker; declared above
        field.choices = [(name, name) for name in columns]


class ImportForm(forms.Form):
    """Which repository of which other hub, and what the copy is called."""

    source = forms.ChoiceField(label="From")
    repo = forms.RegexField(
        r"^([A-Za-z0-9._-]+/)?[A-Za-z0-9._-]+$", label="Repository", max_length=200,
        help_text="As it is called there: org/name",
        error_messages={"invalid": "Write it as org/name, without the address of the hub."},
    )  # fmt: skip
    type = forms.ChoiceField(label="It is a", choices=[("model", "model"), ("dataset", "dataset")])
    rev = forms.RegexField(
        r"^[A-Za-z0-9][A-Za-z0-9._/-]*$", label="Revision", max_length=200, required=False,
        help_text="A branch, tag or commit; the newest state when left out.",
        error_messages={"invalid": "Write a branch, tag or commit."},
    )  # fmt: skip
    to = forms.RegexField(
        r"^[A-Za-z0-9._-]+/[A-Za-z0-9._-]*$", label="Copy it to", max_length=200, required=False,
        help_text="namespace/name here, or namespace/ for its name there; your own namespace when left out.",
        error_messages={"invalid": "Write it as namespace/name."},
    )  # fmt: skip
    private = forms.BooleanField(label="Visible to its owners alone", required=False)
    token = forms.CharField(
        label="Token of that hub", max_length=1024, required=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}),
        help_text="Only for what is private or gated there. Only that hub gets to see it; it is kept encrypted and "
        "removed when the job ends. A new copy of what not everybody gets there is private here.",
    )  # fmt: skip

    def __init__(self, *args: Any, sources: Mapping[str, str], user: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["source"]
        assert isinstance(field, forms.ChoiceField)  # noqa: S101 -- for the type checker; declared above
        field.choices = [(name, f"{name}: {address}") for name, address in sources.items()]
        self._name = user.get_username()

    def spec(self) -> dict[str, Any]:
        """The job's spec, of a valid form."""
        given = self.cleaned_data
        to = given["to"] or f"{self._name}/"
        return {
            "source": f"{given['source']}:{given['repo']}",
            "push_to": to + given["repo"].rpartition("/")[2] if to.endswith("/") else to,
            "rev": given["rev"] or None,
            "type": given["type"],
            "private": given["private"],
        }


class SetupForm(forms.Form):
    """The first administrator."""

    name = forms.CharField(max_length=96, help_text="Letters, digits and . _ - inside. It is also your namespace.")
    password = forms.CharField(widget=forms.PasswordInput, help_text="At least 10 characters; paste from a manager.")


class TokenForm(forms.Form):
    """A new API token."""

    name = forms.CharField(max_length=100, label="What it is for")
    role = forms.ChoiceField(label="May", choices=ApiToken.Role.choices, initial=ApiToken.Role.WRITE)
    scopes = forms.CharField(
        label="Scopes of a fine-grained one",
        required=False,
        max_length=4000,
        help_text="One a line: read:ann/mail, write:ann/*, admin:lab/*. It reaches nothing else that is private.",
        widget=forms.Textarea(attrs={"rows": 3, "spellcheck": "false"}),
    )
    days = forms.TypedChoiceField(
        label="Expires",
        coerce=int,
        choices=[("30", "in 30 days"), ("90", "in 90 days"), ("365", "in a year"), ("0", "never")],
        initial="90",
    )

    def options(self) -> dict[str, Any]:
        """The keywords of accounts.services.create_token."""
        days = self.cleaned_data["days"]
        expires_at = timezone.now() + timedelta(days=days) if days else None
        scopes = self.cleaned_data["scopes"].split()
        return {
            "name": self.cleaned_data["name"],
            "role": self.cleaned_data["role"],
            "scopes": scopes,
            "expires_at": expires_at,
        }


class ThreadForm(forms.Form):
    """A new discussion, or a pull request to put files into."""

    title = forms.CharField(max_length=MAX_TITLE, error_messages={"required": "Say in a few words what it is about."})
    text = forms.CharField(
        max_length=MAX_TEXT, required=False, widget=forms.Textarea(attrs={"rows": 8}), label="What you have to say",
        help_text="Markdown; images and HTML are left out.",
    )  # fmt: skip
    changes = forms.BooleanField(required=False, label="I propose changes to the files (a pull request)")


class ManyFilesInput(forms.ClearableFileInput):
    """A field for several files at once."""

    allow_multiple_selected = True


class ManyFilesField(forms.FileField):
    """At most a hundred files of 20 MB together."""

    widget = ManyFilesInput

    def clean(self, data: Any, initial: Any = None) -> Any:
        given = data if isinstance(data, list | tuple) else [data]
        uploads: list[UploadedFile[Any]] = [super(ManyFilesField, self).clean(each, initial) for each in given]
        if len(uploads) > 100 or sum(upload.size or 0 for upload in uploads) > MAX_UPLOAD_BYTES:
            raise forms.ValidationError("At most 100 files of 20 MB together. Use `hf upload` for more.")
        return uploads


class FilesForm(forms.Form):
    """Files for a pull request."""

    uploads = ManyFilesField(label="Files", error_messages={"required": "Choose the files to add or to replace."})
    folder = forms.CharField(max_length=200, required=False, help_text="Empty: the topmost one.")
    message = forms.CharField(max_length=200, required=False, label="What changes")


class SettingsForm(forms.Form):
    """What a repository's administrators decide."""

    description = forms.CharField(max_length=500, required=False)
    private = forms.BooleanField(
        label="Private: only its owner, or members of its organisation, see it", required=False
    )
    gated = forms.ChoiceField(
        label="Who gets the files", required=False,
        choices=[
            (Repository.Gate.NONE, "whoever sees the repository"),
            (Repository.Gate.AUTO, "whoever asks, at once"),
            (Repository.Gate.MANUAL, "whom you accept"),
        ],
    )  # fmt: skip
