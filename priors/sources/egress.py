"""Requests to addresses that a person typed: only to public machines, only so long, only so much.

    with guarded_client("https://huggingface.co") as http: http.get("https://huggingface.co/api/models/org/name")

A host's name is resolved once for each connection, every address it has is checked, and the connection goes to an
address that was checked: a name server that answers differently a moment later changes nothing. A redirect is another
request and passes the same checks; credentials stay with the origin they were meant for. Bodies come uncompressed, so
the bytes that are counted are the bytes there are.
"""

from __future__ import annotations

import ipaddress
import math
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import httpcore2
import httpx2

from priors.errors import AddressRefused, RemoteFailed

CONNECT_SECONDS = 5.0
MAX_REDIRECTS = 5
_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052: an IPv4 address in the last 32 bits

Resolve = Callable[[str, int], list[str]]
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True)
class Limits:
    """What one request may cost, from the first byte sent to the last one read. Set by `extensions={"limits": …}`."""

    seconds: float = 60.0
    max_bytes: int = 32 << 20


def guarded_client(
    origin: str, *, allow_private: bool = False, resolve: Resolve | None = None, limits: Limits | None = None
) -> httpx2.Client:
    """A client for `origin` and the public hosts it redirects to. It reads no proxy from the environment.

    allow_private  the origin itself, and it alone, may lie on a private address

    Its requests raise AddressRefused, RemoteFailed for too many bytes, and httpx2's own errors.
    """
    home = httpx2.URL(origin)
    check_url(home)
    return httpx2.Client(
        transport=_Guard(home, allow_private=allow_private, resolve=resolve or addresses, limits=limits or Limits()),
        follow_redirects=True,
        max_redirects=MAX_REDIRECTS,
        trust_env=False,
    )


def check_url(url: httpx2.URL) -> None:
    """Raises AddressRefused for what is no plain http(s) address of a host."""
    if url.scheme not in {"http", "https"}:
        raise AddressRefused(f"{_shown(url)} is not an http or https address. Only those are fetched.")
    if url.userinfo:
        raise AddressRefused(f"{_shown(url)} carries a user name or password. Give the address without them.")
    if not url.host:
        raise AddressRefused(f"{_shown(url)} names no host. Give a full address.")


def addresses(host: str, port: int) -> list[str]:
    """Every address the system knows for the host. Raises RemoteFailed for an unknown name."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise RemoteFailed(f"{host!r} has no address ({error.strerror or error}). Check the name.") from error
    return [str(each[4][0]) for each in found]


def is_public(address: str) -> bool:
    """Whether anybody on the internet could be at this address; False for whatever only means something here."""
    try:
        found: _Address = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return all(
        each.is_global and not (each.is_multicast or each.is_reserved or each.is_unspecified)
        for each in (found, *_embedded(found))
    )


def _embedded(address: _Address) -> Iterator[_Address]:
    """IPv4 addresses that travel inside an IPv6 one and are where the packets end."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped:
            yield address.ipv4_mapped
        if address.sixtofour:
            yield address.sixtofour
        if address.teredo:
            yield from address.teredo
        if address in _NAT64 or int(address) >> 32 == 0:
            yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)


class _Clock(threading.local):
    """When the request of this thread has to be over."""

    until = math.inf

    def left(self) -> float:
        return self.until - time.monotonic()


