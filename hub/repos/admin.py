from django.contrib import admin
from django.http import HttpRequest

from hub.repos.models import Namespace


@admin.register(Namespace)
class NamespaceAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Only its quota is set here: names and owners change with what hangs on them, by the services."""

    list_display = ["name", "kind", "owner", "quota_bytes"]
    list_select_related = ["owner"]
    search_fields = ["name"]
    readonly_fields = ["name", "kind", "owner"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Namespace | None = None) -> bool:
        return False
