"""Tokenizers from the files that came before tokenizer.json: vocab.txt, vocab.json with merges.txt, SentencePiece.

One function a form. A form is all that a model type's tokenizer does beside its vocabulary, as the transformers library
has it; nothing is read from files but words, merges and scores.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Literal

from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE, Unigram, WordPiece

from priors.host._pairs import sentencepiece_pairs
from priors.host._sentencepiece import CONTROL, MAX_BYTES, MAX_PIECES, USER_DEFINED, SentencePiece, read_sentencepiece

Form = Literal["bert", "mpnet", "roberta", "gpt2", "qwen2", "xlm-roberta", "t5", "deberta-v2", "llama"]

_QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How its texts are cut before bytes are paired: tokenization_qwen2.py of transformers."""
_T5_EXTRA = 100


def tokenizer_of(
    form: Form, vocabulary: bytes, merges: bytes, *, lowercase: bool, accents: bool | None, chinese: bool
) -> Tokenizer:
    """The tokenizer of a form. Raises ValueError where the files are not what the form needs."""
    if max(len(vocabulary), len(merges)) > MAX_BYTES:
        raise ValueError(f"it has more than {MAX_BYTES:,} bytes")
    if form in ("bert", "mpnet"):
        return _wordpiece(vocabulary, form == "mpnet", lowercase=lowercase, accents=accents, chinese=chinese)
    if form in ("roberta", "gpt2", "qwen2"):
        return _byte_pairs(form, vocabulary, merges)
    if form == "llama":
        return sentencepiece_pairs(read_sentencepiece(vocabulary))
    return _unigram(form, read_sentencepiece(vocabulary), lowercase=lowercase)


def add_tokens(made: Tokenizer, added: Sequence[tuple[int, AddedToken]]) -> None:
    """Tokens that came to a vocabulary later, under the numbers its network knows them by.

    Raises ValueError where a number is another token's, or leaves a gap behind the vocabulary.
    """
    for number, token in sorted(added, key=lambda one: one[0]):
        size = made.get_vocab_size(with_added_tokens=True)
        there = made.id_to_token(number) if number < size else token.content
        if there != token.content or number > size or (number == size and made.token_to_id(token.content) is not None):
            raise ValueError(
                f"token {token.content!r} is added as number {number}, which is {there!r} or beyond {size}"
            )
        (made.add_special_tokens if token.special else made.add_tokens)([token])


def _wordpiece(vocabulary: bytes, mpnet: bool, *, lowercase: bool, accents: bool | None, chinese: bool) -> Tokenizer:
    words = vocabulary.decode().removesuffix("\n").split("\n")
    known = {word.removesuffix("\r"): at for at, word in enumerate(words)}
    start, end = ("<s>", "</s>") if mpnet else ("[CLS]", "[SEP]")
    made = Tokenizer(WordPiece(known, unk_token=_in(known, "[UNK]")))
    made.normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=chinese, strip_accents=accents, lowercase=lowercase
    )
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece(prefix="##")
    mask = AddedToken("<mask>", lstrip=True, special=True, normalized=False) if mpnet else "[MASK]"
    pad = "<pad>" if mpnet else "[PAD]"
    _special(made, known, [start, pad, end, "[UNK]", mask])
    made.post_processor = _around(known, start, end)
    return made


