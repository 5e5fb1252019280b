"""Weight files: safetensors and nothing else, looked at by our own header check before any library opens them.

The safetensors library (0.8) accepts duplicate tensor names, names such as `../../etc/passwd`, zero-size tensors, rank
10,000, and needs 8 s and 1.5 GB for a header of a million tensors (all measured). `check_header` refuses these from the
header alone, in milliseconds. `sniff` refuses pickle, archives and programs by their first bytes, whatever their name.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import re
import secrets
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from priors.errors import BadWeights

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS = "model.safetensors"
"""What the file of a model's weights is called, in every library."""
MAX_HEADER = 4 << 20
MAX_TENSORS = 10_000
MAX_RANK = 8
MAX_METADATA = 64 << 10
SNIFF_BYTES = 512
"""How much of a file's beginning `sniff` wants: a tar archive shows itself at byte 257."""

_MAX_COMMAS = MAX_TENSORS * (MAX_RANK + 4) + MAX_METADATA
_NAME = re.compile(r"[A-Za-z0-9._-][A-Za-z0-9._/-]{0,199}")
_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E5M2": 1, "F8_E4M3": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2,
    "I32": 4, "U32": 4, "F32": 4, "I64": 8, "U64": 8, "F64": 8,
}  # fmt: skip


@dataclass(frozen=True)
class TensorInfo:
    """One tensor of a file; `begin` and `end` are bytes counted from the end of the header."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class Header:
    """A header that passed every rule: tensors in the order of their bytes, metadata, and where the bytes start."""

    tensors: Mapping[str, TensorInfo]
    metadata: Mapping[str, str]
    data_start: int

    @property
    def parameters(self) -> int:
        """The number of values in all tensors."""
        return sum(math.prod(info.shape) for info in self.tensors.values())


def check_header(source: Path | str | bytes | bytearray | memoryview | BinaryIO) -> Header:
    """The header of a safetensors file, from a path, its bytes or an open file; reads no tensor.

    Raises BadWeights for anything the format or our limits do not allow: header at most 4 MiB, 10,000 tensors, rank 8,
    plain names, no duplicate keys, no empty tensors, bytes without gap or overlap up to the exact end of the file.
    """
    if isinstance(source, str | Path):
        try:
            with Path(source).open("rb") as file:
                return check_header(file)
        except OSError as err:
            raise BadWeights(f"{source} cannot be read ({err.strerror}). Give the path of a safetensors file.") from err
    if isinstance(source, bytes | bytearray | memoryview):
        return check_header(BytesIO(source))
    size = source.seek(0, os.SEEK_END)
    source.seek(0)
    start = source.read(8)
    length = int.from_bytes(start, "little")
    if len(start) < 8 or length < 2 or length + 8 > size:
        raise _bad(f"its header is {length:,} bytes long and the file {size:,}")
    if length > MAX_HEADER:
        raise _bad(f"its header is {length:,} bytes long, the limit is {MAX_HEADER:,}")
    tensors, metadata = _parse_header(source.read(length))
    _check_layout(tensors, size - 8 - length)
    return Header(tensors, metadata, 8 + length)


def _parse_header(raw: bytes) -> tuple[dict[str, TensorInfo], dict[str, str]]:
    if raw[:1] != b"{":
        raise _bad("its header does not start with '{'")
    if raw.count(b'"data_offsets"') > MAX_TENSORS or raw.count(b",") > _MAX_COMMAS:
        raise _bad(f"it lists more than {MAX_TENSORS:,} tensors")  # counted on bytes: parsing first would cost a second
    try:
        content = json.loads(
            raw.decode("utf-8"), object_pairs_hook=_Pairs(), parse_constant=_refuse, parse_float=_refuse
        )
    except RecursionError as err:
        raise _bad("its header is nested too deeply") from err
    except ValueError as err:
        raise _bad(f"its header is not JSON: {str(err)[:120]}") from err
    metadata = _check_metadata(content.pop("__metadata__", {}))
    return {name: _check_tensor(name, info) for name, info in content.items()}, metadata


class _Pairs:
    """json's object hook: refuses duplicate keys, and stops at the object after the last allowed one."""

    def __init__(self) -> None:
        self.objects = 0

    def __call__(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        self.objects += 1
        if self.objects > MAX_TENSORS + 2:  # one a tensor, the metadata, and the header itself
            raise _bad(f"it lists more than {MAX_TENSORS:,} tensors")
        found = dict(pairs)
        if len(found) != len(pairs):
            raise _bad(f"a name appears twice in its header, near {_shown(pairs[-1][0])}")
        return found


def _refuse(number: str) -> None:
    raise _bad(f"{number[:20]} in its header is not a whole number")


def _check_metadata(found: Any) -> dict[str, str]:
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise _bad("its metadata is not a table of texts")
    if sum(len(key) + len(value) for key, value in found.items()) > MAX_METADATA:
        raise _bad(f"its metadata is longer than {MAX_METADATA:,} characters")
    return found


def _check_tensor(name: str, info: Any) -> TensorInfo:
    if not _NAME.fullmatch(name) or any(part in ("", ".", "..") for part in name.split("/")):
        raise _bad(f"tensor name {_shown(name)} is not allowed (letters, digits, . _ - and / between parts, no '..')")
    if not isinstance(info, dict) or set(info) != {"dtype", "shape", "data_offsets"}:
        raise _bad(f"tensor {name} does not have exactly dtype, shape and data_offsets")
    dtype, shape, offsets = info["dtype"], info["shape"], info["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _BYTES:
        raise _bad(f"tensor {name} has dtype {_shown(dtype)}, known are {', '.join(_BYTES)}")
    if not isinstance(shape, list) or len(shape) > MAX_RANK or not all(_is_length(n) and n > 0 for n in shape):
        raise _bad(f"tensor {name} has shape {_shown(shape)}, allowed are at most {MAX_RANK} lengths of 1 or more")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(_is_length(n) for n in offsets):
        raise _bad(f"tensor {name} has data_offsets {_shown(offsets)}, not two byte positions")
    begin, end = offsets
    if end - begin != math.prod(shape) * _BYTES[dtype]:
        raise _bad(f"tensor {name} of shape {shape} and {dtype} does not fill its {end - begin:,} bytes")
    return TensorInfo(dtype, tuple(shape), begin, end)


def _check_layout(tensors: dict[str, TensorInfo], available: int) -> None:
    at = 0
    for name, info in sorted(tensors.items(), key=lambda item: item[1].begin):
        if info.begin != at:
            raise _bad(f"tensor {name} starts at byte {info.begin:,}, expected {at:,}: bytes overlap or are left out")
        at = info.end
    if at != available:
        raise _bad(f"its tensors take {at:,} bytes and {available:,} are there: truncated, or something is appended")


def _is_length(n: Any) -> bool:
    return type(n) is int and 0 <= n < 1 << 50  # `type`: True is an int to isinstance


def _shown(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


def _bad(cause: str) -> BadWeights:
    return BadWeights(f"not a safetensors file we accept: {cause}. Save the weights again with safetensors.")


_FOREIGN: tuple[tuple[int, bytes, str], ...] = (
    (0, b"PK\x03\x04", "a zip archive (a torch .pt file is one)"),
    (0, b"PK\x05\x06", "a zip archive"),
    (0, b"PK\x07\x08", "a zip archive"),
    (0, b"\x1f\x8b", "a gzip file"),
    (0, b"BZh", "a bzip2 file"),
    (0, b"\xfd7zXZ\x00", "an xz file"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (0, b"\x28\xb5\x2f\xfd", "a zstd file"),
    (0, b"\x04\x22\x4d\x18", "an lz4 file"),
    (0, b"Rar!\x1a\x07", "a rar archive"),
    (0, b"MSCF", "a cab archive"),
    (0, b"!<arch>\n", "an ar archive"),
    (257, b"ustar", "a tar archive"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (0, b"\x93NUMPY", "a NumPy file"),
    (0, b"GGUF", "a GGUF file"),
    (0, b"\x7fELF", "a program"),
    (0, b"MZ", "a program"),
    (0, b"#!", "a script"),
)
_PICKLE = re.compile(
    rb"\x80[\x02-\x05]"  # protocols 2 to 5 start with PROTO
    rb"|[(\]})]*c[A-Za-z_][\w.]*\r?\n[A-Za-z_][\w.]*\r?\n"  # protocols 0 and 1: a global, perhaps after a mark
    rb"|\((?:lp|dp|ip|i[A-Za-z_])\w*"  # a list, dict or instance of protocol 0
    rb"|[\]}]q\x00|\([KMJU][\x00-\x1f\x80-\xff]"  # of protocol 1: memoized at once, or small numbers and texts
)
_IMAGES = {
    ".png": (b"\x89PNG\r\n\x1a\n",),
    ".jpg": (b"\xff\xd8\xff",),
    ".jpeg": (b"\xff\xd8\xff",),
    ".webp": (b"RIFF",),
}
_TEXTS = (".json", ".yaml", ".yml", ".md", ".txt", ".csv", ".jsonl")


def sniff(head: bytes, name: str) -> None:
    """Refuses what a prior may not contain, from the first `SNIFF_BYTES` bytes of a file called `name`.

    Raises BadWeights for pickle, archives, programs and scripts under any name, and for a known extension (safetensors,
    JSON, text, image) whose bytes are something else. An unknown extension is opaque bytes.
    """
    suffix = Path(name).suffix.lower()
    if suffix == ".safetensors" or looks_like_safetensors(head):
        if not looks_like_safetensors(head):
            raise _foreign(name, what_is(head) or "not safetensors")
        return  # checked first: a header of 640 bytes starts with the bytes of a pickle
    kind = what_is(head)
    if kind is not None:
        raise _foreign(name, kind)
    if suffix in _IMAGES and not head.startswith(_IMAGES[suffix]):
        raise _foreign(name, f"not {suffix[1:]} image data")
    if suffix in _TEXTS:
        _check_text(head, name, suffix)


def looks_like_safetensors(head: bytes) -> bool:
    """Whether a file that begins so can be one: a length within our limit, and the brace of its header."""
    return len(head) > 9 and head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") <= MAX_HEADER


def what_is(head: bytes) -> str | None:
    """What a file that begins so is, where that is nothing a prior may hold; None for everything else."""
    for at, magic, kind in _FOREIGN:
        if head.startswith(magic, at):
            return kind
    return "a pickle, which can run code" if _PICKLE.match(head) else None


def _check_text(head: bytes, name: str, suffix: str) -> None:
    text = head.removeprefix(b"\xef\xbb\xbf").decode("utf-8", errors="ignore")
    # At most 3 bytes of a character cut at the end of `head` may be missing from the decoded text.
    if "\x00" in text or len(head.removeprefix(b"\xef\xbb\xbf")) - len(text.encode()) > 3:
        raise _foreign(name, "not UTF-8 text")
    if suffix == ".json" and text.strip() and text.lstrip()[0] not in '{["-0123456789tfn':
        raise _foreign(name, "not JSON")


def _foreign(name: str, kind: str) -> BadWeights:
    return BadWeights(f"{_shown(name)} is {kind}. Priors hold safetensors, JSON, text and images only; convert it.")


def sha256_file(path: Path) -> str:
    """The sha256 of a file in hex, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


SETTLED_SECONDS = 2.0
"""A file that changed less than this ago is hashed again: two changes within a tick of its clock look like one."""


_KNOWN: dict[tuple[int, int, int, int, int], str] = {}
"""A file's device, inode, size and times of change -> the sha256 that this process found."""


def found_sha256(path: Path) -> str:
    """`sha256_file`, once in this process for as long as the file stays the one it was: a fit opens the same weights
    several times. The time of the inode's last change is looked at too, which a writer cannot set back."""
    stat = path.stat()
    key = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
    if key not in _KNOWN:
        digest = sha256_file(path)
        if time.time() - max(stat.st_mtime, stat.st_ctime) < SETTLED_SECONDS:
            return digest
        _KNOWN[key] = digest
    return _KNOWN[key]


def check_sha256(path: Path, sha256: str) -> None:
    """Raises BadWeights when the content of the file is not `sha256` (hex)."""
    if (found := found_sha256(path)) != sha256:
        raise BadWeights(
            f"{path.name} has sha256 {found[:12]}…, expected {sha256[:12]}…: it was changed. Fetch it again."
        )


def load_weights(path: Path | str, sha256: str | None = None) -> dict[str, Tensor]:
    """The tensors of a safetensors file, on the CPU; the header and, where given, the hash are checked before.

    Raises BadWeights when a rule is broken, the content is not `sha256` (hex), or a value is NaN or infinite.
    """
    path = Path(path)
    check_header(path)
    if sha256 is not None:
        check_sha256(path, sha256)
    # Imported here: most of what imports this module only looks at headers.
    from safetensors.torch import load_file

    tensors = load_file(path)
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise BadWeights(f"{path.name}: tensor {name} holds NaN or infinity. Publish weights that are finite.")
    return tensors


def save_weights(tensors: Mapping[str, Tensor], path: Path | str) -> str:
    """Writes a safetensors file in one step (all of it or nothing, on disk when this returns); gives its sha256 in hex.

    Same tensors, same bytes. Raises BadWeights, writing nothing, for what `check_header` would refuse; OSError.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    path = Path(path)
    # Clones: safetensors refuses tensors that share memory, such as tied or sliced ones.
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in sorted(tensors.items())}
    partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    partial.touch(exist_ok=False)
    readers = stat.S_IMODE(partial.stat().st_mode)
    try:
        save_file(plain, partial, metadata={"format": "pt"})
        partial.chmod(readers)  # safetensors writes for the owner alone; these are as readable as any other file
        check_header(partial)
        digest = sha256_file(partial)
        _sync(partial)
        partial.replace(path)
        _sync(path.parent)
    except SafetensorError as error:
        cause = re.search(r"\(os error (\d+)\)", str(error))
        if cause is None:
            raise
        raise OSError(int(cause[1]), os.strerror(int(cause[1])), str(path)) from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            partial.unlink()
    return digest


def _sync(path: Path) -> None:
    """What was written reaches the disk: a file's bytes, or a folder's new names."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
