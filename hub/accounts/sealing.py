"""Secrets that the hub itself has to read again: encrypted, so that a copy of the database does not hold them."""

from __future__ import annotations

import base64
import hashlib

from django.conf import settings


class NotSealed(Exception):
    """What was to be opened was sealed for something else, with another SECRET_KEY, or not at all."""


def seal(purpose: str, text: str) -> str:
    """`text`, encrypted; only `unseal` with the same purpose opens it."""
    from cryptography.fernet import Fernet  # only those who keep such a secret need it

    return Fernet(_key(purpose)).encrypt(text.encode()).decode()


def unseal(purpose: str, sealed: str) -> str:
    """What was sealed for this purpose. Raises NotSealed."""
    from cryptography.fernet import Fernet, InvalidToken

    try:
        return Fernet(_key(purpose)).decrypt(sealed.encode()).decode()
    except InvalidToken as error:
        raise NotSealed from error


def _key(purpose: str) -> bytes:
    return base64.urlsafe_b64encode(hashlib.sha256(f"{purpose}:{settings.SECRET_KEY}".encode()).digest())
