"""Files written past the page cache: the same bytes, whatever the file system allows."""

import errno
import os

import pytest

from composer.merge import _direct
from composer.merge._direct import CHUNK, Sequential


def write(path, blocks):
    with Sequential(path) as file:
        for block in blocks:
            file.write(memoryview(block))
    return path.read_bytes()


@pytest.mark.parametrize("sizes", [[], [1], [CHUNK], [CHUNK - 1, 2, CHUNK], [3 * CHUNK + 5, 7], [4096, 512]])
def test_blocks_of_any_size_come_out_one_after_the_other(tmp_path, sizes):
    blocks = [os.urandom(size) for size in sizes]
    assert write(tmp_path / "file", blocks) == b"".join(blocks)


@pytest.mark.parametrize("refuses", ["open", "write"])
def test_a_file_system_without_direct_writes_gets_plain_ones(tmp_path, monkeypatch, refuses):
    real, asked = getattr(os, refuses), []

    def refusing(first, *args, **more):
        if len(asked) == 0 and (refuses == "write" or args[0] & os.O_DIRECT):
            asked.append(first)
            raise OSError(errno.EINVAL, "no direct writes here")
        return real(first, *args, **more)

    monkeypatch.setattr(_direct.os, refuses, refusing)
    content = os.urandom(CHUNK + 9)
    assert write(tmp_path / "file", [content]) == content
    assert asked


def test_what_a_short_write_left_is_written_after_it(tmp_path, monkeypatch):
    real = os.write
    monkeypatch.setattr(_direct.os, "write", lambda file, block: real(file, bytes(block[:65_536])))
    monkeypatch.setattr(_direct, "_DIRECT", 0)
    content = os.urandom(CHUNK + 70_000)
    assert write(tmp_path / "file", [content]) == content


def test_a_full_disk_is_an_error(tmp_path, monkeypatch):
    def full(file, block):
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(_direct.os, "write", full)
    with pytest.raises(OSError, match="no space"):
        write(tmp_path / "file", [b"x" * CHUNK])
