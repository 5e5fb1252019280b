"""A handful of processes that live and die together. Knows nothing of the hub.

Each child leads its own process group, so that its own children are reached too, and asks the kernel (Linux) for
SIGTERM when the supervisor dies: even a supervisor that was killed leaves nothing behind.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import FrameType

_PR_SET_PDEATHSIG = 1
_POLL_S = 0.1


@dataclass(frozen=True)
class Command:
    """One process: a name for its lines of output, what to run, with which environment, keeping which descriptors."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    keep: tuple[int, ...] = ()


class Supervisor:
    """Runs commands until one ends or a signal comes, then stops all of them."""

    def __init__(
        self, commands: Sequence[Command], *, grace_s: float = 15.0, write: Callable[[str], None] = print
    ) -> None:
        self._commands, self._grace_s, self._write = commands, grace_s, write
        self._children: dict[str, subprocess.Popen[str]] = {}
        self._readers: list[threading.Thread] = []
        self._asked = 0

    def run(self, *, ready: Callable[[], None] = lambda: None) -> int:
        """Starts all, calls `ready` once, and waits. 0 after SIGTERM or Ctrl-C, else the code of what ended."""
        previous = {
            number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        }
        try:
            for command in self._commands:
                self._children[command.name] = self._start(command)
            width = max(len(command.name) for command in self._commands)
            for name, child in self._children.items():
                self._read(name.ljust(width), child)
            ready()
            return self._wait()
        finally:
            self._stop()
            for number, handler in previous.items():
                signal.signal(number, handler)

    def ended(self) -> tuple[str, int] | None:
        """The first child found to have ended, with its code."""
        for name, child in self._children.items():
            if (code := child.poll()) is not None:
                return name, code
        return None

    @property
    def asked_to_stop(self) -> bool:
        """Whether a signal came."""
        return self._asked > 0

    def _wait(self) -> int:
        while not self._asked:
            if ended := self.ended():
                name, code = ended
                self._write(f"{name} ended with code {code}; stopping the others")
                # A signal's code as a shell gives it; 0 is a failure too: none of these may end by itself.
                return 128 - code if code < 0 else code or 1
            time.sleep(_POLL_S)
        return 0

    def _start(self, command: Command) -> subprocess.Popen[str]:
        parent = os.getpid()

        def die_with_parent() -> None:
            if sys.platform == "linux":
                ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
                if os.getppid() != parent:  # it died before the line above
                    os._exit(1)

        return subprocess.Popen(
            command.argv, env=dict(command.env), pass_fds=command.keep, start_new_session=True, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="replace",
            preexec_fn=die_with_parent,
        )  # fmt: skip

    def _read(self, name: str, child: subprocess.Popen[str]) -> None:
        def copy() -> None:
            for line in child.stdout or ():
                self._write(f"{name} | {line.rstrip()}")

        self._readers.append(threading.Thread(target=copy, daemon=True))
        self._readers[-1].start()

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self._asked += 1
        if self._asked > 1:  # the second Ctrl-C does not wait
            self._signal(signal.SIGKILL)

    def _stop(self) -> None:
        for child in self._children.values():
            if child.poll() is None:
                child.terminate()
        deadline = time.monotonic() + self._grace_s
        while any(child.poll() is None for child in self._children.values()) and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        self._signal(signal.SIGKILL)  # whole groups: a worker's own children too
        for child in self._children.values():
            child.wait()
        for reader in self._readers:
            reader.join(timeout=1.0)

    def _signal(self, number: signal.Signals) -> None:
        for child in self._children.values():
            try:
                os.killpg(child.pid, number)
            except ProcessLookupError:
                continue
