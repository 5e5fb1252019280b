"""The patterns of .gitignore, .gitattributes and .secretsignore, which strangers write and the hub matches.

pathspec makes a regular expression of each, and one with many stars takes minutes to fail: `*a*a*a*a*a*b` against 200
letters (measured: 5 ms with three stars, 0.24 s with four, 6.8 s with five). So a pattern may have three runs of stars,
and a file a thousand patterns; git itself has no such limits, and what people write does not come near them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from itertools import islice

from pathspec import GitIgnoreSpec
from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

_MOST_STARS, _MOST_PATTERNS = 3, 1000
_STARS = re.compile(r"\*+")


def spec_of(lines: Iterable[str]) -> GitIgnoreSpec:
    """Matches paths against patterns; what is no pattern, or one that would take too long, is left out."""
    meant = (line for line in lines if line.strip() and not line.startswith("#"))
    return _spec(tuple(islice(meant, _MOST_PATTERNS)))


@lru_cache(maxsize=256)
def _spec(lines: tuple[str, ...]) -> GitIgnoreSpec:
    return GitIgnoreSpec([pattern for line in lines if (pattern := _pattern(line)) is not None])


def _pattern(line: str) -> GitIgnoreSpecPattern | None:
    if len(_STARS.findall(line)) > _MOST_STARS:
        return None
    try:
        return GitIgnoreSpecPattern(line)
    except (ValueError, re.error):  # `!` alone, or the range [z-a]
        return None
