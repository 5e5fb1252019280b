"""The chunk service's routes by hand, for what hf_xet would never send."""

from __future__ import annotations

from typing import Any

import numpy as np
from django.test import Client

from hub.accounts.models import User
from hub.accounts.services import authenticate
from hub.xet.shards import Segment, Shard, ShardFile, write_shard
from hub.xet.tokens import Grant
from hub.xet.xorbs import pack
from priors.chunks import chunk_hash, file_hash, range_hash, to_hex, xorb_hash
from tests.factories import make_token, sha256


def noise(size: int, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).bytes(size)


def acting(user: User, **options: Any) -> User:
    """The user as a request with a token of theirs has them."""
    return authenticate(make_token(user, **options)).user


class Wire:
    """What a client with this grant asks."""

    def __init__(self, client: Client, given: Grant) -> None:
        self._client, self._given = client, given
        self.headers = {"Authorization": f"Bearer {given.token}"}

    def post(self, path: str, body: bytes) -> tuple[int, Any]:
        response = self._client.post(
            self._given.path + path, body, content_type="application/octet-stream", headers=self.headers
        )
        return response.status_code, response.json()

    def get(self, path: str, **headers: str) -> Any:
        return self._client.get(self._given.path + path, headers={**self.headers, **headers})

    def send_xorb(self, *chunks: bytes, name: str | None = None) -> tuple[int, Any]:
        return self.post(
            f"/v1/xorbs/default/{name or to_hex(xorb_of(*chunks))}", b"".join(pack(c).data for c in chunks)
        )

    def send_file(self, *chunks: bytes, **changes: Any) -> tuple[int, Any]:
        return self.post("/v1/shards", write_shard(Shard((described(*chunks, **changes),), ())))


def xorb_of(*chunks: bytes) -> bytes:
    return xorb_hash([(chunk_hash(chunk), len(chunk)) for chunk in chunks])


def described(*chunks: bytes, segments: tuple[Segment, ...] | None = None, **changes: Any) -> ShardFile:
    size = sum(map(len, chunks))
    proof = range_hash(chunk_hash(chunk) for chunk in chunks)
    fields: dict[str, Any] = {
        "hash": file_hash([(chunk_hash(chunk), len(chunk)) for chunk in chunks]),
        "segments": segments or (Segment(xorb_of(*chunks), 0, len(chunks), size, proof),),
        "sha256": sha256(b"".join(chunks)),
        **changes,
    }
    return ShardFile(**fields)


CHUNKS = (noise(10_000, 1), noise(9_000, 2))
