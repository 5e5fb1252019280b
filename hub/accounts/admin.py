from django.contrib import admin
from django.contrib.auth.admin import UserAdmin

from hub.accounts.models import ApiToken, User

admin.site.register(User, UserAdmin)


@admin.register(ApiToken)
class ApiTokenAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Tokens can be seen and revoked, never read or made: their text exists only where it was first shown."""

    list_display = ["name", "user", "prefix", "role", "created_at", "last_used_at", "expires_at", "revoked_at"]
    list_select_related = ["user"]
    readonly_fields = ["user", "name", "prefix", "digest", "role", "created_at", "last_used_at"]

    def has_add_permission(self, request: object) -> bool:
        return False
