"""Reading the chunk store back: does every xorb hold the chunks its rows promise, and every blob its bytes?"""

from __future__ import annotations

from collections.abc import Callable

from hub.errors import BlobLost
from hub.repos.objects import objects
from hub.xet.errors import BadXorb
from hub.xet.models import ChunkedBlob, KnownXorb, Xorb
from hub.xet.reader import chunks_of
from hub.xet.xorbs import read_frames, unpack
from priors.chunks import chunk_hash, file_hash, to_hex, xorb_hash


def check_chunks(broken: Callable[[str], None]) -> None:
    """Reads every xorb, and the list of every blob's chunks, and reports what is not as recorded."""
    for xorb in Xorb.objects.filter(retired_at=None).iterator():
        if (what := _wrong_with(xorb)) is not None:
            broken(f"xorb {xorb.hash}: {what}")
    for chunked in ChunkedBlob.objects.select_related("blob").iterator():
        try:
            chunks = list(chunks_of(chunked.pk))
        except BlobLost as err:
            broken(str(err))
            continue
        if to_hex(file_hash([(chunk.hash, chunk.raw_size) for chunk in chunks])) != chunked.xet_hash:
            broken(f"blob {chunked.pk}: its chunks are not those of {chunked.xet_hash}")
        ends = [0, *(chunk.file_offset + chunk.raw_size for chunk in chunks)]
        if ends != [*(chunk.file_offset for chunk in chunks), chunked.blob.size]:
            broken(f"blob {chunked.pk}: its chunks do not lie end to end")
    for known in KnownXorb.objects.filter(lie_in=None).iterator():
        broken(f"scope {known.scope_id}: remembers xorb {known.hash}, whose chunks are gone")


def _wrong_with(xorb: Xorb) -> str | None:
    found, offset = [], 0
    try:
        with objects().open(xorb.key) as file:
            for frame in read_frames(file):
                found.append((chunk_hash(unpack(frame)), offset, len(frame.data), frame.raw_size))
                offset += len(frame.data)
    except (BlobLost, BadXorb) as err:
        return str(err)
    if to_hex(xorb_hash([(name, raw_size) for name, _, _, raw_size in found])) != xorb.hash or offset != xorb.size:
        return "its chunks are not those it is named by"
    rows = xorb.chunks.order_by("number").values_list("hash", "offset", "size", "raw_size")
    if [(bytes(name), *where) for name, *where in rows] != found:
        return "its rows do not say where its chunks lie"
    return None
