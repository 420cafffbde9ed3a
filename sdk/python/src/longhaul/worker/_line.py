"""The worker's line to the server: calls that are made until they are answered, however long the server is away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import overload

from .._settings import Settings
from .._transport import LONGEST_ASKED, REDIRECTS, Answer, Transport, backoff, refusal
from ..errors import ConnectionFailed

LONGEST_PAUSE = 15.0
"""Seconds between two tries at a server that is away, at most."""


class Line:
    """Belongs to the worker's IO thread. Says once when the server goes away, and once when it is back."""

    def __init__(self, settings: Settings, log: logging.Logger) -> None:
        self.transport = Transport(settings)
        self._log = log
        self._is_away = False

    async def once(
        self,
        method: str,
        path: str,
        body: bytes,
        *,
        headers: Mapping[str, str] | None = None,
        waits: float = 0.0,
        within: float | None = None,
        begun: asyncio.Event | None = None,
    ) -> Answer:
        """One try, as `Transport.once`. Raises `ConnectionFailed` when there was no answer."""
        try:
            answer = await self.transport.once(
                method, path, body=body, headers=headers, waits=waits, within=within, begun=begun
            )
        except ConnectionFailed as error:
            if not self._is_away:
                self._is_away = True
                self._log.warning("the server cannot be reached; waiting for it: %s", error)
            raise
        if self._is_away:
            self._is_away = False
            self._log.info("the server is back")
        return answer

    @overload
    async def persist(self, method: str, path: str, body: bytes) -> Answer: ...

    @overload
    async def persist(
        self, method: str, path: str, body: bytes, *, lease: str, until: Callable[[], bool]
    ) -> Answer | None: ...

    async def persist(
        self,
        method: str,
        path: str,
        body: bytes,
        *,
        lease: str | None = None,
        until: Callable[[], bool] = lambda: False,
    ) -> Answer | None:
        """Tries until the server has an answer that stands, or there is no use in it any more: then there is none.

        An answer below 400 is a JSON object: anything else comes from something that stands in the server's place.
        """
        failures = 0
        while True:
            pause = 0.0
            try:
                answer = await self.once(method, path, body, headers={"longhaul-lease": lease} if lease else None)
                if answer.status in REDIRECTS:
                    elsewhere = answer.headers.get("location")
                    self._log.warning(
                        "%s %s: %d, go to %s; that is no answer of the server; trying again",
                        method,
                        path,
                        answer.status,
                        elsewhere,
                    )
                elif answer.status < 400 and not answer.body.startswith(b"{"):
                    self._log.warning(
                        "%s %s: %.100r is no answer of the server; trying again", method, path, answer.body
                    )
                elif not may_be_taken_later(answer.status):
                    return answer
                else:
                    error = refusal(answer)
                    pause = min(LONGEST_ASKED, error.retry_after or 0.0)
                    self._log.warning("%s %s: %s; trying again", method, path, error)
            except ConnectionFailed:
                pass
            if until():
                return None
            failures += 1
            await asyncio.sleep(max(pause, backoff(failures, LONGEST_PAUSE)))

    async def close(self) -> None:
        """Closes the connections."""
        await self.transport.close()


def may_be_taken_later(status: int) -> bool:
    """Whether the same call may succeed when it is made again: the server is away, busy, or its disk is full."""
    return status >= 500 or status in (408, 429)
