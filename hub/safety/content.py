"""Magic bytes: what a file's content is, whatever it is called. One list for every kind of repository; runs nothing.

An unknown extension is opaque bytes. A known one is refused when its content is recognisably something else.
"""

from __future__ import annotations

import pickletools
import re
import struct
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import PurePosixPath
from typing import BinaryIO

from hub.errors import FileRefused
from priors.errors import BadWeights
from priors.onnx_graph import check_graph
from priors.weights import check_header, looks_like_safetensors, sniff, what_is

HEAD = 4096
_ISO_AT, _ISO = 32769, b"CD001"
_MAX_DIRECTORY = 4 << 20
_MAX_PIXELS = 100_000_000


def check_published(path: str, file: BinaryIO, size: int) -> None:
    """Refuses what priors and compositions may not hold: they are opened by programs, without a person looking.

    safetensors, JSON, YAML, Markdown, plain text, PNG, JPEG, WebP and ONNX without external data; unknown extensions
    as opaque bytes that are no pickle, archive or program.
    """
    suffix = _suffix(path)
    if suffix in _NOT_PUBLISHED:
        raise FileRefused(
            f"{path!r}: {suffix} files may not lie in priors and compositions. Convert it to safetensors, JSON, text, "
            "PNG, JPEG, WebP or ONNX, or use a plain repository."
        )
    head = _head(file, size)
    sniff(head, path)
    if head[_ISO_AT:].startswith(_ISO):
        raise _mismatch(path, "a disk image")
    if suffix == ".safetensors":
        file.seek(0)
        check_header(file)
    elif suffix == ".onnx":
        check_onnx(path, file, size)
    elif suffix in _BEGINS and not _BEGINS[suffix](head):
        raise FileRefused(f"{path!r} does not begin like a {suffix} file. Rename it to what it is, or export it again.")
    _check_pixels(path, head)
    _check_end(path, file, size)


def check_task_file(path: str, file: BinaryIO, size: int) -> None:
    """Refuses what a task may not hold. Rows may begin with any text, so a table is only asked whether it is text."""
    suffix = _suffix(path)
    head = _head(file, size)
    if suffix not in _ROWS:
        check_published(path, file, size)
        return
    if suffix in _TEXT:
        if not _is_text(head):
            raise _mismatch(path, what_is(head) or "not UTF-8 text")
    elif not _BEGINS[suffix](head):
        raise FileRefused(f"{path!r} does not begin like a {suffix} file. Rename it to what it is, or export it again.")
    if suffix == ".npy" and _has_objects(head):
        raise FileRefused(f"{path!r} holds Python objects, which are pickled. Save an array of numbers or text.")
    _check_pixels(path, head)


def check_plain(path: str, file: BinaryIO, size: int, *, allow_pickle: bool) -> str | None:
    """What a plain repository may hold: any bytes, unless they are recognisably not what the file is called.

    Gives a note when the file is, or carries, a pickle. Raises FileRefused for those where they are not allowed.
    """
    suffix = _suffix(path)
    head = _head(file, size)
    fits = _BEGINS.get(suffix)
    found = what_is(head)
    if fits is not None and not fits(head) and found is not None:
        raise _mismatch(path, found)
    note = _pickle_in(suffix, head, file, size)
    if note is not None and not allow_pickle:
        raise FileRefused(
            f"{path!r} {note}. Opening a pickle can run code, so this hub takes none. Save the weights as "
            "safetensors, or ask the operator about ALLOW_PICKLE."
        )
    return note


def begins_as_pickle(head: bytes) -> bool:
    """Whether the beginning of a file already tells that it is a pickle, or an archive that torch put one into."""
    return _begins_as_pickle(head) or (_ZIP(head) and b"/data.pkl" in head[30:300])


def check_onnx(path: str, file: BinaryIO, size: int) -> None:
    """Refuses ONNX models that read other files or need operators from elsewhere."""
    try:
        check_graph(path, file, size)
    except BadWeights as err:
        raise FileRefused(str(err)) from err


