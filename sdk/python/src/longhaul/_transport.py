"""Requests over HTTP: connections that are kept, repeats that are safe, refusals as exceptions.

A transport belongs to the event loop that first uses it. aiohttp was chosen over httpx by measurement: 220 to 270 µs
of processor time a request against 1,080 to 1,950 µs, on the machine that the benchmarks name.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any
from urllib.parse import quote

import aiohttp
from pydantic_core import to_json

from ._settings import Settings
from .errors import APIError, ConfigurationError, ConnectionFailed, error_of

try:
    _VERSION = version("longhaul")
except PackageNotFoundError:  # run from a source tree
    _VERSION = "0"

RETRIED = frozenset({408, 429, 500, 502, 503, 504, 507})
"""Statuses after which the same request may succeed."""

AWAY = frozenset({429, 502, 503, 504})
"""Those among them of a server that is away or busy: whoever has time comes again until it is back."""

REDIRECTS = frozenset({301, 302, 303, 307, 308})
"""Statuses of something that stands before the server and sends whoever asks elsewhere."""

NOT_TAKEN = frozenset({429, 503, 507})
"""Those after which nothing has happened, so that also what must not be done twice can be sent again."""

LONGEST_WAIT = 30.0
"""The longest pause between two tries, in seconds, unless the server asks for a longer one."""

LONGEST_ASKED = 60.0
"""And the longest that the server may ask for: the window of most limits."""


@dataclass(frozen=True)
class Answer:
    """An answer of the server."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as a value."""
        return json.loads(self.body)


def encode(value: Any) -> bytes:
    """Any value that pydantic can write, as JSON. What JSON has no word for (NaN, infinity) becomes null."""
    return to_json(value, inf_nan_mode="null")


def encode_input(value: Any) -> bytes:
    """What somebody submits, as JSON. Raises `ConfigurationError` for what JSON has no word for: nothing is guessed."""
    try:
        written = to_json(value, inf_nan_mode="constants")
        if b"NaN" in written or b"Infinity" in written:
            # Within a text they are nothing special.
            json.loads(written, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"it cannot be written as JSON: {error}") from error
    return written


def _refuse_constant(name: str) -> None:
    raise ValueError(f"JSON has no {name}; write null or a text")


def segment(name: str) -> str:
    """One part of a path, whatever is in it: an id that came from outside reaches no other call than the one meant."""
    # `.` and `..` are taken for steps through the path, however they are written.
    if name in ("", ".", ".."):
        raise ConfigurationError(f"{name!r} is no id or name that the server could know")
    return quote(name, safe="", errors="surrogatepass")


def backoff(attempt: int, longest: float = LONGEST_WAIT) -> float:
    """Full jitter: anything up to 0.2 s, 0.4 s, 0.8 s … after try number 0, 1, 2 …."""
    return random.uniform(0.05, max(0.1, min(longest, 0.2 * 2.0 ** min(attempt, 16))))


