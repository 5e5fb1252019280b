"""The root of all addresses: the API, the operator's admin, the Hugging Face protocol, and the pages."""

from django.contrib import admin
from django.urls import include, path

from hub.api.credentials import revoke

urlpatterns = [
    path("api/credentials/revoke", revoke),
    path("api/v1/", include("hub.api.urls")),
    path("", include("hub.xet.urls")),
    path("admin/", admin.site.urls),
    path("", include(("hub.wire.urls", "wire"))),
    path("", include("hub.repos.git.urls")),
    path("", include("hub.web.urls")),
]
