"""Objects in a bucket of any service that speaks S3.

Clients get addresses of their own for it, signed for an hour: their bytes do not pass through the web process.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import parse_qs, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured
from django.utils.http import content_disposition_header

from hub.errors import BlobLost, StorageDown
from hub.home import upload_folder

URL_S = 3600
_READ = 1024 * 1024
_PUTS = 8
_PART = 64 * 1024 * 1024
"""Of an upload in parts; S3 takes 10,000 of them, of 5 MiB or more each."""
_GONE = {"404", "NoSuchKey", "NotFound", "NoSuchUpload", "InvalidPart", "InvalidPartOrder", "EntityTooSmall"}


class S3Objects:
    """Objects below a prefix of a bucket: `s3://bucket/prefix?endpoint=https://…&region=…`.

    Keys come from where AWS's own tools take them: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, a role.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        if not parts.netloc or options.keys() - {"endpoint", "region"}:
            raise ImproperlyConfigured(
                f"STORAGE_URL={url!r} is not of the form s3://bucket/prefix?endpoint=…&region=…."
            )
        self.bucket = parts.netloc
        prefix = unquote(parts.path).strip("/")
        self._prefix = f"{prefix}/" if prefix else ""
        self._endpoint, self._region = options.get("endpoint"), options.get("region")

    @property
    def drafts(self) -> Path:
        """Files that are on their way into the bucket."""
        return upload_folder()

    def put(self, key: str, file: Path) -> None:
        with self._answers(key):
            self._client.upload_file(str(file), self.bucket, self._name(key))
        file.unlink()

    def put_all(self, files: Mapping[str, Path]) -> None:
        with ThreadPoolExecutor(_PUTS) as pool:
            list(pool.map(self.put, files, files.values()))

    def open(self, key: str) -> BinaryIO:
        return cast(BinaryIO, io.BufferedReader(_Object(self, key, self.size(key)), buffer_size=_READ))

    def read(self, key: str, start: int, stop: int) -> bytes:
        if start >= stop:
            return b""
        with self._answers(key):
            got = self._client.get_object(Bucket=self.bucket, Key=self._name(key), Range=f"bytes={start}-{stop - 1}")
            data = bytes(got["Body"].read())
        if len(data) < stop - start:
            raise self._lost(key)
        return data

    def size(self, key: str) -> int:
        """Its length in bytes. Raises BlobLost."""
        with self._answers(key):
            return int(self._client.head_object(Bucket=self.bucket, Key=self._name(key))["ContentLength"])

    def path(self, key: str) -> Path | None:
        return None

    def delete(self, key: str) -> None:
        with self._answers(key):
            self._client.delete_object(Bucket=self.bucket, Key=self._name(key))

    def listing(self, prefix: str) -> Iterator[tuple[str, float]]:
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self._name(prefix))
        with self._answers(prefix):
            for page in pages:
                for row in page.get("Contents", []):
                    yield row["Key"].removeprefix(self._prefix), row["LastModified"].timestamp()

    def copy(self, key: str, to: str) -> None:
        """Makes a second object of the same bytes, within the bucket. Raises BlobLost."""
        with self._answers(key):
            self._client.copy({"Bucket": self.bucket, "Key": self._name(key)}, self.bucket, self._name(to))

    def url(self, key: str, *, name: str) -> str:
        """Where whoever holds it may get an object, as an attachment that is called `name`."""
        asked = {
            "ResponseContentDisposition": content_disposition_header(True, name) or "attachment",
            "ResponseContentType": "application/octet-stream",
        }
        return self._signed("get_object", key, **asked)

    def range_url(self, key: str, start: int, stop: int) -> str:
        """Where whoever holds it may get these bytes of an object, with exactly this range in the request."""
        return self._signed("get_object", key, Range=f"bytes={start}-{stop - 1}")

    def put_url(self, key: str, size: int) -> str:
        """Where whoever holds it may put `size` bytes, no more and no fewer."""
        return self._signed("put_object", key, ContentLength=size)

    def begin_parts(self, key: str, size: int) -> tuple[str, int, list[str]]:
        """An upload in parts: its id, the size of a part, and where each is put. The last part is what is left."""
        part = max(_PART, -(-size // 10_000))
        with self._answers(key):
            begun = self._client.create_multipart_upload(Bucket=self.bucket, Key=self._name(key))
        upload = str(begun["UploadId"])
        urls = [
            self._signed("upload_part", key, UploadId=upload, PartNumber=number + 1, ContentLength=min(part, size - at))
            for number, at in enumerate(range(0, size, part))
        ]
        return upload, part, urls

    def end_parts(self, key: str, upload: str, etags: list[str]) -> None:
        """Makes the object of its parts, given in order. Raises BlobLost when the upload or a part is not there."""
        parts = [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(etags, 1)]
        with self._answers(key):
            self._client.complete_multipart_upload(
                Bucket=self.bucket, Key=self._name(key), UploadId=upload, MultipartUpload={"Parts": parts}
            )

    def abort_parts(self, key: str, upload: str) -> None:
        """Forgets an upload in parts; one that is not there is no error."""
        try:
            with self._answers(key):
                self._client.abort_multipart_upload(Bucket=self.bucket, Key=self._name(key), UploadId=upload)
        except BlobLost:
            pass

    @cached_property
    def _client(self) -> Any:
        import boto3  # half a second and 40 MB that a hub on a disk does not need
        from botocore.config import Config

        settings = Config(signature_version="s3v4", retries={"mode": "standard", "max_attempts": 5})
        # A session of its own: boto3's default one may not be shared by threads that make clients.
        return boto3.session.Session().client(
            "s3", endpoint_url=self._endpoint, region_name=self._region or "us-east-1", config=settings
        )

    def _signed(self, method: str, key: str, **asked: Any) -> str:
        asked = {"Bucket": self.bucket, "Key": self._name(key), **asked}
        return str(self._client.generate_presigned_url(method, Params=asked, ExpiresIn=URL_S))

    def _name(self, key: str) -> str:
        return self._prefix + key

    @contextmanager
    def _answers(self, key: str) -> Iterator[None]:
        from boto3.exceptions import S3UploadFailedError
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except ClientError as err:
            if err.response.get("Error", {}).get("Code") in _GONE:
                raise self._lost(key) from err
            raise self._down(err) from err
        except (BotoCoreError, S3UploadFailedError) as err:
            raise self._down(err) from err

    def _lost(self, key: str) -> BlobLost:
        return BlobLost(f"{key} is gone from bucket {self.bucket}, or cut short. Restore it from a backup.")

    def _down(self, err: Exception) -> StorageDown:
        return StorageDown(f"The hub's bucket does not answer as it should ({type(err).__name__}). Try again later.")


class _Object(io.RawIOBase):
    """An object as a file; each read is a request for a range."""

    def __init__(self, objects: S3Objects, key: str, size: int) -> None:
        self._objects, self._key, self._size, self._at = objects, key, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        stop = min(self._at + len(buffer), self._size)
        data = self._objects.read(self._key, self._at, stop)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError(f"A file has no position {base + offset}.")
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        return self._at
