from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from hub.ops.seeding import seed


class Command(BaseCommand):
    help = "Publish the starter priors and tasks; what is there already is left alone."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--no-tasks", action="store_true", help="priors only")

    def handle(self, *args: Any, **options: Any) -> None:
        seed(self.stdout.write, tasks=not options["no_tasks"])
        self.stdout.write("The starter catalogue is in place.")
