"""A bucket to store in, and what workers are told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from moto.server import ThreadedMotoServer
from pytest_django import Settings

from hub import announce
from hub.xet import bucketed, direct


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The address of a server that speaks S3."""
    moto = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    yield f"http://{host}:{port}"
    moto.stop()


@pytest.fixture(scope="session")
def s3(server: str) -> Any:
    """A client of it, which takes as long to make as a short test; the hub under test keeps its own, too."""
    keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
    return boto3.session.Session().client("s3", endpoint_url=server, region_name="us-east-1", **keys)


@pytest.fixture
def a_bucket(server: str, s3: Any, home: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty bucket as the hub's store."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    httpx.post(f"{server}/moto-api/reset")
    s3.create_bucket(Bucket="hub")
    settings.STORAGE_URL = f"s3://hub/some/where?endpoint={server}"
    return "hub"


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What workers were told; nothing runs by itself."""
    messages: list[tuple[str, str]] = []
    monkeypatch.setattr(announce, "_send", lambda task, argument, _: messages.append((task, argument)))
    for module in (direct, bucketed):
        monkeypatch.setattr(module, "announce", lambda task, argument: messages.append((task, argument)))
    return messages
