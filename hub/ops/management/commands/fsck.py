from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from hub.ops.fsck import fsck


class Command(BaseCommand):
    help = "Read every blob, tree, commit, branch and catalogue row back and check it. Exits 1 when one is broken."

    def handle(self, *args: Any, **options: Any) -> None:
        problems = fsck(self.stdout.write)
        if problems:
            raise CommandError(f"{problems} broken. Restore what is named above from a backup.")
        self.stdout.write("Everything is as recorded.")