class Transport:
    """Talks to one server from one event loop."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._session: aiohttp.ClientSession | None = None
        self._in_use: dict[aiohttp.ClientSession, int] = {}

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            headers = {"user-agent": f"longhaul-python/{_VERSION}"}
            if self.settings.api_key:
                headers["authorization"] = f"Bearer {self.settings.api_key}"
            self._session = aiohttp.ClientSession(
                headers=headers,
                # As many as there are waiting requests: a long poll keeps its connection.
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=55),
                auto_decompress=True,
            )
        return self._session

    async def close(self) -> None:
        """Closes the connections."""
        sessions = {*self._in_use} | ({self._session} if self._session is not None else set())
        for session in sessions:
            await session.close()

    def abandon(self) -> object:
        """After a fork: gives the connections away, which are the other process's, and must be kept but not used."""
        left = (self._session, self._in_use)
        self._session, self._in_use = None, {}
        return left

    @asynccontextmanager
    async def _connections(self) -> AsyncIterator[aiohttp.ClientSession]:
        """The connections of now. Those that were left are closed when nothing is under way on them."""
        session = self._open()
        self._in_use[session] = self._in_use.get(session, 0) + 1
        try:
            yield session
        finally:
            self._in_use[session] -= 1
            if not self._in_use[session]:
                del self._in_use[session]
                if session is not self._session:
                    await session.close()

    def _leave(self, session: aiohttp.ClientSession) -> None:
        """What comes next goes over new connections.

        One that says nothing is taken for dead, and those that were opened beside it may be as well: a router that
        forgot them tells nobody.
        """
        if self._session is session:
            self._session = None

    async def once(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        waits: float = 0.0,
        within: float | None = None,
        begun: asyncio.Event | None = None,
    ) -> Answer:
        """One try. Raises `ConnectionFailed` when there was no answer; refusals are answers here.

        An answer may take any time as long as it comes, unless it has to be there ``within`` so many seconds. ``begun``
        is set when it has begun to come.
        """
        sent = dict(headers or {})
        # A form knows its own content type.
        if isinstance(body, bytes):
            sent.setdefault("content-type", "application/json")
        timeout = aiohttp.ClientTimeout(total=within, sock_connect=10, sock_read=self.settings.timeout + waits)
        async with self._connections() as session:
            try:
                request = session.request(
                    method,
                    self.settings.url + path,
                    data=body,
                    params=params,
                    headers=sent,
                    timeout=timeout,
                    # Another address would get a GET in place of a POST, and perhaps the key.
                    allow_redirects=False,
                )
                async with request as response:
                    if begun is not None:
                        begun.set()
                    return Answer(response.status, response.headers, await response.read())
            except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
                why = str(error) or type(error).__name__
                is_unsent = isinstance(error, (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError))
                is_silence = isinstance(error, asyncio.TimeoutError)
                if is_silence:
                    self._leave(session)
                raise ConnectionFailed(
                    f"{method} {self.settings.url}{path}: {why}", may_have_arrived=not is_unsent, is_silence=is_silence
                ) from error

    async def request(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        waits: float = 0.0,
        repeatable: bool = True,
        final: Collection[str] = (),
    ) -> Answer:
        """Tries until there is an answer that stands. Raises `APIError` for one that says no.

        What is not `repeatable` is sent again only when the server was not reached, or said that it did not take it.
        Codes that are `final` stand, whatever their status.
        """
        attempt = 0
        while True:
            pause: float | None
            try:
                answer = await self.once(method, path, body=body, params=params, headers=headers, waits=waits)
            except ConnectionFailed as lost:
                again = repeatable or not lost.may_have_arrived
                if not again or attempt >= self.settings.max_retries:
                    raise
                pause = backoff(attempt)
            else:
                self.check_redirect(answer)
                if answer.status < 400:
                    return answer
                error = refusal(answer)
                again = answer.status in (RETRIED if repeatable else NOT_TAKEN) and error.code not in final
                if not again or attempt >= self.settings.max_retries or is_too_long(error):
                    raise error
                pause = max(backoff(attempt), error.retry_after or 0.0)
            attempt += 1
            await asyncio.sleep(pause)

    def check_redirect(self, answer: Answer) -> None:
        """Raises `ConfigurationError` for an answer that names another address."""
        if answer.status in REDIRECTS:
            raise ConfigurationError(
                f"{self.settings.url} answers {answer.status} and names another address, "
                f"{answer.headers.get('location')!r}: give the server's own as url, or in LONGHAUL_URL"
            )

    @asynccontextmanager
    async def streaming(
        self, path: str, *, params: Mapping[str, str], headers: Mapping[str, str]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """An answer whose body is read as it comes. The server pings every 15 s: silence for longer is an end."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=45)
        async with self._connections() as session:
            try:
                url = self.settings.url + path
                request = session.get(url, params=params, headers=headers, timeout=timeout, allow_redirects=False)
                async with request as response:
                    yield response
            except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
                if isinstance(error, asyncio.TimeoutError):
                    self._leave(session)
                raise ConnectionFailed(f"GET {path}: {str(error) or type(error).__name__}") from error


def is_too_long(error: APIError) -> bool:
    """Whether the server asks for a pause in which nobody would know that anything goes on."""
    return (error.retry_after or 0.0) > LONGEST_ASKED


def refusal(answer: Answer) -> APIError:
    """The exception for an answer that says no."""
    try:
        retry_after: float | None = float(answer.headers.get("retry-after", ""))
    except ValueError:
        retry_after = None
    if retry_after is not None and not 0.0 <= retry_after < math.inf:
        retry_after = None
    return error_of(answer.status, answer.body, retry_after)