class _Guard(httpx2.BaseTransport):
    """Checks what goes out, and counts what comes back."""

    def __init__(self, home: httpx2.URL, *, allow_private: bool, resolve: Resolve, limits: Limits) -> None:
        self._home, self._limits, self._clock = home, limits, _Clock()
        self._inner = httpx2.HTTPTransport(trust_env=False)
        private = (home.host, _port(home)) if allow_private else None
        # The transport's own pool would resolve names by itself: the same pool, connecting by way of our checks.
        self._inner._pool.close()
        self._inner._pool = httpcore2.ConnectionPool(
            ssl_context=httpx2.create_ssl_context(trust_env=False),
            network_backend=_Connect(resolve, private, self._clock),
        )

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        check_url(request.url)
        if self._home.scheme == "https" and request.url.scheme == "http":
            raise AddressRefused(f"{self._home.host} redirects to {_shown(request.url)}, which is not encrypted.")
        if _origin(request.url) != _origin(self._home):
            for name in ("Authorization", "Cookie", "Proxy-Authorization"):
                request.headers.pop(name, None)
        request.headers["Accept-Encoding"] = "identity"
        limits: Limits = request.extensions.get("limits", self._limits)
        self._clock.until = time.monotonic() + limits.seconds
        wait = {"connect": CONNECT_SECONDS, "read": limits.seconds, "write": limits.seconds, "pool": CONNECT_SECONDS}
        request.extensions = {**request.extensions, "timeout": wait}
        answer = self._inner.handle_request(request)
        encoding = answer.headers.get("Content-Encoding", "identity").strip().lower()
        promised = answer.headers.get("Content-Length", "0")
        if encoding not in {"", "identity"}:
            answer.close()
            raise RemoteFailed(f"{request.url.host} sends {encoding} where plain bytes were asked for. Not read.")
        if not promised.isdecimal() or int(promised) > limits.max_bytes:
            answer.close()
            raise _too_much(request.url, limits)
        answer.stream = _Counted(answer.stream, request.url, limits)
        return answer

    def close(self) -> None:
        self._inner.close()


class _Counted(httpx2.SyncByteStream):
    """A body that ends with an error once it is longer than it may be."""

    def __init__(self, inner: Any, url: httpx2.URL, limits: Limits) -> None:
        self._inner, self._url, self._limits = inner, url, limits

    def __iter__(self) -> Iterator[bytes]:
        read = 0
        for piece in self._inner:
            read += len(piece)
            if read > self._limits.max_bytes:
                raise _too_much(self._url, self._limits)
            yield piece

    def close(self) -> None:
        self._inner.close()


class _Connect(httpcore2.NetworkBackend):
    """Connections to addresses that were checked, and to no name."""

    def __init__(self, resolve: Resolve, private: tuple[str, int] | None, clock: _Clock) -> None:
        self._resolve, self._private, self._clock = resolve, private, clock
        self._inner = httpcore2.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        found = self._resolve(host.strip("[]"), port)
        if (host.strip("[]"), port) != self._private:
            for address in found:
                if not is_public(address):
                    raise AddressRefused(
                        f"{host!r} is at {address}, which is not a public address. It was not connected to."
                    )
        failed: httpcore2.ConnectError | httpcore2.ConnectTimeout | None = None
        for address in found[:3]:  # a host with many dead addresses must not cost many timeouts
            try:
                stream = self._inner.connect_tcp(address, port, min(timeout or math.inf, CONNECT_SECONDS))
                return _Stream(stream, self._clock)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failed = error
        raise failed or httpcore2.ConnectError(f"{host!r} has no address")


class _Stream(httpcore2.NetworkStream):
    """A connection whose reads and writes all end by the clock: a byte a second must not keep it open for ever."""

    def __init__(self, inner: httpcore2.NetworkStream, clock: _Clock) -> None:
        self._inner, self._clock = inner, clock

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if (left := self._clock.left()) <= 0:
            raise httpcore2.ReadTimeout("the request took too long")
        return self._inner.read(max_bytes, min(timeout or math.inf, left))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if (left := self._clock.left()) <= 0:
            raise httpcore2.WriteTimeout("the request took too long")
        self._inner.write(buffer, min(timeout or math.inf, left))

    def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        left = max(0.001, self._clock.left())
        wait = min(timeout or math.inf, left)
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, wait), self._clock)

    def close(self) -> None:
        self._inner.close()

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


def _too_much(url: httpx2.URL, limits: Limits) -> RemoteFailed:
    return RemoteFailed(f"{url.host} sends more than the {limits.max_bytes:,} bytes this request may have. Stopped.")


def _origin(url: httpx2.URL) -> tuple[str, str, int]:
    return url.scheme, url.host, _port(url)


def _port(url: httpx2.URL) -> int:
    return url.port or (443 if url.scheme == "https" else 80)


def _shown(url: httpx2.URL) -> str:
    return repr(str(url.copy_with(userinfo=b"", query=None, fragment=None))[:120])
