"""Texts to token ids, by a tokenizer.json of the tokenizers library or by the files that came before it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field
from tokenizers import AddedToken, Tokenizer

from priors.errors import BadManifest, BadText
from priors.host._config import Encoder, HostConfig, read_host
from priors.host._vocabularies import Form, add_tokens, tokenizer_of

MAX_CHARACTERS = 100_000
"""A text is read up to here. Tasks refuse longer ones; the cut keeps time and memory bounded for any caller."""


_File = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}$")]


class AddedConfig(HostConfig):
    """A token that a vocabulary got later: its number, and how texts are cut around it."""

    id: Annotated[int, Field(ge=0, lt=2_000_000)]
    content: Annotated[str, Field(min_length=1, max_length=200)]
    special: bool = False
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = True


class TextConfig(HostConfig):
    """`file` in the prior's folder; `max_tokens` a text is cut to, special tokens included; `pad_id` after its end.

    form       what the file is, where it is no tokenizer.json: the vocabulary of a model type (`_vocabularies`)
    merges     the second file of byte-pair forms
    lowercase, accents, chinese   what WordPiece forms and deberta's do to letters: as tokenizer_config.json says
    added      tokens that came to the form's vocabulary later
    """

    encoder: Literal["tokenizer"]
    file: _File
    form: Form | None = None
    merges: _File | None = None
    lowercase: bool = False
    accents: bool | None = None
    chinese: bool = True
    added: Annotated[list[AddedConfig], Field(default_factory=list, max_length=1_000)]
    max_tokens: Annotated[int, Field(ge=4, le=8_192)]
    pad_id: Annotated[int, Field(ge=0)] | None = None


class TextEncoder(Encoder):
    """Token ids (n, T) int64 and their mask (n, T) bool, padded at the end to the longest text of the call.

    Without `pad_id` padding uses the tokenizer's own pad token, or else 0; networks never read masked positions.
    """

    schema: ClassVar[type[HostConfig]] = TextConfig

    def __init__(self, tokenizer: Tokenizer, config: TextConfig, *, content: bytes, sha256: str) -> None:
        self.config = config
        self._content, self._sha256 = content, sha256
        self._tokenizer = tokenizer
        self._pad_id = self._find_pad_id()
        tokenizer.no_padding()  # done here: the file's own setting may pad everything to one fixed length
        tokenizer.enable_truncation(config.max_tokens)

    @classmethod
    def from_host(cls, host: Mapping[str, Any], directory: Path) -> TextEncoder:
        """Reads the tokenizer named in `host`. Raises BadManifest when it is missing or not a tokenizer."""
        config = read_host(TextConfig, host)
        content, merges = (_read(directory, name) if name else b"" for name in (config.file, config.merges))
        try:
            with _no_panic(config.file):
                return cls._made(config, content, merges)
        except BadManifest:
            raise
        except Exception as err:  # the library raises plain Exception for whatever its parser dislikes
            what = f"the vocabulary of {config.form}" if config.form else "a tokenizer of the tokenizers library"
            raise BadManifest(f"{config.file} is not {what} ({err}). Export tokenizer.json.") from err

    @classmethod
    def _made(cls, config: TextConfig, content: bytes, merges: bytes) -> TextEncoder:
        if config.form is None:
            tokenizer = Tokenizer.from_str(content.decode())
            return cls(tokenizer, config, content=content, sha256=hashlib.sha256(content).hexdigest())
        tokenizer = tokenizer_of(
            config.form, content, merges,
            lowercase=config.lowercase, accents=config.accents, chinese=config.chinese,
        )  # fmt: skip
        add_tokens(tokenizer, [(one.id, AddedToken(**one.model_dump(exclude={"id"}))) for one in config.added])
        both = hashlib.sha256(hashlib.sha256(content).digest() + hashlib.sha256(merges).digest())
        return cls(tokenizer, config, content=tokenizer.to_str().encode(), sha256=both.hexdigest())

    def as_json(self) -> tuple[bytes, dict[str, Any]]:
        """This tokenizer as the content of a tokenizer.json, and the `spec` of an encoder that reads that."""
        spec = {key: value for key, value in self.spec.items() if key not in (*_OF_FORMS, "added")}
        return self._content, {**spec, "sha256": hashlib.sha256(self._content).hexdigest()}

    @property
    def spec(self) -> dict[str, Any]:
        return {
            "encoder": "tokenizer",
            "file": self.config.file,
            "sha256": self._sha256,
            "max_tokens": self.config.max_tokens,
            "max_characters": MAX_CHARACTERS,
            "pad_id": self._pad_id,
            "padding": "end, to the longest of the batch",
            **({} if self.config.form is None else self.config.model_dump(include=_OF_FORMS)),
            **({"added": [one.model_dump() for one in self.config.added]} if self.config.added else {}),
        }

    def arrays(self, values: Sequence[Any]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """(ids (n, T) int64, mask (n, T) bool). Raises BadText naming a value that is no text."""
        with _no_panic(self.config.file):
            encodings = self._tokenizer.encode_batch([_cut(value, at) for at, value in enumerate(values)])
        longest = max((len(encoding.ids) for encoding in encodings), default=0)
        # At least one position, so that a network always has something to (not) look at.
        ids = np.full((len(encodings), max(longest, 1)), self._pad_id, np.int64)
        mask = np.zeros(ids.shape, bool)
        for row, encoding in enumerate(encodings):
            ids[row, : len(encoding.ids)] = encoding.ids
            mask[row, : len(encoding.ids)] = True
        return ids, mask

    def decode(self, ids: ArrayLike, mask: ArrayLike | None = None) -> list[str]:
        """The texts that ids (n, T) stand for, without special tokens; only what the mask shows, where there is one."""
        shown = None if mask is None else np.asarray(mask).tolist()
        rows = [
            row if shown is None else [one for one, seen in zip(row, shown[at], strict=True) if seen]
            for at, row in enumerate(np.asarray(ids).tolist())
        ]
        found: list[str] = self._tokenizer.decode_batch(rows, skip_special_tokens=True)
        return found

    def _find_pad_id(self) -> int:
        if self.config.pad_id is not None:
            return self.config.pad_id
        if self._tokenizer.padding:
            return int(self._tokenizer.padding["pad_id"])
        found = (self._tokenizer.token_to_id(token) for token in ("[PAD]", "<pad>"))
        return next((token for token in found if token is not None), 0)


_OF_FORMS = {"form", "merges", "lowercase", "accents", "chinese"}


@contextmanager
def _no_panic(name: str) -> Iterator[None]:
    """The library's own mistakes over a hostile file come as no Exception at all, and would end a whole worker."""
    try:
        yield
    except BaseException as err:
        if type(err).__name__ != "PanicException":
            raise
        raise BadManifest(
            f"{name} breaks the tokenizers library ({str(err)[:100]}). Export the tokenizer again."
        ) from err


def _read(directory: Path, name: str) -> bytes:
    try:
        return (directory / name).read_bytes()
    except OSError as err:
        raise BadManifest(f"{name} cannot be read ({err.strerror}). Fetch the prior again.") from err


def _cut(value: Any, position: int) -> str:
    if not isinstance(value, str):
        raise BadText(
            f"value {position} is {type(value).__name__}, not text. Fill missing texts with '' or drop their rows."
        )
    # The library refuses lone surrogates, which JSON can carry; they become question marks.
    return value[:MAX_CHARACTERS].encode("utf-8", "replace").decode()
