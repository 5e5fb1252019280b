"""HTTP to one hub, and what each failure means. Nothing outside this module sees httpx.

The token goes to the hub's own origin and nowhere else: redirects are followed by hand, for downloads only, and leave
it behind as soon as scheme, host or port differ. JSON answers are read up to a limit, whatever their length header is.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import httpx

from priors.client.config import Address
from priors.errors import (
    Conflict,
    HubError,
    HubUnreachable,
    NotAllowed,
    NotFound,
    PriorhubError,
    StorageFull,
    TokenRejected,
    UserError,
)

MAX_JSON_BYTES = 64 << 20
MAX_REDIRECTS = 5
TIMEOUT = httpx.Timeout(60.0, connect=5.0)
# an idle event stream says something at least every 15 s (a comment line); three missed ones mean the line is dead
STREAM_TIMEOUT = httpx.Timeout(60.0, connect=5.0, read=45.0)
_BY_STATUS: dict[int, type[HubError]] = {
    401: TokenRejected,
    403: NotAllowed,
    404: NotFound,
    409: Conflict,
    412: Conflict,
    503: HubUnreachable,
    507: StorageFull,
}


Query = Mapping[str, str | float | Sequence[str] | None]
"""Parameters of an address; a list is repeated, None and an empty list are left out."""


class Transport:
    """Requests below `/api/v1` of one hub. Safe to share between threads."""

    def __init__(self, address: Address, *, transport: httpx.BaseTransport | None = None) -> None:
        self.address = address
        self._origin = httpx.URL(address.url)
        self._http = httpx.Client(
            timeout=TIMEOUT,
            headers={"User-Agent": "priorhub-client/1"},
            limits=httpx.Limits(max_connections=16),
            # a proxy named in the environment cannot reach a hub on this machine
            trust_env=not _is_loopback(self._origin.host),
            transport=transport,
        )

    def close(self) -> None:
        self._http.close()

    def json(self, method: str, path: str, *, body: object = None, query: Query | None = None) -> Any:
        """The JSON answer, None for an empty one. Raises the error the hub's answer stands for."""
        with self.stream(method, path, body=body, query=query) as answer:
            return self.read_json(answer)

    def read_json(self, answer: httpx.Response) -> Any:
        """What an answer that `stream` gave says in JSON, None for an empty one."""
        content = bytearray()
        for chunk in answer.iter_bytes():
            content += chunk
            if len(content) > MAX_JSON_BYTES:
                raise HubError(f"{self.address.url} answers with more than {MAX_JSON_BYTES:,} bytes. Is it a hub?")
        if not content:
            return None
        try:
            return json.loads(content)
        except ValueError as error:
            kind = answer.headers.get("content-type", "no type")
            raise HubError(
                f"{self.address.url} answers with {kind} instead of JSON. Is it a Priorhub address, with no proxy in "
                "between?"
            ) from error

    @contextmanager
    def stream(
        self,
        method: str,
        path: str,
        *,
        body: object = None,
        content: Iterator[bytes] | None = None,
        query: Query | None = None,
        headers: Mapping[str, str] | None = None,
        events: bool = False,
        seconds: float | None = None,
    ) -> Iterator[httpx.Response]:
        """An answer below 400 whose body is still to be read. Redirects are followed for GET only.

        seconds  how long the hub may think before it says something, where that is not a minute
        """
        url = httpx.URL(f"{self.address.url}/api/v1{path}")
        if query:
            url = url.copy_merge_params(
                {name: value for name, value in query.items() if value is not None and value != ()}
            )
        sent = dict(headers or {})
        patience = STREAM_TIMEOUT if events else TIMEOUT
        data: bytes | Iterator[bytes] | None = content
        if body is not None:
            data = json.dumps(body).encode()
            sent["Content-Type"] = "application/json"
        try:
            for _ in range(MAX_REDIRECTS + 1):
                request = self._http.build_request(
                    method,
                    url,
                    content=data,
                    headers=sent | self._credentials(url),
                    timeout=httpx.Timeout(60.0, connect=5.0, read=seconds) if seconds else patience,
                )
                answer = self._http.send(request, stream=True, follow_redirects=False)
                try:
                    if not answer.has_redirect_location:
                        if answer.is_error:
                            raise error_from(answer)
                        yield answer
                        return
                    if method != "GET":
                        raise _redirected(answer, method)
                    url = url.join(answer.headers["location"])
                    if url.scheme not in {"http", "https"} or (self._origin.scheme == "https" and url.scheme == "http"):
                        raise HubError(
                            f"the hub redirects to {url.scheme}://{url.host}, which is not safe. Nothing was read."
                        )
                finally:
                    answer.close()
            raise HubError(f"{self.address.url} redirects more than {MAX_REDIRECTS} times. Check the hub's address.")
        except httpx.TimeoutException as error:
            raise HubUnreachable(f"{self.address.url} does not answer in time. Try again later.") from error
        except httpx.TransportError as error:
            raise HubUnreachable(
                f"no hub answers at {self.address.url} ({_cause(error)}). Start one with `python manage.py up`, or "
                "name another with --url or PRIORHUB_URL."
            ) from error

    def put_away(self, address: str, content: Iterator[bytes], length: int) -> None:
        """PUTs bytes to an address that the hub signed, in its bucket: without the token. Raises HubError."""
        url = httpx.URL(address)
        if url.scheme not in {"http", "https"} or (self._origin.scheme == "https" and url.scheme == "http"):
            raise HubError(
                f"the hub wants the bytes at {url.scheme}://{url.host}, which is not safe. Nothing was sent."
            )
        headers = {"Content-Length": str(length), "Content-Type": "application/octet-stream"}
        try:
            answer = self._http.put(url, content=content, headers=headers, timeout=TIMEOUT, follow_redirects=False)
        except httpx.TimeoutException as error:
            raise HubUnreachable(f"the hub's bucket at {url.host} does not answer in time. Try again later.") from error
        except httpx.TransportError as error:
            raise HubUnreachable(f"the hub's bucket at {url.host} does not answer ({_cause(error)}).") from error
        if answer.status_code >= 500:
            raise HubUnreachable(f"the hub's bucket at {url.host} answers {answer.status_code}. Try again later.")
        if not answer.is_success:
            raise HubError(
                f"the hub's bucket at {url.host} answers {answer.status_code}. Push again; if that does not help, tell "
                "the hub's operator."
            )

    def _credentials(self, url: httpx.URL) -> dict[str, str]:
        same = (url.scheme, url.host, _port(url)) == (self._origin.scheme, self._origin.host, _port(self._origin))
        return {"Authorization": f"Bearer {self.address.token}"} if self.address.token and same else {}


