"""Which files git holds as pointers (Git LFS), and what such a pointer says."""

from __future__ import annotations

from functools import lru_cache
from pathlib import PurePosixPath

from pathspec import GitIgnoreSpec

from hub.repos.gitobjects import blob_oid
from hub.repos.patterns import spec_of

MAX_INLINE_BYTES = 10 * 1024 * 1024
"""A larger file is always a pointer, whatever it is called: git clients would load it whole."""
MAX_INLINE_BINARY_BYTES = 1024 * 1024

_SUFFIXES = """
.7z .arrow .avro .bin .bz2 .ckpt .feather .flac .ftz .gguf .gz .h5 .jpeg .jpg .joblib .lz4 .mds .mlmodel .model .mp3
.mp4 .msgpack .npy .npz .onnx .ot .parquet .pb .pickle .pkl .png .pt .pt2 .pth .rar .safetensors .tar .tflite .tgz .wasm
.wav .webp .xz .zip .zst
"""
ATTRIBUTES = "".join(f"*{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in _SUFFIXES.split())
"""The .gitattributes of a new repository: weights, recordings, images, archives and tables of columns."""


def wants_lfs(path: str, size: int, *, sample: bytes = b"", attributes: str = ATTRIBUTES) -> bool:
    """Whether a file of this name, size and beginning should be a pointer, under a repository's .gitattributes."""
    if size == 0 or PurePosixPath(path).name in {".gitattributes", ".gitignore"}:
        return False
    if size > MAX_INLINE_BYTES or (size > MAX_INLINE_BINARY_BYTES and _is_binary(sample)):
        return True
    return _patterns(attributes).match_file(path)


def pointer(sha256: str, size: int) -> bytes:
    """The text git stores in place of the bytes (git-lfs, docs/spec.md)."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()


def pointer_oid(sha256: str, size: int) -> str:
    """The id git gives that text."""
    return blob_oid(pointer(sha256, size))


def _is_binary(sample: bytes) -> bool:
    """As git tells: a NUL among the first bytes; or what cannot be the beginning of UTF-8."""
    if b"\0" in sample:
        return True
    try:
        sample.decode()
    except UnicodeDecodeError as error:
        return error.end < len(sample) - 3  # a character that the sample's end cuts in two is no sign
    return False


@lru_cache(maxsize=256)
def _patterns(attributes: str) -> GitIgnoreSpec:
    # .gitattributes takes the patterns of .gitignore; a later line without filter=lfs takes a name out again.
    lines = []
    for line in attributes.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        pattern, *words = line.split()
        if "filter=lfs" in words:
            lines.append(pattern)
        elif {"-filter", "!filter", "filter="} & set(words):
            lines.append(f"!{pattern}")
    return spec_of(lines)
