"""Which machines a request may reach, for how long and for how many bytes. Servers here are real sockets."""

from __future__ import annotations

import gzip
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import httpx2
import pytest

from priors.errors import AddressRefused, RemoteFailed, UserError
from priors.sources.egress import Limits, addresses, guarded_client, is_public

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Server:
    """A socket that hands each connection to `serve` and keeps what was asked."""

    def __init__(self, serve: Callable[[socket.socket], None]) -> None:
        self.requests: list[bytes] = []
        self._serve, self._listening = serve, socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self.over = threading.Event()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self._threads.append(thread := threading.Thread(target=self._one, args=(connection,)))
            thread.start()

    def _one(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            self.requests.append(connection.recv(65536))
            self._serve(connection)

    def close(self) -> None:
        self.over.set()
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for thread in self._threads:
            thread.join()


@pytest.fixture
def serving() -> Iterator[Callable[..., Server]]:
    made: list[Server] = []

    def serve(what: Callable[[socket.socket], None] | bytes) -> Server:
        made.append(Server((lambda connection: connection.sendall(what)) if isinstance(what, bytes) else what))
        return made[-1]

    yield serve
    for server in made:
        server.close()


def get(url: str, *, allow_private: bool = False, **options: object) -> httpx2.Response:
    with guarded_client(url, allow_private=allow_private, **options) as http:  # type: ignore[arg-type]
        return http.get(url)


# ---- which addresses


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "localhost", "0.0.0.0", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]",
        "169.254.169.254", "[::ffff:169.254.169.254]", "10.0.0.1", "10.255.255.255", "172.16.0.1", "192.168.1.1",
        "100.64.0.1", "100.127.255.255", "[fc00::1]", "[fd12:3456::1]", "[fe80::1]", "2130706433", "0177.0.0.1",
        "0x7f000001", "0x7f.0.0.1", "127.1", "017700000001", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "224.0.0.1",
        "255.255.255.255", "192.0.2.1", "[ff02::1]", "[::127.0.0.1]",
    ],
)  # fmt: skip
def test_private_addresses_are_refused_however_they_are_written(host: str) -> None:
    with pytest.raises((AddressRefused, httpx2.InvalidURL)) as refused:
        get(f"http://{host}/latest/meta-data")

    assert "\n" not in str(refused.value)


