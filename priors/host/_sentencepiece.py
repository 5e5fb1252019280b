"""SentencePiece's model file: its pieces and how it normalizes texts, read from the protobuf without its library."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

MAX_BYTES = 64 << 20
MAX_PIECES = 2_000_000
NORMAL, CONTROL, USER_DEFINED = 1, 3, 4


@dataclass
class SentencePiece:
    """sentencepiece_model.proto: `pieces` are (text, score, type); `kind` 1 is unigram, 2 byte-pair encoding.

    prefix    whether a text begins with a space that was not there;  squeezes  whether spaces in a row become one
    """

    pieces: list[tuple[str, float, int]] = field(default_factory=list)
    kind: int = 1
    unknown: int = 0
    byte_fallback: bool = False
    charsmap: bytes = b""
    prefix: bool = True
    squeezes: bool = True


def read_sentencepiece(content: bytes) -> SentencePiece:
    """Raises ValueError for anything else."""
    found = SentencePiece()
    try:
        for number, value in _fields(content):
            if number == 1 and isinstance(value, bytes):
                if len(found.pieces) >= MAX_PIECES:
                    raise ValueError(f"it has more than {MAX_PIECES:,} pieces")
                piece = dict(_fields(value))
                score = piece.get(2, b"\0\0\0\0")
                found.pieces.append(
                    (_bytes(piece[1]).decode(), struct.unpack("<f", _bytes(score))[0], _int(piece.get(3, 1)))
                )
            elif number == 2 and isinstance(value, bytes):
                trainer = dict(_fields(value))
                found.kind, found.unknown = _int(trainer.get(3, 1)), _int(trainer.get(40, 0))
                found.byte_fallback = bool(trainer.get(35, 0))
            elif number == 3 and isinstance(value, bytes):
                normalizer = dict(_fields(value))
                found.charsmap = _bytes(normalizer.get(2, b""))
                found.prefix, found.squeezes = bool(normalizer.get(3, 1)), bool(normalizer.get(4, 1))
    except (KeyError, IndexError, struct.error, UnicodeDecodeError) as err:
        raise ValueError(f"it is no model of SentencePiece ({err!r:.60})") from err
    if not found.pieces:
        raise ValueError("it is no model of SentencePiece: it has no pieces")
    return found


def _fields(content: bytes) -> list[tuple[int, int | bytes]]:
    found: list[tuple[int, int | bytes]] = []
    at = 0
    while at < len(content):
        key, at = _varint(content, at)
        match key & 7:
            case 0:
                value, at = _varint(content, at)
                found.append((key >> 3, value))
            case 2:
                length, at = _varint(content, at)
                if at + length > len(content):
                    raise ValueError("it is cut off")
                found.append((key >> 3, content[at : at + length]))
                at += length
            case 1 | 5 as wire:
                width = 8 if wire == 1 else 4
                found.append((key >> 3, content[at : at + width]))
                at += width
            case _:
                raise ValueError("it is no protobuf")
    return found


def _varint(content: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("it is no protobuf")


def _bytes(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("a field is a number and no text")
    return value


def _int(value: int | bytes) -> int:
    if not isinstance(value, int):
        raise ValueError("a field is a text and no number")
    return value
