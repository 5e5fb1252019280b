"""A Celery broker in a folder: `disk://`, for a hub on one machine without a server.

    <folder>/queues/<queue>/<nanoseconds>-<random>.json      a message
    <folder>/bindings/<exchange>/<hash>.json                 one binding of a queue to an exchange

Everything appears by a rename of a finished hidden file and is claimed by a rename that only one consumer can win, so
no reader ever sees half a message and no message is delivered twice. (kombu's own filesystem transport creates a
message first and fills it later; under load its workers die of JSONDecodeError.) There are no locks: a binding is a
file of its own, made and removed whole.

A message that a worker has claimed is gone if the worker is then killed. That is meant: Job rows are the truth and the
reaper wakes them again (hub/jobs/services.py). For one local disk; not for NFS.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import uuid
from pathlib import Path
from queue import Empty
from typing import Any
from urllib.parse import quote, unquote

from kombu.transport import TRANSPORT_ALIASES, virtual

_MESSAGE = ".json"


class Channel(virtual.Channel):
    """Queues as folders of messages."""

    supports_fanout = True  # remote control of workers (inspect, shutdown) goes through fanout exchanges

    def __init__(self, connection: Any, **kwargs: Any) -> None:
        super().__init__(connection, **kwargs)  # type: ignore[no-untyped-call]
        folder = connection.client.transport_options.get("folder")
        if not folder:
            raise ValueError("disk:// needs transport_options['folder'].")
        self._folder = Path(folder)

    def get_table(self, exchange: str) -> list[tuple[str, str, str]]:
        """Bindings of `exchange`, of all processes: (routing key, pattern, queue)."""
        table = []
        for file in sorted(self._bindings(exchange).glob(f"*{_MESSAGE}")):
            try:
                row = json.loads(file.read_bytes())
            except FileNotFoundError:
                continue  # unbound by another process since
            table.append((row[0], row[1], row[2]))
        return table

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        file = self._binding(exchange, routing_key, pattern, queue)
        if not file.exists():
            _appear(file, [routing_key or "", pattern or "", queue or ""])

    def _put(self, queue: str, message: Any, **kwargs: Any) -> None:
        _appear(self._queue(queue) / f"{time.time_ns():020d}-{uuid.uuid4().hex}{_MESSAGE}", message)

    def _put_fanout(self, exchange: str, message: Any, routing_key: str, **kwargs: Any) -> None:
        for _, _, queue in self.get_table(exchange):
            self._put(queue, message)

    def _get(self, queue: str, timeout: float | None = None) -> Any:
        for name in self._waiting(queue):
            file = self._queue(queue) / name
            claimed = file.with_name(f".{name}.{os.getpid()}.claimed")
            try:
                file.rename(claimed)
            except FileNotFoundError:
                continue  # another consumer won
            message = json.loads(claimed.read_bytes())
            claimed.unlink()
            return message
        raise Empty

    def _size(self, queue: str) -> int:
        return len(self._waiting(queue))

    def _has_queue(self, queue: str, **kwargs: Any) -> bool:
        return self._queue(queue).is_dir()

    def _new_queue(self, queue: str, **kwargs: Any) -> None:
        self._queue(queue).mkdir(parents=True, exist_ok=True)

    def _purge(self, queue: str) -> int:
        removed = 0
        for name in self._waiting(queue):
            try:
                (self._queue(queue) / name).unlink()
            except FileNotFoundError:
                continue
            removed += 1
        return removed

    def _delete(self, queue: str, exchange: str, routing_key: str, pattern: str, *args: Any, **kwargs: Any) -> None:
        self._binding(exchange, routing_key, pattern, queue).unlink(missing_ok=True)
        self._purge(queue)

    def _queue(self, queue: str) -> Path:
        return self._folder / "queues" / quote(queue, safe="@")

    def _bindings(self, exchange: str) -> Path:
        return self._folder / "bindings" / quote(exchange, safe="@")

    def _binding(self, exchange: str, routing_key: str, pattern: str, queue: str) -> Path:
        row = "\0".join((routing_key or "", pattern or "", queue or ""))
        return self._bindings(exchange) / f"{hashlib.sha256(row.encode()).hexdigest()[:32]}{_MESSAGE}"

    def _waiting(self, queue: str) -> list[str]:
        try:
            names = os.listdir(self._queue(queue))  # noqa: PTH208 thrice as fast as iterdir, ten times a second
        except FileNotFoundError:
            return []
        return sorted(name for name in names if name.endswith(_MESSAGE) and not name.startswith("."))


class Transport(virtual.Transport):
    """`disk://`; transport_options: `folder`, and `polling_interval` in seconds."""

    Channel = Channel
    default_port = 0  # type: ignore[assignment]
    driver_type = driver_name = "disk"
    implements = virtual.Transport.implements.extend(exchange_type=frozenset(["direct", "topic", "fanout"]))

    def driver_version(self) -> str:
        return "1"


def clean(folder: Path, *, older_than_s: float) -> int:
    """Removes messages and unfinished files older than that, of queues that nobody reads any more; how many."""
    removed, before = 0, time.time() - older_than_s
    for file in [path for path in folder.glob("queues/*/*") if path.is_file()]:
        try:
            if file.stat().st_mtime < before:
                file.unlink()
                removed += 1
        except FileNotFoundError:
            continue
    for binding in folder.glob(f"bindings/*/*{_MESSAGE}"):
        queue = folder / "queues" / quote(json.loads(binding.read_bytes())[2], safe="@")
        if ".pidbox" in unquote(queue.name) and binding.stat().st_mtime < before:
            binding.unlink(missing_ok=True)
    return removed


def register() -> None:
    """Makes kombu know `disk://`."""
    TRANSPORT_ALIASES["disk"] = f"{__name__}:Transport"


def _appear(file: Path, content: Any) -> None:
    """Writes `content` as JSON under a hidden name and renames it into place."""
    file.parent.mkdir(parents=True, exist_ok=True)
    hidden = file.with_name(f".{uuid.uuid4().hex}.tmp")
    hidden.write_bytes(json.dumps(content).encode())
    hidden.replace(file)
