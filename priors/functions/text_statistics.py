"""Numbers one can read off a text: how long, how loud, how many digits, whether it asks, links or sells."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import log1p, sqrt
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from priors.functions._config import FunctionConfig, read_config
from priors.functions._text import as_texts
from priors.registry import function

# Each pattern is tried at each character and looks at a bounded number of others: time is linear for any text.
_URL = re.compile(r"https?://|\bwww\.|[a-z0-9]\.(?:com|org|net|co|io|uk|de|info)\b", re.IGNORECASE)
_ADDRESS = re.compile(r"(?:^|\s)[@#]\w|\w@\w")
_PHONE = re.compile(r"\d(?:[ ().-]?\d){6}")
_CURRENCY = re.compile(r"[$€£¥₹₽₩]|\b(?:usd|eur|gbp|inr)\b", re.IGNORECASE)
_NUMBER = re.compile(r"\d+")
_STRETCH = re.compile(r"([^\W\d_])\1\1|([!?.])\2")
_SENTENCE_END = re.compile(r"[.!?…。！？](?=\s|$)")


@dataclass(frozen=True)
class _Facts:
    """A text and the counts that several statistics need."""

    text: str

    @cached_property
    def words(self) -> list[str]:
        return self.text.split()

    @cached_property
    def kinds(self) -> Counter[str]:
        """How many characters are of each `_kind`."""
        kinds: Counter[str] = Counter()
        for char, times in Counter(self.text).items():
            kinds[_kind(char)] += times
        return kinds

    @cached_property
    def numbers(self) -> list[str]:
        return _NUMBER.findall(self.text)

    def of_characters(self, count: int) -> float:
        return sqrt(count / len(self.text)) if self.text else 0.0

    def of_words(self, count: int) -> float:
        return count / len(self.words) if self.words else 0.0


def _kind(char: str) -> str:
    if char.isdigit():
        return "digit"
    if char.isalpha():
        return "upper" if char.isupper() else "letter"
    return "space" if char.isspace() else "mark"


# Lengths pass through log1p over the log of a long ordinary value, shares of characters (small, skewed) through a
# square root, and flags are 0 or 1: every column is of order one for ordinary texts, by fixed formulas.
_STATISTICS: dict[str, Callable[[_Facts], float]] = {
    "characters": lambda f: log1p(len(f.text)) / 5,
    "words": lambda f: log1p(len(f.words)) / 3,
    "word_length": lambda f: log1p(sum(map(len, f.words)) / max(len(f.words), 1)) / 2,
    "longest_word": lambda f: log1p(max(map(len, f.words), default=0)) / 3,
    "sentences": lambda f: log1p(len(_SENTENCE_END.findall(f.text))),
    "distinct_words": lambda f: f.of_words(len({word.lower() for word in f.words})),
    "digit_share": lambda f: f.of_characters(f.kinds["digit"]),
    "upper_share": lambda f: f.of_characters(f.kinds["upper"]),
    "mark_share": lambda f: f.of_characters(f.kinds["mark"]),
    "space_share": lambda f: f.of_characters(f.kinds["space"]),
    "beyond_ascii_share": lambda f: f.of_characters(sum(map(len, re.findall(r"[^\x00-\x7f]+", f.text)))),
    "capitalized_words": lambda f: f.of_words(sum(word[0].isupper() for word in f.words)),
    "shouted_words": lambda f: f.of_words(sum(len(word) > 1 and word.isupper() for word in f.words)),
    "numbers": lambda f: log1p(len(f.numbers)),
    "longest_number": lambda f: log1p(max(map(len, f.numbers), default=0)) / 2,
    "questions": lambda f: log1p(f.text.count("?")),
    "exclamations": lambda f: log1p(f.text.count("!")),
    "quotes": lambda f: log1p(sum(map(f.text.count, "'\"’‘“”"))),
    "has_url": lambda f: float(_URL.search(f.text) is not None),
    "has_address": lambda f: float(_ADDRESS.search(f.text) is not None),
    "has_phone": lambda f: float(_PHONE.search(f.text) is not None),
    "has_currency": lambda f: float(_CURRENCY.search(f.text) is not None),
    "has_stretch": lambda f: float(_STRETCH.search(f.text) is not None),
    "starts_upper": lambda f: float(f.text.lstrip()[:1].isupper()),
    "ends_question": lambda f: float(f.text.rstrip().endswith(("?", "？"))),
    "ends_period": lambda f: float(f.text.rstrip().endswith((".", "。"))),
}

NAMES = tuple(_STATISTICS)
"""What each column is, in order."""


class TextStatisticsConfig(FunctionConfig):
    """Nothing to choose."""


@function("text_statistics")
class TextStatistics:
    """26 numbers a text, named in `NAMES`: lengths, shares of characters and words, and what the text contains."""

    host: ClassVar[bool] = True
    fitted: ClassVar[bool] = False
    input_type: ClassVar[str] = "text.raw[B]:str"

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = read_config(TextStatisticsConfig, config, "text_statistics")

    @property
    def output_type(self) -> str:
        return f"vec.feat[B,D:{len(NAMES)}]:f32"

    def extract(self, values: Sequence[Any]) -> NDArray[np.float32]:
        """Texts -> (n, 26) float32. Raises BadText for what is no text."""
        out = np.zeros((len(values), len(NAMES)), np.float32)
        for row, text in enumerate(as_texts(values)):
            facts = _Facts(text)
            out[row] = [statistic(facts) for statistic in _STATISTICS.values()]
        return out
