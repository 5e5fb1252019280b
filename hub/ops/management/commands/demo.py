from __future__ import annotations

import os
import sys
import time
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser

from hub.accounts.models import ApiToken, User
from hub.accounts.services import create_token, create_user, revoke_token
from hub.home import home
from hub.ops.demo import Demo, hub_at_home
from priors.errors import PriorhubError

TASKS = ("topics", "sms", "movie", "digits", "wine")
USER = "demo"
EVERY_S = 5.0
"""Where nobody watches a terminal, progress is a line this often."""


class Command(BaseCommand):
    _written = 0.0
    help = "Do the main job end to end on real data: recommend, fit, judge, publish, pull, predict, export."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("task", nargs="?", default="topics", choices=TASKS)

    def handle(self, *args: Any, **options: Any) -> None:
        # The demo's own process computes little; the workers need the cores.
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        name = options["task"]
        out = home() / "demo" / name
        out.mkdir(parents=True, exist_ok=True)
        try:
            with hub_at_home(home(), self._say) as url:
                call_command("migrate", verbosity=0, interactive=False)
                user = User.objects.filter(username=USER).first() or create_user(name=USER)
                text, token = create_token(user=user, name="make demo", role=ApiToken.Role.WRITE)
                try:
                    Demo(url, text, name, out, self._say, self._progress).run()
                finally:
                    revoke_token(token)
        except PriorhubError as err:
            raise CommandError(str(err)) from err
        self._say(f"\nSee it: make run, then http://127.0.0.1:8000/{USER}/{name}")

    def _say(self, line: str) -> None:
        self._progress("")
        self.stdout.write(line)
        self.stdout.flush()

    def _progress(self, line: str) -> None:
        if sys.stdout.isatty():
            sys.stdout.write(f"\r\x1b[2K{line[:110]}")
            sys.stdout.flush()
        elif line and time.monotonic() - self._written > EVERY_S:
            self._written = time.monotonic()
            self.stdout.write(line)
            self.stdout.flush()