def error_from(answer: httpx.Response) -> PriorhubError:
    """The error an answer of 400 or more stands for: by its problem's code where we know it, else by its status."""
    problem = _problem(answer)
    detail = problem.get("detail") or problem.get("title") or f"the hub answers {answer.status_code}. Try again later."
    return error_for(str(problem.get("code") or ""), str(detail)[:2000], status=answer.status_code)


def _redirected(answer: httpx.Response, method: str) -> PriorhubError:
    """A change is not sent again to another address; where a repository was moved, the hub says its new name."""
    detail = _problem(answer).get("detail") or f"the hub redirects a {method}. Use the address it redirects to."
    return HubError(str(detail)[:2000])


def _problem(answer: httpx.Response) -> dict[str, Any]:
    try:
        problem = json.loads(answer.read()[:65536])
    except (ValueError, httpx.HTTPError):
        return {}
    return problem if isinstance(problem, dict) else {}


def error_for(code: str, detail: str, *, status: int = 0) -> PriorhubError:
    """An error of the class that has this code, else of the class for this status, else HubError."""
    pending: list[type[UserError]] = [UserError]
    while pending:
        kind = pending.pop()
        # a process that also has a hub in it knows more classes with this code: those are the hub's own
        if kind.code == code and kind is not UserError and not kind.__module__.startswith("hub."):
            return kind(detail)
        pending += kind.__subclasses__()
    return _BY_STATUS.get(status, HubError)(detail)


def _cause(error: httpx.TransportError) -> str:
    text = str(error).strip() or type(error).__name__
    return "connection refused" if "refused" in text.lower() else text.splitlines()[0][:200]


def _port(url: httpx.URL) -> int:
    return url.port or (443 if url.scheme == "https" else 80)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
