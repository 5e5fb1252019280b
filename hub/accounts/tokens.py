"""The text of API tokens: `ph_`, 32 random characters, and 6 that check them. Pure; the rows are services.py's.

A checksum refuses typing errors without asking the database, and lets anybody who scans for leaked secrets tell a token
from look-alikes.
"""

from __future__ import annotations

import hashlib
import secrets
import string
import zlib

_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_RANDOM, _CHECK = 32, 6
PREFIX_LENGTH = 8
"""How much of a token is kept readable: `ph_` and five characters, of 190 bits."""


def new_token() -> str:
    """A fresh token; 190 random bits."""
    body = "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM))
    return f"ph_{body}{_checksum(body)}"


def well_formed(token: str) -> bool:
    """Whether `token` has the shape and checksum of one; says nothing about whether it was ever issued."""
    body, check = token[3 : 3 + _RANDOM], token[3 + _RANDOM :]
    return (
        token.startswith("ph_")
        and len(check) == _CHECK
        and secrets.compare_digest(check.encode(), _checksum(body).encode())
    )


def digest(secret: str) -> str:
    """What is stored in place of a secret of full entropy: SHA-256, hex; 190 bits need no salt or stretching."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _checksum(body: str) -> str:
    value, text = zlib.crc32(body.encode()), ""
    for _ in range(_CHECK):  # 62^6 > 2^32
        value, digit = divmod(value, len(_ALPHABET))
        text = _ALPHABET[digit] + text
    return text
