from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from hub.ops.housekeeping import clean_up


class Command(BaseCommand):
    help = "Remove blobs that nothing refers to, and leftovers of interrupted work."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--grace", type=int, default=settings.BLOB_GRACE_SECONDS, help="seconds since last touched")

    def handle(self, *args: Any, **options: Any) -> None:
        done = clean_up(grace_s=options["grace"])
        self.stdout.write(
            f"Removed {done.blobs} blobs, {done.xorbs} xorbs, {done.compacted_bytes} bytes of rewritten xorbs, "
            f"{done.strays} files without a row, "
            f"{done.temporary} unfinished uploads, {done.job_folders} job folders, "
            f"{done.drafts} drafts, {done.messages} messages."
        )