def _pickle_in(suffix: str, head: bytes, file: BinaryIO, size: int) -> str | None:
    if _begins_as_pickle(head):
        return "is a pickle"
    if head.startswith(b"PK\x03\x04"):
        names = list(_zip_names(file, size))
        if any(name.endswith((b".pkl", b".pickle", b".pk")) for name in names):
            return "is an archive with a pickle in it, as torch.save writes"
    if suffix == ".npy" and _has_objects(head):
        return "is an array of Python objects, which are pickled"
    if suffix in PICKLE_SUFFIXES and not looks_like_safetensors(head):
        return "has the name of a pickle"
    return None


def _begins_as_pickle(head: bytes) -> bool:
    """Whether the first operations read as those of a pickle: two bytes of magic alone could be anybody's."""
    found = what_is(head)
    if found is None or "pickle" not in found:
        return False
    try:
        for count, _ in enumerate(pickletools.genops(BytesIO(head))):
            if count >= 8:
                return True
    except Exception as err:  # a pickle that goes on behind the head, or none at all
        return "not enough data" in str(err) or "exhausted" in str(err) or "no newline" in str(err)
    return True


def _zip_names(file: BinaryIO, size: int) -> Iterator[bytes]:
    """The names in a zip's directory, read by hand: nothing is unpacked, and a directory too large is not read."""
    tail_at = max(0, size - 65_557)
    file.seek(tail_at)
    tail = file.read(65_557)
    end = tail.rfind(b"PK\x05\x06")
    if end < 0 or len(tail) < end + 22:
        return
    length, start = struct.unpack_from("<II", tail, end + 12)
    if start == 0xFFFFFFFF or length > _MAX_DIRECTORY:  # zip64 keeps the place elsewhere: look where it must end
        length = min(length, _MAX_DIRECTORY)
        start = max(0, tail_at + end - length)
    file.seek(start)
    directory = file.read(min(length, _MAX_DIRECTORY))
    for match in re.finditer(rb"PK\x01\x02", directory):
        if match.start() + 46 <= len(directory):
            (name,) = struct.unpack_from("<H", directory, match.start() + 28)
            yield directory[match.start() + 46 : match.start() + 46 + name]


def _check_end(path: str, file: BinaryIO, size: int) -> None:
    """Refuses a file that is a zip archive too: such archives are found from their end, whatever stands before."""
    file.seek(max(0, size - 65_557))
    tail = file.read(65_557)
    at = tail.rfind(b"PK\x05\x06")
    if 0 <= at <= len(tail) - 22 and at + 22 + struct.unpack_from("<H", tail, at + 20)[0] == len(tail):
        raise FileRefused(f"{path!r} is a zip archive as well. Export it again without what is appended.")
    suffix = _suffix(path)
    if suffix == ".png" and not tail.endswith(b"\x00\x00\x00\x00IEND\xaeB`\x82"):
        raise FileRefused(f"{path!r} goes on behind the picture, or is cut off. Export it again.")
    if suffix in {".jpg", ".jpeg"} and not tail.rstrip(b"\x00").endswith(b"\xff\xd9"):
        raise FileRefused(f"{path!r} goes on behind the picture, or is cut off. Export it again.")
    if suffix == ".webp":
        file.seek(4)
        if not 0 <= size - 8 - int.from_bytes(file.read(4), "little") <= 1:
            raise FileRefused(f"{path!r} goes on behind the picture, or is cut off. Export it again.")


def _check_pixels(path: str, head: bytes) -> None:
    if head.startswith(b"\x89PNG\r\n\x1a\n") and len(head) >= 24:
        width, height = struct.unpack_from(">II", head, 16)
        if width * height > _MAX_PIXELS:
            raise FileRefused(f"{path!r} would take {width} x {height} pixels in memory. Scale it down.")


def _head(file: BinaryIO, size: int) -> bytes:
    file.seek(0)
    return file.read(_ISO_AT + len(_ISO) if size > _ISO_AT else HEAD)


def _suffix(path: str) -> str:
    return PurePosixPath(path).suffix.lower()


def _mismatch(path: str, found: str) -> FileRefused:
    return FileRefused(f"{path!r} is {found}. Rename it to what it is, or convert it.")


