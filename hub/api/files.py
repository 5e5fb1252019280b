"""Sending a file: whole or one range of it, as an attachment that no browser will render."""

from __future__ import annotations

import io
import os
import re
from http import HTTPStatus
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from urllib.parse import quote

from django.conf import settings
from django.http import FileResponse, HttpRequest, HttpResponse, HttpResponseBase
from django.utils.http import content_disposition_header, parse_etags

from hub.errors import RangeNotSatisfiable
from hub.repos.models import Blob
from hub.repos.storage import store

_PASSED_ON_BYTES = 1024 * 1024
"""So much of a file that a bucket does not have whole is had from its chunks here, sooner than a worker makes it."""
_RANGE = re.compile(r"bytes=(\d{0,19})-(\d{0,19})\Z")


class Part:
    """`length` bytes of an open file from where it stands. Has a descriptor, so that gunicorn can use sendfile."""

    def __init__(self, file: BinaryIO, length: int) -> None:
        self._file, self._left = file, length

    def read(self, size: int = -1) -> bytes:
        wanted = self._left if size < 0 else min(size, self._left)
        data = self._file.read(wanted)
        self._left -= len(data)
        return data

    def fileno(self) -> int:
        """Stands where reading would go on: gunicorn asks the descriptor for its place, not this object."""
        descriptor = self._file.fileno()
        os.lseek(descriptor, self._file.tell(), os.SEEK_SET)
        return descriptor

    def close(self) -> None:
        self._file.close()


def send_blob(request: HttpRequest, blob: Blob, *, path: str, oid: str = "") -> HttpResponseBase:
    """The response for a blob that is called `path`: its bytes, or where a bucket gives them. Raises BlobLost.

    oid  its ETag, where that is not its SHA-256
    """
    oid = oid or blob.sha256
    patient = request.method == "GET" and _asked(request, f'"{oid}"', blob.size) > _PASSED_ON_BYTES
    if (url := store().url(blob.sha256, name=PurePosixPath(path).name, patient=patient)) is not None:
        response = _with_headers(HttpResponse(status=HTTPStatus.FOUND), f'"{oid}"', path)
        response["Location"] = url
        response["X-Linked-Size"] = str(blob.size)
        return response
    # HEAD needs no bytes, and opening may mean putting a large file together.
    file = io.BytesIO() if request.method == "HEAD" else store().open_to_send(blob.sha256)
    return send_file(request, file, oid=oid, size=blob.size, path=path)


def send_file(request: HttpRequest, file: BinaryIO, *, oid: str, size: int, path: str) -> HttpResponseBase:
    """The response for a stored blob with `oid` as its ETag. Takes over `file`. Raises RangeNotSatisfiable."""
    etag = f'"{oid}"'
    if etag in parse_etags(request.headers.get("If-None-Match", "")):
        file.close()
        return _with_headers(HttpResponse(status=HTTPStatus.NOT_MODIFIED), etag, path)
    start, stop = 0, size
    wanted = _range(request, etag, size)
    if wanted is not None:
        start, stop = wanted
        if start >= size:
            file.close()
            raise RangeNotSatisfiable(
                f"The file has {size} bytes; the range begins at {start}. Ask for an earlier one."
            )
    named = _for_proxy(request, file)
    if named is not None:
        file.close()
        response: HttpResponseBase = HttpResponse(headers={"X-Accel-Redirect": named})
        return _with_headers(response, etag, path)  # the proxy cuts the range
    if request.method == "HEAD":
        file.close()
        response = HttpResponse()
    else:
        file.seek(start)
        response = FileResponse(Part(file, stop - start))
    if wanted is not None:
        response.status_code = HTTPStatus.PARTIAL_CONTENT
        response["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    response["Content-Length"] = str(stop - start)
    return _with_headers(response, etag, path)


def _for_proxy(request: HttpRequest, file: BinaryIO) -> str | None:
    """What nginx calls the file, where X_ACCEL_PREFIX says that one stands in front and the file lies in the home.

    It knows no hash of the file, so a question with If-Range, and HEAD, are answered here.
    """
    name = getattr(file, "name", None)
    if not settings.X_ACCEL_PREFIX or request.method == "HEAD" or "If-Range" in request.headers or name is None:
        return None
    try:
        inside = Path(name).relative_to(settings.PRIORHUB_HOME)
    except (TypeError, ValueError):
        return None
    return settings.X_ACCEL_PREFIX + quote(inside.as_posix())


def _with_headers(response: HttpResponseBase, etag: str, path: str) -> HttpResponseBase:
    response["ETag"] = etag
    response["Accept-Ranges"] = "bytes"
    response["Content-Type"] = "application/octet-stream"
    response["Content-Disposition"] = content_disposition_header(True, PurePosixPath(path).name) or "attachment"
    response["X-Content-Type-Options"] = "nosniff"
    response["Content-Security-Policy"] = "default-src 'none'; sandbox"
    response["Cache-Control"] = "private, no-cache"  # a branch moves: ask again, by ETag
    return response


def _asked(request: HttpRequest, etag: str, size: int) -> int:
    """How many bytes the answer would have."""
    start, stop = _range(request, etag, size) or (0, size)
    return max(stop - start, 0)


def _range(request: HttpRequest, etag: str, size: int) -> tuple[int, int] | None:
    """Start and stop of the single range asked for; None for the whole file. Several ranges are answered whole."""
    match = _RANGE.match(request.headers.get("Range", ""))
    condition = request.headers.get("If-Range")
    if match is None or (condition is not None and condition != etag):
        return None
    first, last = match.groups()
    if first:
        if last and int(last) < int(first):
            return None
        return int(first), min(int(last) + 1 if last else size, size)
    return (max(size - int(last), 0), size) if last else None
