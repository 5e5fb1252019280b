"""The stock hf_xet client against the chunk service."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any

import hf_xet
import pytest
from pytest_django.live_server_helper import LiveServer

from hub.accounts.models import User
from hub.ops.fsck import fsck
from hub.repos.blobs import sweep
from hub.repos.commits import Put, commit
from hub.repos.models import Blob, Repository
from hub.repos.storage import store
from hub.xet import assembled, chunkstore
from hub.xet.models import Chunk, Scope, Xorb
from hub.xet.tokens import Grant, grant
from priors.chunks import cut
from tests.factories import make_blob, make_commit, make_repository, make_user, sha256
from tests.xet.by_hand import noise

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def own_home(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_XET_CACHE", str(tmp_path / "xet-cache"))
    monkeypatch.setenv("HF_XET_CLIENT_RETRY_MAX_ATTEMPTS", "1")
    return home


class Service:
    """The chunk service at a live server, used through hf_xet."""

    def __init__(self, url: str) -> None:
        self.url = url

    def upload(self, user: User, repository: Repository, *contents: bytes) -> list[Any]:
        with hf_xet.XetSession().new_upload_commit(**self._way(grant(user, repository, "write"))) as work:
            handles = [work.start_upload_bytes(content, sha256=hf_xet.COMPUTE_SHA256) for content in contents]
        return [handle.result() for handle in handles]

    def download(self, user: User, repository: Repository, name: str, size: int, to: Path) -> bytes:
        with hf_xet.XetSession().new_file_download_group(**self._way(grant(user, repository, "read"))) as work:
            work.start_download_file(hf_xet.XetFileInfo(name, size), str(to))
        return to.read_bytes()

    def _way(self, given: Grant) -> dict[str, Any]:
        return {
            "endpoint": self.url + given.path, "token": given.token, "token_expiry_unix_secs": int(time.time()) + 3600
        }  # fmt: skip


@pytest.fixture
def service(live_server: LiveServer) -> Service:
    return Service(live_server.url)


@pytest.fixture
def ann() -> User:
    return make_user("ann")


def sent_bytes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The lengths of the bodies of xorbs from now on."""
    from hub.xet import receive

    lengths: list[int] = []
    original = receive.receive_xorb

    def counted(scope: Scope, name: str, body: Any, **options: Any) -> bool:
        data = b"".join(body)
        lengths.append(len(data))
        return original(scope, name, [data], **options)

    monkeypatch.setattr(receive, "receive_xorb", counted)
    return lengths


def test_what_hf_xet_uploads_is_a_blob_and_downloads_again(service: Service, ann: User, tmp_path: Path) -> None:
    repository = make_repository(ann)
    contents = [noise(3_000_000), b"", b"short", b"text " * 100_000]

    infos = service.upload(ann, repository, *contents)

    assert [info.xet_info.sha256 for info in infos] == [sha256(content) for content in contents]
    commit(
        repository=repository, message="Add", by=ann,
        changes=[Put(f"{number}.bin", sha256(content)) for number, content in enumerate(contents)],
    )  # fmt: skip
    for name in list(assembled.hashes()):
        assembled.drop(name)
    for content, info in zip(contents, infos, strict=True):
        with store().open(sha256(content)) as file:
            assert file.read() == content
        if content:
            size, name = len(content), info.xet_info.hash
            assert service.download(ann, repository, name, size, tmp_path / "back") == content
            assert chunkstore.xet_hashes([sha256(content)]) == {sha256(content): name}
    assert Blob.objects.get(pk=sha256(b"short")).git_oid == hashlib.sha1(b"blob 5\0short").hexdigest()
    assert fsck(print) == 0


def test_a_file_that_came_whole_downloads_by_chunks(service: Service, ann: User, tmp_path: Path) -> None:
    repository, content = make_repository(ann), noise(2_000_000)
    make_commit(repository, {"a.bin": content}, by=ann)
    name = chunkstore.xet_hashes([sha256(content)])[sha256(content)]

    assert service.download(ann, repository, name, len(content), tmp_path / "back") == content


def test_whichever_way_a_file_comes_its_chunks_are_stored_once(service: Service, ann: User) -> None:
    content = noise(2_000_000)
    make_blob(content)
    before = Chunk.objects.count(), Xorb.objects.count()

    service.upload(ann, make_repository(ann), content + noise(100_000, 1))

    assert Xorb.objects.count() == before[1] + 1
    assert Chunk.objects.count() <= before[0] + 6
    assert store().verify(sha256(content + noise(100_000, 1)))


def test_a_new_client_sends_only_what_changed(
    service: Service, ann: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository, content = make_repository(ann), noise(8_000_000)
    service.upload(ann, repository, content)
    monkeypatch.setenv("HF_XET_CACHE", str(tmp_path / "another machine"))
    lengths = sent_bytes(monkeypatch)

    service.upload(ann, repository, content[:7_000_000] + b"changed" + content[7_000_007:])
    assert 0 < sum(lengths) <= 0.05 * len(content)

    monkeypatch.setenv("HF_XET_CACHE", str(tmp_path / "a third machine"))
    lengths.clear()
    service.upload(ann, repository, content)
    assert lengths == []


def test_what_one_may_read_elsewhere_need_not_be_sent(
    service: Service, ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = noise(3_000_000)
    make_commit(make_repository(ann), {"base.bin": content}, by=ann)
    bob = make_user("bob")
    lengths = sent_bytes(monkeypatch)

    service.upload(bob, make_repository(bob), content + b"and more")

    assert 0 < sum(lengths) < 300_000


@pytest.mark.parametrize("hidden", ["private", "gated", "uncommitted"])
def test_what_one_may_not_read_is_not_told_of(
    service: Service, ann: User, monkeypatch: pytest.MonkeyPatch, hidden: str
) -> None:
    content = noise(1_000_000)
    repository = make_repository(ann, private=hidden == "private")
    if hidden == "uncommitted":
        service.upload(ann, repository, content)
    else:
        make_commit(repository, {"a.bin": content}, by=ann)
        Repository.objects.filter(pk=repository.pk).update(gated="manual" if hidden == "gated" else "")
    bob = make_user("bob")
    lengths = sent_bytes(monkeypatch)

    service.upload(bob, make_repository(bob), content)

    assert sum(lengths) >= len(content)  # all of it, as if nobody had it
    assert Chunk.objects.count() == len(list(cut([content])))  # and yet stored once


def test_clients_begin_anew_after_their_chunks_were_collected(service: Service, ann: User) -> None:
    repository, content = make_repository(ann), noise(1_000_000)
    service.upload(ann, repository, content)
    before = grant(ann, repository, "write").path
    sweep(grace_s=0)
    assert Xorb.objects.count() == 0

    service.upload(ann, repository, content)  # the same cache: it would name what is gone, were the address the same

    assert grant(ann, repository, "write").path != before
    assert store().verify(sha256(content))
