"""Where git finds a repository: its name, with or without `.git` behind it."""

from __future__ import annotations

from django.urls import re_path

from hub.repos.git import views

_REPOSITORY = r"^(?:(?P<prefix>models|datasets|spaces)/)?(?P<owner>[^/]+)/(?P<name>[^/]+?)(?:\.git)?/"

urlpatterns = [
    re_path(rf"{_REPOSITORY}info/refs$", views.info_refs, name="git-refs"),
    re_path(rf"{_REPOSITORY}git-upload-pack$", views.upload_pack, name="git-upload-pack"),
    re_path(rf"{_REPOSITORY}git-receive-pack$", views.receive_pack, name="git-receive-pack"),
]
