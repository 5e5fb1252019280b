"""What a hub's answers and failures become, and where the token goes."""

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from priors.client import Hub
from priors.client.config import clean_url, config_file, resolve, save_login
from priors.errors import (
    BadTask,
    Conflict,
    HubError,
    HubUnreachable,
    NotAllowed,
    NotFound,
    StorageFull,
    TokenRejected,
)

from .conftest import TOKEN, answer, problem


def answering(*answers) -> Hub:
    left = list(answers)

    def handler(request: httpx.Request) -> httpx.Response:
        status, headers, body = left.pop(0)
        return httpx.Response(status, headers=headers, content=body)

    return Hub("http://hub.test", TOKEN, transport=httpx.MockTransport(handler))


def test_an_answer_is_the_json_the_hub_sent(hub):
    assert hub.whoami() == {"name": "ada", "scopes": ["read", "write"]}
    assert hub.health()["status"] == "ok"


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (401, "token-rejected", TokenRejected),
        (403, "not-allowed", NotAllowed),
        (404, "not-found", NotFound),
        (409, "conflict", Conflict),
        (412, "something-new", Conflict),
        (422, "bad-task", BadTask),
        (507, "storage-full", StorageFull),
        (422, "something-new", HubError),
    ],
)
def test_a_problem_becomes_the_error_of_its_code_or_status_with_its_detail(status, code, error):
    with pytest.raises(error, match=r"^the cause\. the fix\.$"):
        answering(problem(status, code, "the cause. the fix.")).whoami()


def test_a_problem_without_json_still_says_what_the_hub_answered():
    with pytest.raises(HubError, match="answers 502"):
        answering((502, {}, b"<html>Bad gateway</html>")).whoami()


def test_a_page_in_place_of_json_is_refused_by_name():
    with pytest.raises(HubError, match=r"http://hub.test answers with text/html instead of JSON"):
        answering((200, {"content-type": "text/html"}, b"<html>Sign in to the network</html>")).whoami()


def test_an_endless_answer_is_cut_off(monkeypatch):
    monkeypatch.setattr("priors.client._transport.MAX_JSON_BYTES", 1000)

    with pytest.raises(HubError, match="more than 1,000 bytes"):
        answering((200, {}, b"[" + b"1," * 1000)).whoami()


def test_no_hub_at_the_address_is_one_line_with_the_fix():
    with socket.socket() as held:  # bound and not listening: nothing else can take the port meanwhile
        held.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{held.getsockname()[1]}"

        with pytest.raises(HubUnreachable, match=r"connection refused.*manage.py up") as refused, Hub(address) as hub:
            hub.health()

    assert "\n" not in str(refused.value)


def test_a_hub_that_does_not_answer_in_time_is_unreachable():
    def handler(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("slow", request=request)

    with pytest.raises(HubUnreachable, match="in time"):
        Hub("http://hub.test", transport=httpx.MockTransport(handler)).health()


# ---- the token


def test_the_token_goes_to_the_hub_and_never_to_where_it_redirects():
    seen = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append((str(request.url.host), request.headers.get("authorization")))
        if request.url.host == "hub.test" and request.url.path == "/api/v1/health":
            return httpx.Response(302, headers={"location": "http://hub.test/api/v1/elsewhere"})
        if request.url.host == "hub.test":
            return httpx.Response(307, headers={"location": "http://evil.test/take"})
        return httpx.Response(200, json={"status": "ok"})

    Hub("http://hub.test", TOKEN, transport=httpx.MockTransport(handler)).health()

    assert seen == [("hub.test", f"Bearer {TOKEN}"), ("hub.test", f"Bearer {TOKEN}"), ("evil.test", None)]


@pytest.mark.parametrize(
    "location", ["http://hub.test:81/x", "https://hub.test/x", "http://hub.test.evil.test/x", "//other.test/x"]
)
def test_another_port_scheme_or_host_is_another_origin(location):
    seen = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get("authorization"))
        return httpx.Response(302, headers={"location": location}) if len(seen) == 1 else httpx.Response(200, json={})

    Hub("http://hub.test", TOKEN, transport=httpx.MockTransport(handler)).health()

    assert seen == [f"Bearer {TOKEN}", None]


@pytest.mark.parametrize(
    ("url", "location"),
    [
        ("https://hub.test", "http://hub.test/x"),
        ("http://hub.test", "file:///etc/passwd"),
        ("http://hub.test", "ftp://x/y"),
    ],
)
def test_a_redirect_to_something_less_safe_is_refused(url, location):
    transport = httpx.MockTransport(lambda request: httpx.Response(302, headers={"location": location}))

    with pytest.raises(HubError, match="not safe"):
        Hub(url, TOKEN, transport=transport).health()


