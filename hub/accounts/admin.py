from django.contrib import admin
from django.contrib.auth.admin import UserAdmin
from django.http import HttpRequest

from hub.accounts.models import ApiToken, User


@admin.register(User)
class AccountAdmin(UserAdmin):  # type: ignore[type-arg]
    """Accounts are made by `makeuser` or sign-up and deleted on their own page, with their namespace and name."""

    readonly_fields = ["username", "last_login", "date_joined"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return False


@admin.register(ApiToken)
class ApiTokenAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Tokens can be seen and revoked, never read or made: their text exists only where it was first shown."""

    list_display = [
        "name",
        "user",
        "prefix",
        "role",
        "created_at",
        "last_used_at",
        "two_addresses_at",
        "expires_at",
        "revoked_at",
    ]
    list_select_related = ["user"]
    readonly_fields = ["user", "name", "prefix", "digest", "role", "created_at", "last_used_at", "two_addresses_at"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False
