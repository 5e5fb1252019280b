"""Typed readers of the environment. A bad value stops the start with the variable's name; nothing is guessed."""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

_YES, _NO = {"1", "true", "yes", "on"}, {"0", "false", "no", "off", ""}


def env_bool(name: str, default: bool) -> bool:
    """1/true/yes/on or 0/false/no/off; anything else raises ImproperlyConfigured."""
    text = os.environ.get(name)
    if text is None:
        return default
    if text.lower() in _YES:
        return True
    if text.lower() in _NO:
        return False
    raise ImproperlyConfigured(f"{name}={text!r} is not a yes or no. Use 1 or 0.")


def env_int(name: str, default: int) -> int:
    """A decimal whole number; anything else raises ImproperlyConfigured."""
    text = os.environ.get(name)
    if text is None:
        return default
    try:
        return int(text)
    except ValueError as err:
        raise ImproperlyConfigured(f"{name}={text!r} is not a whole number.") from err


def env_rate(name: str, default: str) -> tuple[int, int]:
    """`how many/in seconds`, such as 10/300; anything else raises ImproperlyConfigured."""
    text = os.environ.get(name, default)
    many, slash, seconds = text.partition("/")
    if not slash or not many.isascii() or not many.isdigit() or not seconds.isdigit() or not int(seconds):
        raise ImproperlyConfigured(f"{name}={text!r} is no rate. Write it as 10/300: ten in 300 seconds.")
    return int(many), int(seconds)


def mail(url: str) -> dict[str, Any]:
    """Django's mail settings for `smtp://user:password@host:587?tls=1`, `file:///folder` or `console:`."""
    parts = urlsplit(url)
    backend = "django.core.mail.backends."
    match parts.scheme:
        case "file":
            return {"EMAIL_BACKEND": f"{backend}filebased.EmailBackend", "EMAIL_FILE_PATH": unquote(parts.path)}
        case "console":
            return {"EMAIL_BACKEND": f"{backend}console.EmailBackend"}
        case "smtp" | "smtps":
            options = dict(parse_qsl(parts.query))
            return {
                "EMAIL_BACKEND": f"{backend}smtp.EmailBackend",
                "EMAIL_HOST": parts.hostname or "localhost",
                "EMAIL_PORT": parts.port or (465 if parts.scheme == "smtps" else 25),
                "EMAIL_HOST_USER": unquote(parts.username or ""),
                "EMAIL_HOST_PASSWORD": unquote(parts.password or ""),
                "EMAIL_USE_TLS": options.get("tls") == "1",
                "EMAIL_USE_SSL": parts.scheme == "smtps",
                "EMAIL_TIMEOUT": 20,
            }
    raise ImproperlyConfigured(f"EMAIL_URL scheme {parts.scheme!r} is unknown. Use smtp://, file:/// or console:.")


def env_choice(name: str, choices: tuple[str, ...]) -> str:
    """One of `choices`, the first when unset; anything else raises ImproperlyConfigured."""
    text = os.environ.get(name, choices[0])
    if text not in choices:
        raise ImproperlyConfigured(f"{name}={text!r} is unknown. Use one of {', '.join(choices)}.")
    return text


def env_list(name: str, default: list[str]) -> list[str]:
    """Comma-separated names, blanks dropped."""
    text = os.environ.get(name)
    return default if text is None else [part.strip() for part in text.split(",") if part.strip()]


def env_addresses(name: str, default: dict[str, str]) -> dict[str, str]:
    """Comma-separated `name=https://host`; a name is lower-case letters, digits and -. Empty text is an empty list."""
    found = {}
    for part in env_list(name, [f"{key}={url}" for key, url in default.items()]):
        key, _, url = part.partition("=")
        parts = urlsplit(url)
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,31}", key) or parts.scheme not in {"http", "https"}:
            raise ImproperlyConfigured(f"{name}: {part!r} is not name=https://host. Separate several by commas.")
        if not parts.hostname or parts.username or parts.query or parts.fragment:
            raise ImproperlyConfigured(f"{name}: {url!r} is not the plain address of a hub.")
        found[key] = url.rstrip("/")
    return found


def env_secret(name: str) -> str | None:
    """The value of NAME, or the content of the file that NAME_FILE names (Docker and systemd credentials)."""
    if (value := os.environ.get(name)) is not None:
        return value
    if (file := os.environ.get(f"{name}_FILE")) is None:
        return None
    try:
        return Path(file).read_text(encoding="utf-8").strip()
    except OSError as err:
        raise ImproperlyConfigured(f"{name}_FILE={file!r} cannot be read: {err.strerror}.") from err


def kept_secret(file: Path) -> str:
    """The secret in `file`, made on first use with mode 0600.

    Several processes may start at once: each writes its own temporary file and links it into place, which only the
    first can do, so all of them read the same one.
    """
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        draft = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as out:
            out.write(secrets.token_urlsafe(48))
        try:
            os.link(draft, file)
        except FileExistsError:
            pass  # another process was first; its secret is the one
        finally:
            draft.unlink()
    return file.read_text(encoding="utf-8").strip()


def database(url: str) -> dict[str, Any]:
    """Django's DATABASES entry for `sqlite:///relative`, `sqlite:////absolute` or `postgres://user:password@host/name`."""
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": unquote(parts.path[1:]),
            "CONN_MAX_AGE": 60,  # a new connection reads the schema again, which took longer than most requests
            "OPTIONS": {
                "timeout": 20,
                # A transaction that reads first and writes later would fail with "database is locked" at once, whatever
                # the timeout, were it not begun as a writer.
                "transaction_mode": "IMMEDIATE",
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
            },
        }
    if parts.scheme in {"postgres", "postgresql"}:
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": unquote(parts.path.lstrip("/")),
            "USER": unquote(parts.username or ""),
            "PASSWORD": unquote(parts.password or ""),
            "HOST": parts.hostname or "",
            "PORT": str(parts.port or ""),
            "CONN_MAX_AGE": 60,
            "OPTIONS": dict(parse_qsl(parts.query)),
        }
    raise ImproperlyConfigured(f"DATABASE_URL scheme {parts.scheme!r} is unknown. Use sqlite:/// or postgres://.")
