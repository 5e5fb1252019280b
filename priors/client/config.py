"""Which hub and which token: arguments, then the environment, then the login file, then the hub on this machine.

The login file (`$XDG_CONFIG_HOME/priorhub/config.json`, `~/.config` otherwise; mode 0600) keeps one token a hub, and a
token is only ever used for the hub it was saved for.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from priors.errors import HubError, TokenRejected

DEFAULT_URL = "http://127.0.0.1:8000"
_TOKEN = re.compile(r"[!-~]{8,200}")  # visible ASCII: a line break in a header would start another header


@dataclass(frozen=True)
class Address:
    """A hub's address without a trailing slash, and the token for it (None: anonymous)."""

    url: str
    token: str | None


def resolve(url: str | None = None, token: str | None = None) -> Address:
    """The hub to talk to. Raises HubError for an address that is none, TokenRejected for a token that cannot be one."""
    saved = _read()
    named = url or os.environ.get("PRIORHUB_URL") or saved.get("default") or DEFAULT_URL
    address = clean_url(named)
    if token is None:
        token = _token_from_environment(address) or saved.get("tokens", {}).get(address)
    return Address(address, None if token is None else clean_token(token))


def save_login(url: str, token: str) -> Path:
    """Remembers the token for this hub and makes the hub the default. Returns the file."""
    address = clean_url(url)
    saved = _read()
    content = {"default": address, "tokens": {**saved.get("tokens", {}), address: clean_token(token)}}
    path = config_file()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, fresh = tempfile.mkstemp(dir=path.parent, prefix=".config.")  # mkstemp: 0600 from the first byte on
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(content, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        Path(fresh).replace(path)
    except BaseException:
        Path(fresh).unlink(missing_ok=True)
        raise
    return path


def config_file() -> Path:
    root = os.environ.get("XDG_CONFIG_HOME")
    return (Path(root) if root else Path.home() / ".config") / "priorhub" / "config.json"


def clean_url(url: str) -> str:
    """scheme://host[:port][/path] in lower-case scheme and host."""
    parts = urlsplit(url.strip())
    try:
        port = parts.port
    except ValueError:
        port = -1
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or port == -1 or parts.query:
        raise HubError(f"'{url[:120]}' is no hub address. Write http://host:port or https://host.")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}{f':{port}' if port else ''}{parts.path.rstrip('/')}"


def clean_token(token: str) -> str:
    token = token.strip()
    if not _TOKEN.fullmatch(token):
        raise TokenRejected("the token holds characters no token has, or is too short. Copy it again from the hub.")
    return token


def _token_from_environment(address: str) -> str | None:
    token = os.environ.get("PRIORHUB_TOKEN")
    home = os.environ.get("PRIORHUB_URL")
    # a token in the environment belongs to the hub in the environment; another hub must not get to see it
    return token if token and (not home or clean_url(home) == address) else None


def _read() -> dict[str, Any]:
    path = config_file()
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise HubError(f"{path} cannot be read: {error}. Run `priorhub login` again, or remove the file.") from error
    if not isinstance(content, dict) or not isinstance(content.get("tokens"), dict):
        raise HubError(f"{path} is not a login file. Remove it and run `priorhub login` again.")
    return content
