"""Which texts from outside can be kept. PostgreSQL stores no NUL, and no database half of a surrogate pair.

Both reach the hub as escapes (`\\u0000` and `\\ud800` in JSON, `%00` in an address), so they are looked for once where
bytes become texts, and nothing behind that has to think of them.
"""

from __future__ import annotations

import re

_UNKEPT = re.compile("[\0\ud800-\udfff]")


def is_storable(value: object) -> bool:
    """Whether every text of this JSON value, keys included, can be stored. However deeply it is nested."""
    left = [value]
    while left:
        match left.pop():
            case str() as text:
                if _UNKEPT.search(text):
                    return False
            case dict() as pairs:
                left += pairs.keys()
                left += pairs.values()
            case list() as items:
                left += items
    return True


def storable(text: str) -> str:
    """The text with a mark in place of each character that cannot be stored."""
    return _UNKEPT.sub("\ufffd", text)
