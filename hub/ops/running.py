"""Which hub runs on a home: a lock that the system frees when its holder dies, and hub.json that tells the address."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from hub.home import home
from priors.errors import Conflict

_FILE = "hub.json"


@dataclass(frozen=True)
class Running:
    """hub.json: where a hub answers, its supervisor's process, and the id of its home."""

    url: str
    pid: int
    hub_id: str


@contextmanager
def only_one() -> Iterator[None]:
    """Holds the home for this process. Raises Conflict, saying who has it."""
    with (home() / "up.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as err:
            there = read()
            where = f"at {there.url}, process {there.pid}" if there else "and is starting or stopping"
            raise Conflict(
                f"A hub runs on {home()} already ({where}). Use it, stop it, or set PRIORHUB_HOME to another folder."
            ) from err
        (home() / _FILE).unlink(missing_ok=True)  # of one that was killed
        try:
            yield
        finally:
            (home() / _FILE).unlink(missing_ok=True)


def write(running: Running) -> None:
    """Puts hub.json in place, whole."""
    draft = home() / f".{_FILE}.{os.getpid()}"
    draft.write_text(json.dumps(asdict(running)) + "\n", encoding="utf-8")
    draft.replace(home() / _FILE)


def read(folder: Path | None = None) -> Running | None:
    """hub.json of a home, or None when no hub says it runs there."""
    try:
        return Running(**json.loads(((folder or home()) / _FILE).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
