"""A hub that keeps its files in a bucket says where bytes go: the client sends them there, without its token."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from priors.client import Hub, _parcels, _transfer
from priors.errors import HubError, HubUnreachable
from tests.client.conftest import TOKEN, Answer, FakeHub, answer, problem, sha256

CONTENT = b"x" * 200_000


class Bucket:
    """Stands before the fake hub: has one file sent to the bucket, and answers for it."""

    def __init__(self, fake: FakeHub) -> None:
        self.url = "https://bucket.test/arriving?X-Amz-Signature=s"
        self.answers: list[Answer] = []
        self.checks: list[Answer] = [answer({"waiting": ["u"]}), answer({"waiting": []})]
        self.got: list[dict[str, str]] = []
        fake.blobs[sha256(CONTENT)] = CONTENT  # for the commit
        fake.before = self

    def __call__(self, method: str, path: str, headers: dict[str, str]) -> Answer | None:
        if headers["host"] == "bucket.test":
            self.got.append({"method": method, "path": path, **headers})
            return self.answers.pop(0) if self.answers else (200, {}, b"")
        if path.endswith("/blobs/missing"):
            return answer({"missing": [sha256(CONTENT)], "direct": True})
        if path.endswith("/uploads"):
            return answer({"items": [{"to": "bucket", "url": self.url, "upload": "u"}]})
        if path.endswith("/uploads/arrived"):
            return self.checks.pop(0) if len(self.checks) > 1 else self.checks[0]
        return None


@pytest.fixture
def bucket(fake: FakeHub) -> Bucket:
    return Bucket(fake)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "a.bin").write_bytes(CONTENT)
    return tmp_path / "m"


@pytest.fixture
def hub(fake: FakeHub) -> Iterator[Hub]:
    with Hub("https://hub.test", TOKEN, transport=fake.transport()) as hub:
        yield hub


def paths(fake: FakeHub) -> list[str]:
    return [f"{method} {path}" for method, path, headers in fake.requests if headers["host"] == "hub.test"]


def test_bytes_go_to_the_bucket_without_the_token(hub: Hub, fake: FakeHub, bucket: Bucket, folder: Path) -> None:
    steps: list[tuple[int, int]] = []
    hub.push(folder, "ada/m", report=lambda done, of, what: steps.append((done, of)))

    [sent] = bucket.got
    assert (sent["method"], sent["path"], sent["content-length"]) == ("PUT", "/arriving", str(len(CONTENT)))
    assert TOKEN not in str(sent) and "transfer-encoding" not in sent
    asked = paths(fake)
    assert [path for path in asked if path.startswith("PUT")] == []
    assert asked.count("POST /api/v1/repos/ada/m/uploads/arrived") == 2  # until a worker had checked it
    assert asked[-1] == "POST /api/v1/repos/ada/m/commits"
    assert steps == [(len(CONTENT), len(CONTENT))]


def test_a_hub_reached_by_tls_cannot_have_bytes_sent_in_the_clear(
    hub: Hub, fake: FakeHub, bucket: Bucket, folder: Path
) -> None:
    bucket.url = "http://bucket.test/arriving"

    with pytest.raises(HubError, match="not safe"):
        hub.push(folder, "ada/m")

    assert bucket.got == [] and "ada/m" not in fake.repos


@pytest.mark.parametrize(
    ("answers", "error", "sent"),
    [
        ([(403, {}, b"")], HubError, 1),
        ([(307, {"location": "https://evil.test/"}, b"")], HubError, 1),
        ([(503, {}, b"")] * 4, HubUnreachable, 4),
        ([(503, {}, b"")], None, 2),
    ],
)
def test_what_a_bucket_refuses_is_said_and_what_it_cannot_take_now_is_sent_again(
    hub: Hub, fake: FakeHub, bucket: Bucket, folder: Path, monkeypatch: pytest.MonkeyPatch,
    answers: list[Answer], error: type[HubError] | None, sent: int,
) -> None:  # fmt: skip
    monkeypatch.setattr(_transfer.time, "sleep", lambda seconds: None)
    bucket.answers = list(answers)

    if error is None:
        hub.push(folder, "ada/m")
    else:
        with pytest.raises(error) as told:
            hub.push(folder, "ada/m")
        assert type(told.value) is error

    assert len(bucket.got) == sent
    assert bool(fake.repos.get("ada/m")) == (error is None)
    assert ("ada/m" in fake.repos) == (error is not HubError)  # one that was refused leaves no empty repository


@pytest.mark.parametrize(
    ("said", "error", "words"),
    [
        (problem(422, "hash-mismatch", "The bytes hash to other ones."), HubError, "other ones"),
        (answer({"waiting": ["u"]}), HubUnreachable, "workers"),
    ],
)
def test_nothing_is_committed_that_no_worker_found_right(
    hub: Hub, fake: FakeHub, bucket: Bucket, folder: Path, monkeypatch: pytest.MonkeyPatch,
    said: Answer, error: type[HubError], words: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(_parcels, "_PATIENCE_S", -1.0)
    bucket.checks = [said]

    with pytest.raises(error, match=words):
        hub.push(folder, "ada/m")

    assert fake.repos.get("ada/m") == (None if error is HubError else [])


@pytest.mark.parametrize("said", [{}, {"items": []}, {"items": [{"to": "moon"}]}, {"items": "x"}])
def test_an_answer_that_names_no_place_is_told_apart(
    hub: Hub, fake: FakeHub, bucket: Bucket, folder: Path, said: Any
) -> None:
    before = fake.before
    fake.before = lambda method, path, headers: (
        answer(said) if path.endswith("/uploads") else before(method, path, headers)
    )

    with pytest.raises(HubError, match="version"):
        hub.push(folder, "ada/m")
