"""Addresses for the bucket, checked as a real service does: for one object, one method, these bytes, one hour."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest
from pytest_django import Settings

from hub.repos.s3 import S3Objects
from tests.sigv4 import wrong_with

SECRETS = {"key": "wJalrXUtnFEMI/K7MDENG"}


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRETS["key"])


@pytest.fixture
def bucket() -> S3Objects:
    return S3Objects("s3://hub/some/where?endpoint=http://127.0.0.1:9000&region=eu-central-1")


def refused(
    method: str, url: str, secrets: dict[str, str] = SECRETS, later_s: float = 1.0, **headers: str
) -> str | None:
    host = urlsplit(url).netloc
    sent = {"host": host} | {name.replace("_", "-"): value for name, value in headers.items()}
    return wrong_with(method, url, sent, secrets=secrets, now=datetime.now(UTC) + timedelta(seconds=later_s))


def test_the_example_of_the_specification_is_in_order() -> None:
    # "Authenticating Requests: Using Query Parameters" in the reference of Amazon S3 has this address and this secret.
    url = (
        "https://examplebucket.s3.amazonaws.com/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256"
        "&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request"
        "&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"
        "&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
    )
    secrets = {"AKIAIOSFODNN7EXAMPLE": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}
    asked = {"host": "examplebucket.s3.amazonaws.com"}
    now = datetime(2013, 5, 24, 1, tzinfo=UTC)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.sigv4.LONGEST_S", 86400)
        assert wrong_with("GET", url, asked, secrets=secrets, now=now) is None
        assert wrong_with("PUT", url, asked, secrets=secrets, now=now) == "the signature is of another request"


def test_an_address_to_put_to_takes_exactly_the_announced_bytes(bucket: S3Objects) -> None:
    url = bucket.put_url("assembled/ab/x.1", 1234)

    assert refused("PUT", url, content_length="1234") is None
    assert refused("PUT", url, content_length="1235") is not None
    assert refused("PUT", url) == "the headers content-length are missing"
    assert refused("GET", url, content_length="1234") is not None
    assert refused("DELETE", url, content_length="1234") is not None
    assert refused("PUT", url.replace("/x.1", "/y.1"), content_length="1234") is not None


@pytest.mark.usefixtures("db")
def test_each_part_has_its_own_length_and_number(a_bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from hub.repos import s3
    from hub.repos.objects import bucket

    store = bucket()
    assert store is not None
    monkeypatch.setattr(s3, "_PART", 5_000_000)
    _, _, urls = store.begin_parts("assembled/ab/x.1", 12_000_000)
    secrets = {"testing": "testing"}

    for url, size in zip(urls, ("5000000", "5000000", "2000000"), strict=True):
        assert refused("PUT", url, secrets, content_length=size) is None
        assert refused("PUT", url, secrets, content_length="5000001") is not None
    other = urls[0].replace("partNumber=1", "partNumber=3")
    assert refused("PUT", other, secrets, content_length="5000000") == "the signature is of another request"


def test_an_address_of_a_range_gives_these_bytes_only(bucket: S3Objects) -> None:
    url = bucket.range_url("xorbs/ab/x.1", 100, 300)

    assert refused("GET", url, range="bytes=100-299") is None
    assert refused("GET", url, range="bytes=100-300") is not None
    assert refused("GET", url) == "the headers range are missing"
    assert refused("PUT", url, range="bytes=100-299") is not None


def test_an_address_of_a_file_says_under_which_name_and_never_as_a_page(bucket: S3Objects) -> None:
    url = bucket.url("assembled/ab/x.1", name='a "b" é.html')

    assert refused("GET", url) is None
    assert refused("GET", url, range="bytes=5-9") is None  # any part of it
    for told in ("response-content-disposition=attachment", "response-content-type=application%2Foctet-stream"):
        assert told in url
        assert refused("GET", url.replace(told, told[:-3] + "xyz")) == "the signature is of another request"


@pytest.mark.parametrize("way", ["put", "get", "range"])
def test_every_address_ends_within_an_hour(bucket: S3Objects, way: str) -> None:
    url = {
        "put": lambda: bucket.put_url("x", 10),
        "get": lambda: bucket.url("x", name="x"),
        "range": lambda: bucket.range_url("x", 0, 10),
    }[way]()
    method, headers = ("PUT" if way == "put" else "GET"), {"content_length": "10", "range": "bytes=0-9"}

    assert refused(method, url, later_s=3500, **headers) is None
    assert refused(method, url, later_s=3700, **headers) == "it has expired"
    assert refused(method, url.replace("Expires=3600", "Expires=3599"), **headers) is not None


def test_another_secret_opens_nothing(bucket: S3Objects) -> None:
    assert refused("GET", bucket.url("x", name="x"), {"key": "another"}) == "the signature is of another request"
