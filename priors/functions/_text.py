"""What the text functions share: their values are strings, and n-grams see them in one written form."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from priors.errors import BadText

_DIGIT = re.compile(r"\d")


def as_texts(values: Sequence[Any]) -> list[str]:
    """`values` as a list of str. Raises BadText naming the first one that is something else."""
    for position, value in enumerate(values):
        if not isinstance(value, str):
            raise BadText(
                f"value {position} is {type(value).__name__}, not text. Fill missing texts with '' or drop their rows."
            )
    return list(values)


@dataclass(frozen=True)
class Spelling:
    """Which differences of spelling n-grams ignore.

    lower        upper and lower case are the same
    capitals     with `lower`: n-grams that hold a capital count a second time as they were written, so that both "free"
                 and "FREE" are known and a rare word written either way is still found
    fold_digits  every digit is 0: a telephone number is known by its shape
    """

    lower: bool
    capitals: bool
    fold_digits: bool

    def written(self, text: str) -> str:
        """`text` in Unicode's compatibility form (ligatures, full-width and styled letters as plain ones)."""
        if not text.isascii():
            text = unicodedata.normalize("NFKC", text)
        return _DIGIT.sub("0", text) if self.fold_digits else text

    def folded(self, written: str) -> str:
        """`written` without case, of the same length."""
        if not self.lower:
            return written
        folded = written.lower()
        if len(folded) == len(written):
            return folded
        # A few capitals become two characters; they stay as they are, so that both forms align.
        return "".join(low if len(low := char.lower()) == 1 else char for char in written)


def batches(texts: Sequence[str], *, rows: int, characters: int) -> Iterable[tuple[int, list[str]]]:
    """Runs of consecutive texts with their first index: at most `rows` of them and, beyond one text, `characters`."""
    start, size = 0, 0
    for index, text in enumerate(texts):
        if index > start and (index - start == rows or size + len(text) > characters):
            yield start, list(texts[start:index])
            start, size = index, 0
        size += len(text)
    if start < len(texts):
        yield start, list(texts[start:])
