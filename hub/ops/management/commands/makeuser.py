from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from hub.accounts.models import ApiToken, User
from hub.accounts.services import create_token, create_user
from priors.errors import UserError


class Command(BaseCommand):
    help = "Make a user, if there is none of that name, and print a write token with --token."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name")
        parser.add_argument("--token", action="store_true", help="make a write token; it is the last line printed")
        parser.add_argument("--admin", action="store_true", help="may administer the hub")

    def handle(self, *args: Any, **options: Any) -> None:
        name = options["name"]
        user = User.objects.filter(username=name).first()
        try:
            if user is None:
                user = create_user(name=name, admin=options["admin"], vouched=True)
                self.stdout.write(f"Made the user {name}.")
            elif options["admin"] and not user.is_superuser:
                User.objects.filter(pk=user.pk).update(is_staff=True, is_superuser=True)
                self.stdout.write(f"{name} may administer the hub now.")
        except UserError as err:
            raise CommandError(str(err)) from err
        if options["token"]:
            text, _ = create_token(user=user, name="made by makeuser", role=ApiToken.Role.WRITE)
            self.stdout.write(text)