def test_redirects_in_circles_end_and_writes_are_not_redirected():
    circle = httpx.MockTransport(lambda request: httpx.Response(302, headers={"location": str(request.url)}))

    with pytest.raises(HubError, match="redirects more than 5 times"):
        Hub("http://hub.test", transport=circle).health()
    with pytest.raises(HubError, match="redirects a POST"):
        Hub("http://hub.test", transport=circle).submit("fit", {})


def test_a_token_with_a_line_break_inside_is_refused_before_anything_is_sent():
    with pytest.raises(TokenRejected, match="Copy it again"):
        Hub("http://hub.test", "ph_abcdefgh\r\nX-Evil: 1")


# ---- which hub


def test_arguments_win_over_the_environment_and_that_over_the_login(monkeypatch):
    assert resolve().url == "http://127.0.0.1:8000"
    save_login("http://saved.test/", "token-saved")
    assert resolve() == resolve("http://saved.test")
    assert resolve().token == "token-saved"

    monkeypatch.setenv("PRIORHUB_URL", "http://env.test")
    monkeypatch.setenv("PRIORHUB_TOKEN", "token-env-1")

    assert (resolve().url, resolve().token) == ("http://env.test", "token-env-1")
    assert resolve("http://saved.test").token == "token-saved"
    assert resolve("http://third.test").token is None
    assert resolve("http://third.test", "token-argument").token == "token-argument"


def test_the_login_file_is_for_its_owner_alone_and_keeps_other_hubs():
    save_login("http://one.test", "token-for-one")
    path = save_login("http://two.test", "token-for-two")

    assert path == config_file()
    assert path.stat().st_mode & 0o777 == 0o600
    assert resolve("http://one.test").token == "token-for-one"
    assert json.loads(path.read_text())["default"] == "http://two.test"
    assert list(path.parent.iterdir()) == [path]


def test_a_broken_login_file_says_which_file_and_what_to_do():
    config_file().parent.mkdir(parents=True)
    for content in ("{", "[]", '{"tokens": 3}'):
        config_file().write_text(content)
        with pytest.raises(HubError, match=r"config.json .*priorhub login"):
            resolve()


@pytest.mark.parametrize(
    "url",
    ["hub.test", "ftp://hub.test", "http://", "http://user:secret@hub.test", "http://hub.test:99999", "file:///etc"],
)
def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(HubError, match="no hub address"):
        clean_url(url)


def test_ipv6_ports_and_paths_are_kept():
    assert clean_url("HTTP://[::1]:8000/hub/") == "http://[::1]:8000/hub"


def test_pages_of_a_search_are_joined(fake, hub, monkeypatch):
    items = [{"repo": f"a/{i}", "ref": f"prior://a/{i}"} for i in range(5)]
    pages = {None: (items[:3], "x"), "x": (items[3:], None)}

    def before(method, path, headers):
        content, cursor = pages[None if len(fake.requests) == 1 else "x"]
        return answer({"items": content, "next": cursor})

    fake.before = before

    assert [listing.repo for listing in hub.search()] == [f"a/{i}" for i in range(5)]
    fake.requests.clear()
    assert len(hub.search(limit=2)) == 2


def test_bytes_of_another_origin_come_in_ranges_by_a_signed_address_without_the_token(fake, served, monkeypatch):
    """As a hub does that keeps its files in a bucket; a real socket each."""
    monkeypatch.setattr("priors.client._download.RANGE_BYTES", 50_000)
    content = bytes(range(256)) * 800
    fake.commit("me/thing", {"weights.bin": content})
    asked = []

    class Bucket(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(dict(self.headers))
            begin, end = map(int, self.headers["Range"].removeprefix("bytes=").split("-"))
            signed = self.path.endswith("?X-Amz-Signature=s") and "Authorization" not in self.headers
            self.send_response(206 if signed else 403)
            self.send_header("Content-Range", f"bytes {begin}-{end}/{len(content)}")
            self.send_header("Content-Length", str(end + 1 - begin))
            self.end_headers()
            self.wfile.write(content[begin : end + 1])

        def log_message(self, *args):
            pass

    bucket = ThreadingHTTPServer(("127.0.0.1", 0), Bucket)
    thread = threading.Thread(target=bucket.serve_forever, args=(0.05,))
    thread.start()
    place = {"location": f"http://127.0.0.1:{bucket.server_address[1]}/blob?X-Amz-Signature=s"}
    fake.before = lambda method, path, headers: (302, place, b"") if "/files/" in path else None

    folder = Hub(served, TOKEN).pull("me/thing")
    bucket.shutdown()
    thread.join()
    bucket.server_close()

    assert (folder / "weights.bin").read_bytes() == content
    assert len(asked) == 5
    assert not [headers for headers in asked if TOKEN in str(headers)]
    assert all(headers["authorization"] == f"Bearer {TOKEN}" for _, _, headers in fake.requests)
