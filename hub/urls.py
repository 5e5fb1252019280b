"""The root of all addresses: the API, the operator's admin, the Hugging Face protocol, and the pages."""

from django.contrib import admin
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.urls import include, path

from hub.api.credentials import revoke


def to_sign_in(request: HttpRequest) -> HttpResponse:
    """There is one way to sign in, with its limits and second factors."""
    return redirect_to_login(request.GET.get("next", "/admin/"))


urlpatterns = [
    path("api/credentials/revoke", revoke),
    path("api/v1/", include("hub.api.urls")),
    path("", include("hub.xet.urls")),
    path("admin/login/", to_sign_in),
    path("admin/", admin.site.urls),
    path("", include(("hub.wire.urls", "wire"))),
    path("", include("hub.repos.git.urls")),
    path("", include("hub.web.urls")),
]
