from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from hub.jobs.cleanup import remove_job_folders
from hub.jobs.services import reap


class Command(BaseCommand):
    help = "Run jobs of dead workers again (beat does it every few seconds), and remove their folders."

    def handle(self, *args: Any, **options: Any) -> None:
        reaped, folders = reap(), remove_job_folders()
        self.stdout.write(
            f"{reaped.requeued} jobs queued again, {reaped.failed} given up, {reaped.woken} queues reminded, "
            f"{folders} folders removed."
        )
