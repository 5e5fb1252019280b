"""Words: which of them, and which pairs in a row, a text contains."""

import re
import zlib
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from priors.functions._config import FunctionConfig, read_config
from priors.functions._hashing import Symbols, add_ngrams, normalized, rows_at_once
from priors.functions._text import Spelling, as_texts, batches
from priors.registry import function

_TOKEN = re.compile(r"\w+|[^\w\s]")
_START, _END = "\x02", "\x03"


class WordNgramsConfig(FunctionConfig):
    """`dim` buckets, the orders `n`, and the spelling differences to ignore (`Spelling`)."""

    dim: Annotated[int, Field(ge=16, le=65_536)] = 4_096
    n: list[Annotated[int, Field(ge=1, le=8)]] = Field(default=[1, 2], min_length=1, max_length=8)
    lower: bool = True
    capitals: bool = True
    fold_digits: bool = True


@function("word_ngrams")
class WordNgrams:
    """Hashed word n-grams; each punctuation mark is a word, and so are the start and the end of a text.

    Order n weighs 1/sqrt(n): pairs are rarer evidence and there are as many of them as words.
    """

    host: ClassVar[bool] = True
    fitted: ClassVar[bool] = False
    input_type: ClassVar[str] = "text.raw[B]:str"

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = read_config(WordNgramsConfig, config, "word_ngrams")
        self._spelling = Spelling(self.config.lower, self.config.capitals, self.config.fold_digits)

    @property
    def output_type(self) -> str:
        return f"vec.feat[B,D:{self.config.dim}]:f32"

    def extract(self, values: Sequence[Any]) -> NDArray[np.float32]:
        """Texts -> (n, dim) float32 of row norm 1 (0 for a text of white space). Raises BadText for what is no text."""
        texts = as_texts(values)
        out = np.zeros((len(texts), self.config.dim), np.float32)
        weights = {n: n**-0.5 for n in self.config.n}
        for start, batch in batches(texts, rows=rows_at_once(texts, self.config.dim), characters=2**18):
            sums = np.zeros((len(batch), self.config.dim))
            add_ngrams(sums, self._symbols(batch), weights=weights, capitals=self.config.capitals)
            out[start : start + len(batch)] = normalized(sums)
        return out

    def _symbols(self, texts: list[str]) -> Symbols:
        written: list[int] = []
        folded: list[int] = []
        lengths = []
        known: dict[str, tuple[int, int]] = {}
        for text in texts:
            tokens = _TOKEN.findall(self._spelling.written(text))
            if tokens:
                tokens = [_START, *tokens, _END]
            for token in tokens:
                if token not in known:
                    known[token] = (_checksum(token), _checksum(self._spelling.folded(token)))
                written.append(known[token][0])
                folded.append(known[token][1])
            lengths.append(len(tokens))
        row = np.repeat(np.arange(len(texts), dtype=np.int64), np.array(lengths, np.int64))
        return Symbols(np.array(folded, np.uint64), np.array(written, np.uint64), row, row)


def _checksum(word: str) -> int:
    """CRC-32 of the word's UTF-8: a fixed number for a word, on every machine."""
    return zlib.crc32(word.encode("utf-8", "surrogatepass"))
