"""SentencePiece models of byte pairs (llama's tokenizer.model) as the tokenizers library reads pairs."""

from __future__ import annotations

from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, processors
from tokenizers.models import BPE

from priors.host._sentencepiece import CONTROL, NORMAL, USER_DEFINED, SentencePiece

MAX_LETTERS = 4_000_000
"""Letters in all pieces together: each may be where a piece is cut in two. Vocabularies of 256,000 pieces have half."""

SPACE = "\u2581"


def sentencepiece_pairs(read: SentencePiece) -> Tokenizer:
    """The tokenizer of a model of pairs, with its token for the start before every text.

    Two neighbours become one where that is the piece of the highest score. What follows a special token within a text
    is cut as a text of its own. Raises ValueError for other models.
    """
    if read.kind != 2:
        raise ValueError("it is a SentencePiece model, but not one of pairs; save tokenizer.json")
    known = {text: at for at, (text, _, _) in enumerate(read.pieces)}
    if len(known) != len(read.pieces):
        raise ValueError("a piece is there twice")
    if not 0 <= read.unknown < len(read.pieces):
        raise ValueError("its unknown piece is none of its pieces")
    made = Tokenizer(
        BPE(
            vocab=known, merges=_merges(read), unk_token=read.pieces[read.unknown][0], fuse_unk=True,
            byte_fallback=read.byte_fallback,
        )
    )  # fmt: skip
    charsmap = [normalizers.Precompiled(read.charsmap)] if read.charsmap else []
    squeeze = [normalizers.Strip(), normalizers.Replace(Regex(" {2,}"), " ")] if read.squeezes else []
    prefix = [normalizers.Prepend(SPACE)] if read.prefix else []
    made.normalizer = normalizers.Sequence([*charsmap, *squeeze, *prefix, normalizers.Replace(" ", SPACE)])
    steps = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    made.decoder = decoders.Sequence([*steps, decoders.Strip(content=" ", left=1)] if read.prefix else steps)
    controls = [text for text, _, kind in read.pieces if kind == CONTROL]
    made.add_special_tokens([AddedToken(text, normalized=False, special=True) for text in controls])
    made.add_tokens([AddedToken(text, normalized=False) for text, _, kind in read.pieces if kind == USER_DEFINED])
    if read.squeezes and any(kind == USER_DEFINED for *_, kind in read.pieces):
        raise ValueError("it leaves out spaces, and where beside symbols of its own is not known; save tokenizer.json")
    if "<s>" not in controls:
        raise ValueError("it has no <s>")
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", known["<s>"])])
    return made


def _merges(read: SentencePiece) -> list[tuple[str, str]]:
    """The pairs that become a piece, the highest score first; of equal ones the earlier piece, then the earlier left
    part."""
    if sum(len(text) for text, _, _ in read.pieces) > MAX_LETTERS:
        raise ValueError(f"its pieces have more than {MAX_LETTERS:,} letters together")
    plain = {text: at for at, (text, _, kind) in enumerate(read.pieces) if kind == NORMAL}
    found = []
    for text, at in plain.items():
        score = read.pieces[at][1]
        for cut in range(1, len(text)):
            left, right = plain.get(text[:cut]), plain.get(text[cut:])
            if left is not None and right is not None:
                found.append((-score, at, left, text[:cut], text[cut:]))
    return [(left, right) for *_, left, right in sorted(found)]
