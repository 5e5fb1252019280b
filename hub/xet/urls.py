"""Addresses of the chunk service. `place` and `epoch` are what a token was given with (tokens.py)."""

from __future__ import annotations

from django.urls import path, re_path

from hub.xet import views

_AT = r"^xet/(?P<place>[0-9a-f-]{36})/(?P<epoch>\d{1,9})"
_HASH = r"(?P<name>[0-9a-f]{64})"

urlpatterns = [
    path("xet/data/<str:ticket>", views.data, name="xet-data"),
    re_path(rf"{_AT}/v1/chunks/default(?:-merkledb)?/{_HASH}$", views.chunk, name="xet-chunk"),
    re_path(rf"{_AT}/v1/xorbs/default/{_HASH}$", views.xorb, name="xet-xorb"),
    re_path(rf"{_AT}/v1/xorb-grants/default/{_HASH}$", views.xorb_grant, name="xet-xorb-grant"),
    re_path(
        rf"{_AT}/v1/xorb-commits/default/{_HASH}/grant/(?P<grant>[0-9a-f-]{{36}})$",
        views.xorb_commit,
        name="xet-xorb-commit",
    ),
    re_path(rf"{_AT}/v1/shards$", views.shard, name="xet-shards"),
    re_path(rf"{_AT}/v1/reconstructions/{_HASH}$", views.reconstruct, name="xet-reconstruction"),
    re_path(r"^(?:xet/(?P<place>[0-9a-f-]{36})/(?P<epoch>\d{1,9})/)?v1/telemetry$", views.telemetry),
    re_path(rf"{_AT}/", views.nothing),
]