def _byte_pairs(form: str, vocabulary: bytes, merges: bytes) -> Tokenizer:
    try:
        known = json.loads(vocabulary)
    except RecursionError as err:
        raise ValueError("it is nested") from err
    if not isinstance(known, dict) or not all(type(at) is int and 0 <= at < MAX_PIECES for at in known.values()):
        raise ValueError("it is no table of tokens and their numbers")
    lines = merges.decode().removesuffix("\n").split("\n")
    pairs = [line.rstrip("\r").partition(" ") for line in lines if line and not line.startswith("#version")]
    if not all(one and two and " " not in two for one, _, two in pairs):
        raise ValueError("a line of the merges is no pair")
    made = Tokenizer(BPE(vocab=known, merges=[(one, two) for one, _, two in pairs], fuse_unk=False))
    made.decoder = decoders.ByteLevel()
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if form == "qwen2":
        made.normalizer = normalizers.NFC()
        cut = pre_tokenizers.Split(Regex(_QWEN2), behavior="isolated", invert=False)
        level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        made.pre_tokenizer = pre_tokenizers.Sequence([cut, level])
    if form == "roberta":
        mask = AddedToken("<mask>", lstrip=True, special=True, normalized=False)
        _special(made, known, ["<s>", "</s>", "<unk>", "<pad>", mask])
        made.post_processor = processors.RobertaProcessing(
            ("</s>", known[_in(known, "</s>")]), ("<s>", known[_in(known, "<s>")]), True, False
        )
    else:
        _special(made, known, ["<|endoftext|>"])
    return made


def _unigram(form: str, read: SentencePiece, *, lowercase: bool) -> Tokenizer:
    if read.kind != 1:
        raise ValueError("it is a SentencePiece model of pairs, and only unigram ones are read; save tokenizer.json")
    pieces = [(text, score) for text, score, _ in read.pieces]
    unknown = read.unknown
    if form == "xlm-roberta":
        first = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
        pieces, unknown = [*first, *pieces[3:], ("<mask>", 0.0)], 3
    elif form == "t5":
        pieces += [(f"<extra_id_{i}>", 0.0) for i in reversed(range(_T5_EXTRA))]
    known = {text: at for at, (text, _) in enumerate(pieces)}
    if not 0 <= unknown < len(pieces):
        raise ValueError("its unknown piece is none of its pieces")
    made = Tokenizer(Unigram(pieces, unk_id=unknown, byte_fallback=False))
    charsmap = [normalizers.Precompiled(read.charsmap)] if read.charsmap else []
    if form == "deberta-v2":
        lower = [normalizers.Lowercase()] if lowercase else []
        parts = [*lower, normalizers.Strip(), *charsmap, normalizers.Replace(Regex(" {2,}"), " ")]
    else:
        parts = [*charsmap, normalizers.Strip(left=False, right=True), normalizers.Replace(Regex(" {2,}"), "\u2581")]
    made.normalizer = normalizers.Sequence(parts)
    made.pre_tokenizer = pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme="always")
    made.decoder = decoders.Metaspace(replacement="\u2581", prepend_scheme="always")
    own = [text for text, _, kind in read.pieces if kind in (CONTROL, USER_DEFINED)]
    special = {
        "xlm-roberta": ["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        "t5": ["<pad>", "</s>", "<unk>", *(f"<extra_id_{i}>" for i in reversed(range(_T5_EXTRA)))],
        "deberta-v2": ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"],
    }[form]
    controls = {text for text, _, kind in read.pieces if kind == CONTROL}
    made.add_tokens(
        [AddedToken(text, normalized=False, special=text in controls) for text in own if text not in special]
    )
    _special(made, known, special)
    if form == "t5":
        made.post_processor = processors.TemplateProcessing(
            single="$A </s>", special_tokens=[("</s>", known[_in(known, "</s>")])]
        )
    else:
        made.post_processor = _around(known, *(("<s>", "</s>") if form == "xlm-roberta" else ("[CLS]", "[SEP]")))
    return made


def _around(known: dict[str, int], start: str, end: str) -> processors.TemplateProcessing:
    return processors.TemplateProcessing(
        single=f"{start} $A {end}",
        special_tokens=[(start, known[_in(known, start)]), (end, known[_in(known, end)])],
    )


def _special(made: Tokenizer, known: dict[str, int], tokens: Sequence[str | AddedToken]) -> None:
    """Those of the vocabulary become special; deberta's mask is the one token that its file never has."""
    made.add_special_tokens([one for one in tokens if str(one) in known or str(one) == "[MASK]" or not known])


def _in(known: dict[str, int], token: str) -> str:
    if token not in known:
        raise ValueError(f"it has no {token}")
    return token