def test_decimal_octal_and_short_forms_reach_the_check_and_not_the_machine(serving: Callable[..., Server]) -> None:
    server = serving(OK)
    port = server.url.rpartition(":")[2]

    for host in ("2130706433", "0177.0.0.1", "0x7f000001", "127.1", "localhost"):
        with pytest.raises((AddressRefused, httpx2.InvalidURL)):
            get(f"http://{host}:{port}/")

    assert server.requests == []


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111"])
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("address", ["fe80::1%eth0", "nonsense", "", "::ffff:10.0.0.1"])
def test_what_is_no_public_address_is_none(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("found", [["10.0.0.5"], ["8.8.8.8", "10.0.0.5"], ["8.8.8.8", "::1"]])
def test_a_name_is_refused_when_any_of_its_addresses_is_private(found: list[str]) -> None:
    with pytest.raises(AddressRefused, match="not a public address"):
        get("http://innocent.example/", resolve=lambda host, port: found)


def test_a_name_server_that_changes_its_mind_is_asked_once_and_the_checked_address_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = iter([["8.8.8.8"], ["127.0.0.1"], ["127.0.0.1"]])
    connected: list[tuple[str, int]] = []

    def connect(address: tuple[str, int], *args: object, **kwargs: object) -> socket.socket:
        connected.append(address)
        raise ConnectionRefusedError(111, "refused")

    monkeypatch.setattr(socket, "create_connection", connect)
    with pytest.raises(httpx2.ConnectError):
        get("http://rebinding.example:81/", resolve=lambda host, port: next(answers))

    assert connected == [("8.8.8.8", 81)]
    with pytest.raises(AddressRefused):  # and the next connection is checked anew
        get("http://rebinding.example:81/", resolve=lambda host, port: next(answers))


def test_a_name_nobody_knows_is_one_clear_line() -> None:
    with pytest.raises(RemoteFailed, match="has no address"):
        addresses("no-such-host.invalid", 80)


@pytest.mark.parametrize(
    "url", ["gopher://example.com/", "file:///etc/passwd", "ftp://example.com/x", "http://a@127.0.0.1/",
            "http://a:b@example.com/", "http:///x", "data:text/plain,x"],
)  # fmt: skip
def test_other_schemes_and_user_names_are_refused(url: str) -> None:
    with pytest.raises((AddressRefused, httpx2.InvalidURL)):
        get(url)


# ---- what an operator allows


def test_an_origin_that_is_allowed_is_reached_and_another_port_of_the_same_machine_is_not(
    serving: Callable[..., Server],
) -> None:
    inner = serving(OK)
    outer = serving(f"HTTP/1.1 302 Found\r\nLocation: {inner.url}/secret\r\nContent-Length: 0\r\n\r\n".encode())

    assert get(inner.url, allow_private=True).text == "ok"
    inner.requests.clear()
    with pytest.raises(AddressRefused, match="not a public address"):
        get(outer.url, allow_private=True)
    assert inner.requests == []


@pytest.mark.parametrize("location", ["file:///etc/passwd", "gopher://127.0.0.1/", "http://u:p@127.0.0.1:1/"])
def test_a_redirect_to_something_that_is_no_web_address_is_refused(
    serving: Callable[..., Server], location: str
) -> None:
    server = serving(f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode())

    with pytest.raises((AddressRefused, httpx2.HTTPError)):
        get(server.url, allow_private=True)


def test_a_redirect_from_https_to_http_is_refused() -> None:
    with guarded_client("https://safe.example") as http, pytest.raises(AddressRefused, match="not encrypted"):
        http.get("http://safe.example/")


def test_redirects_in_a_circle_end(serving: Callable[..., Server]) -> None:
    server = serving(b"HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    with pytest.raises(httpx2.TooManyRedirects):
        get(server.url, allow_private=True)
    assert len(server.requests) == 6


def test_credentials_stay_with_their_origin(serving: Callable[..., Server]) -> None:
    other = serving(OK)
    there = other.url.replace("127.0.0.1", "elsewhere.example")
    home = serving(f"HTTP/1.1 307 Temporary\r\nLocation: {there}/x\r\nContent-Length: 0\r\n\r\n".encode())
    found = {"elsewhere.example": "8.8.8.8", "127.0.0.1": "127.0.0.1"}
    connect = socket.create_connection

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            socket, "create_connection", lambda at, *rest, **more: connect(("127.0.0.1", at[1]), *rest, **more)
        )
        with guarded_client(home.url, allow_private=True, resolve=lambda host, port: [found[host]]) as http:
            http.get(home.url, headers={"Authorization": "Bearer secret", "Cookie": "session=secret"})

    assert b"secret" in home.requests[0]
    assert b"secret" not in other.requests[0]


# ---- what it may cost


def test_a_byte_now_and_then_does_not_keep_a_request_open(serving: Callable[..., Server]) -> None:
    def drip(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while not server.over.wait(0.05):
            connection.sendall(b"x")

    server = serving(drip)
    began = time.monotonic()
    with pytest.raises(httpx2.ReadTimeout):
        get(server.url, allow_private=True, limits=Limits(seconds=0.5))
    assert 0.4 < time.monotonic() - began < 3


def test_nor_does_a_header_now_and_then(serving: Callable[..., Server]) -> None:
    def drip(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        while not server.over.wait(0.05):
            connection.sendall(b"X: y\r\n")

    server = serving(drip)
    with pytest.raises(httpx2.ReadTimeout):
        get(server.url, allow_private=True, limits=Limits(seconds=0.5))


def test_an_endless_body_is_cut_off(serving: Callable[..., Server]) -> None:
    def pour(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while not server.over.is_set():
            connection.sendall(bytes(65536))

    server = serving(pour)
    with pytest.raises(RemoteFailed, match="more than the 1,000,000 bytes"):
        get(server.url, allow_private=True, limits=Limits(max_bytes=1_000_000))


def test_a_body_that_is_announced_too_long_is_not_read(serving: Callable[..., Server]) -> None:
    server = serving(b"HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n")

    with pytest.raises(RemoteFailed, match="more than the"):
        get(server.url, allow_private=True)


def test_compressed_bodies_are_not_unpacked(serving: Callable[..., Server]) -> None:
    bomb = gzip.compress(bytes(50 << 20))
    server = serving(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb) + bomb)

    with pytest.raises(RemoteFailed, match="gzip where plain bytes"):
        get(server.url, allow_private=True)
    assert b"accept-encoding: identity" in server.requests[0].lower()


def test_ten_thousand_headers_are_refused(serving: Callable[..., Server]) -> None:
    many = b"".join(b"X-Header-%d: %s\r\n" % (i, b"v" * 40) for i in range(10_000))
    server = serving(b"HTTP/1.1 200 OK\r\n" + many + b"Content-Length: 0\r\n\r\n")

    with pytest.raises(httpx2.HTTPError):
        get(server.url, allow_private=True)


@pytest.mark.parametrize("length", [b"10", b"-1", b"1e3", b"2, 3"])
def test_a_wrong_length_is_an_error_and_no_short_answer(serving: Callable[..., Server], length: bytes) -> None:
    server = serving(b"HTTP/1.1 200 OK\r\nContent-Length: " + length + b"\r\n\r\nok")

    with pytest.raises((httpx2.HTTPError, UserError)):
        get(server.url, allow_private=True)


def test_a_machine_that_does_not_answer_costs_five_seconds_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    def connect(address: tuple[str, int], timeout: float, **kwargs: object) -> socket.socket:
        waits.append(timeout)
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", connect)
    with pytest.raises(httpx2.ConnectTimeout):
        get("http://silent.example/", resolve=lambda host, port: ["8.8.8.8"])
    assert waits == [5.0]


def test_proxies_of_the_environment_are_not_used(
    serving: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy, server = serving(OK), serving(OK)
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    monkeypatch.setenv("ALL_PROXY", proxy.url)

    assert get(server.url, allow_private=True).text == "ok"
    assert proxy.requests == []
