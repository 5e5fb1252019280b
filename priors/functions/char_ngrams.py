"""Characters: which short runs of them the words of a text contain."""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from priors.functions._config import FunctionConfig, read_config
from priors.functions._hashing import Symbols, add_ngrams, normalized, rows_at_once
from priors.functions._text import Spelling, as_texts, batches
from priors.registry import function


class CharNgramsConfig(FunctionConfig):
    """`dim` buckets, the orders `n`, and the spelling differences to ignore (`Spelling`)."""

    dim: Annotated[int, Field(ge=16, le=65_536)] = 4_096
    n: list[Annotated[int, Field(ge=1, le=16)]] = Field(default=[1, 2, 3, 4, 5], min_length=1, max_length=16)
    lower: bool = True
    capitals: bool = True
    fold_digits: bool = True


@function("char_ngrams")
class CharNgrams:
    """Hashed character n-grams within words; a word is what stands between white space, with one space on either side.

    Knows spelling, word parts, shouting, prices and numbers in any language, and needs no vocabulary.
    """

    host: ClassVar[bool] = True
    fitted: ClassVar[bool] = False
    input_type: ClassVar[str] = "text.raw[B]:str"

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = read_config(CharNgramsConfig, config, "char_ngrams")
        self._spelling = Spelling(self.config.lower, self.config.capitals, self.config.fold_digits)

    @property
    def output_type(self) -> str:
        return f"vec.feat[B,D:{self.config.dim}]:f32"

    def extract(self, values: Sequence[Any]) -> NDArray[np.float32]:
        """Texts -> (n, dim) float32 of row norm 1 (0 for a text of white space). Raises BadText for what is no text."""
        texts = as_texts(values)
        out = np.zeros((len(texts), self.config.dim), np.float32)
        weights = dict.fromkeys(self.config.n, 1.0)
        for start, batch in batches(texts, rows=rows_at_once(texts, self.config.dim), characters=2**18):
            sums = np.zeros((len(batch), self.config.dim))
            add_ngrams(sums, self._symbols(batch), weights=weights, capitals=self.config.capitals)
            out[start : start + len(batch)] = normalized(sums)
        return out

    def _symbols(self, texts: list[str]) -> Symbols:
        written, folded, lengths, owners = [], [], [], []
        for row, text in enumerate(texts):
            words = self._spelling.written(text).split()
            lengths += [len(word) + 2 for word in words]
            owners += [row] * len(words)
            padded = "".join(f" {word} " for word in words)
            written.append(padded)
            folded.append(self._spelling.folded(padded))
        repeats = np.array(lengths, np.int64)
        return Symbols(
            folded=_code_points("".join(folded)),
            written=_code_points("".join(written)),
            group=np.repeat(np.arange(len(lengths), dtype=np.int64), repeats),
            row=np.repeat(np.array(owners, np.int64), repeats),
        )


def _code_points(text: str) -> NDArray[np.uint64]:
    # A lone surrogate, which JSON can carry, is a code point like any other here.
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4").astype(np.uint64)