def _is_text(head: bytes) -> bool:
    head = head[:HEAD].removeprefix(b"\xef\xbb\xbf")
    try:
        text = head.decode()
    except UnicodeDecodeError as err:
        if err.end < len(head) - 3:  # not merely a character that the end cuts in two
            return False
        text = head[: err.start].decode()
    return "\x00" not in text


def _has_objects(head: bytes) -> bool:
    return head.startswith(b"\x93NUMPY") and (b"'O'" in head[:256] or b"|O" in head[:256])


def _starts(*magic: bytes, at: int = 0) -> Callable[[bytes], bool]:
    return lambda head: head.startswith(magic, at)


def _riff(form: bytes) -> Callable[[bytes], bool]:
    return lambda head: head.startswith((b"RIFF", b"RF64")) and head[8:12] == form


_ZIP = _starts(b"PK\x03\x04", b"PK\x05\x06")
_TEXT = {".json", ".jsonl", ".yaml", ".yml", ".md", ".txt", ".csv", ".tsv", ".toml", ".py", ".html", ".xml", ".svg"}
PICKLE_SUFFIXES = {".pkl", ".pickle", ".pk", ".joblib", ".dill", ".pt", ".pth", ".ckpt"}
_BEGINS: dict[str, Callable[[bytes], bool]] = {
    **dict.fromkeys(_TEXT, _is_text),
    **dict.fromkeys(PICKLE_SUFFIXES, lambda head: _begins_as_pickle(head) or _ZIP(head)),
    ".json": lambda head: head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"["),
    ".safetensors": looks_like_safetensors,
    ".png": _starts(b"\x89PNG\r\n\x1a\n"),
    ".jpg": _starts(b"\xff\xd8\xff"),
    ".jpeg": _starts(b"\xff\xd8\xff"),
    ".gif": _starts(b"GIF87a", b"GIF89a"),
    ".webp": _riff(b"WEBP"),
    ".wav": _riff(b"WAVE"),
    ".flac": _starts(b"fLaC", b"ID3"),
    ".mp3": _starts(b"ID3", b"\xff\xfb", b"\xff\xf3", b"\xff\xf2"),
    ".mp4": _starts(b"ftyp", at=4),
    ".ogg": _starts(b"OggS"),
    ".pdf": _starts(b"%PDF"),
    ".parquet": _starts(b"PAR1"),
    ".npy": _starts(b"\x93NUMPY"),
    ".npz": _ZIP,
    ".zip": _ZIP,
    ".keras": _ZIP,
    ".pt2": _ZIP,
    ".h5": _starts(b"\x89HDF\r\n\x1a\n"),
    ".hdf5": _starts(b"\x89HDF\r\n\x1a\n"),
    ".gguf": _starts(b"GGUF"),
    ".onnx": _starts(b"\x08"),
    ".tar": _starts(b"ustar", at=257),
    ".gz": _starts(b"\x1f\x8b"),
    ".tgz": _starts(b"\x1f\x8b"),
    ".bz2": _starts(b"BZh"),
    ".xz": _starts(b"\xfd7zXZ\x00"),
    ".7z": _starts(b"7z\xbc\xaf\x27\x1c"),
    ".zst": _starts(b"\x28\xb5\x2f\xfd"),
    ".rar": _starts(b"Rar!\x1a\x07"),
    ".iso": _starts(_ISO, at=_ISO_AT),
    ".wasm": _starts(b"\x00asm"),
}
"""How a file of each known extension begins."""

_ROWS = {".csv", ".tsv", ".jsonl", ".txt", ".parquet", ".npy", ".wav", ".flac", ".png", ".jpg", ".jpeg", ".webp"}
"""What a task keeps its rows in."""

_PUBLISHED = {
    ".safetensors", ".json", ".jsonl", ".yaml", ".yml", ".md", ".txt", ".csv", ".tsv", ".toml", ".py", ".png", ".jpg",
    ".jpeg", ".webp", ".onnx",
}  # fmt: skip
_NOT_PUBLISHED = (_BEGINS.keys() - _PUBLISHED) | {".htm", ".exe", ".dll", ".so", ".cab", ".jar", ".whl"}
