"""Fifty threads that commit to one branch of a running hub at once, by its own API and by the stock client."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import httpx
import pytest
from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import HfHubHTTPError

from tests.factories import sha256
from tests.live import LiveHub
from tests.rounds import rounds

pytestmark = pytest.mark.slow

WRITERS = 50


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveHub]:
    hub = LiveHub(tmp_path_factory.mktemp("racing"))
    yield hub
    hub.stop()


@pytest.fixture(scope="module")
def api(hub: LiveHub) -> HfApi:
    return HfApi(endpoint=hub.url, token=hub.token("ann"))


def data(path: str) -> bytes:
    return f"content of {path}".encode()


def by_the_api(api: HfApi, repo: str, path: str, parent: str | None) -> str | None:
    """The hub's own API, which takes bytes first and a commit of their hashes then."""
    digest = sha256(data(path))
    with httpx.Client(base_url=api.endpoint, headers={"Authorization": f"Bearer {api.token}"}, timeout=120) as http:
        http.put(f"/api/v1/blobs/{digest}", content=data(path)).raise_for_status()
        body = {"files": [{"path": path, "sha256": digest}], "replace": False, "message": path, "parent": parent}
        answer = http.post(f"/api/v1/repos/{repo}/commits", json=body)
    assert answer.status_code == 201, answer.text
    return None


def by_the_stock_client(api: HfApi, repo: str, path: str, parent: str | None) -> str | None:
    """huggingface_hub's create_commit: the refusal it reports, if its parent is not the tip any more."""
    add = CommitOperationAdd(path, data(path))
    try:
        api.create_commit(repo, [add], commit_message=path, parent_commit=parent)
    except HfHubHTTPError as error:
        assert error.response.status_code == 412, str(error)
        return str(error)
    return None


Way = Callable[[HfApi, str, str, str | None], str | None]


def race(api: HfApi, repo: str, folder: str, way: Way, parent: str | None = None) -> dict[str, str | None]:
    """What each of the writers heard, by the path it wrote."""
    begin = Barrier(WRITERS)

    def write(path: str) -> str | None:
        begin.wait(60)
        return way(api, repo, path, parent)

    paths = [f"{folder}/{number}.txt" for number in range(WRITERS)]
    with ThreadPoolExecutor(WRITERS) as pool:
        return dict(zip(paths, pool.map(write, paths), strict=True))


def line(hub: LiveHub, repo: str) -> list[str]:
    """Titles from the tip to the first commit; git would show the same, for each commit has one parent."""
    titles: list[str] = []
    with httpx.Client(base_url=hub.url, timeout=60) as http:
        address = f"/api/models/{repo}/commits/main"
        while address:
            answer = http.get(address).raise_for_status()
            titles += [each["title"] for each in answer.json()]
            address = answer.links.get("next", {}).get("url", "")
    return titles


def contents(hub: LiveHub, repo: str, folder: str) -> dict[str, bytes]:
    with httpx.Client(base_url=hub.url, timeout=60) as http:
        tree = http.get(f"/api/models/{repo}/tree/main/{folder}").raise_for_status().json()
        paths = [each["path"] for each in tree]
        return {path: http.get(f"/{repo}/resolve/main/{path}").raise_for_status().content for path in paths}


@pytest.mark.parametrize("way", [by_the_api, by_the_stock_client], ids=lambda way: way.__name__)
def test_without_a_parent_all_land_in_one_line_and_no_file_is_lost(hub: LiveHub, api: HfApi, way: Way) -> None:
    repo = api.create_repo(f"ann/{way.__name__}").repo_id

    for number in rounds(few=1, many=10):
        before = line(hub, repo)

        refused = race(api, repo, str(number), way)

        after = line(hub, repo)
        assert not any(refused.values())
        assert contents(hub, repo, str(number)) == {path: data(path) for path in refused}
        assert set(after[:WRITERS]) == set(refused)
        assert after[WRITERS:] == before
    hub.manage("fsck")


def test_of_those_with_the_same_parent_one_lands_and_the_others_are_told_why(hub: LiveHub, api: HfApi) -> None:
    repo = api.create_repo("ann/one-of-fifty").repo_id

    for number in rounds(few=3, many=50):
        before = line(hub, repo)
        tip = api.model_info(repo).sha

        refused = race(api, repo, str(number), by_the_stock_client, parent=tip)

        [won] = [path for path, said in refused.items() if said is None]
        now = api.model_info(repo).sha
        assert contents(hub, repo, str(number)) == {won: data(won)}
        assert line(hub, repo) == [won, *before]
        for said in refused.values():
            assert said is None or f"main of {repo} is at {now}, not where this commit expected it" in said, said
    hub.manage("fsck")
