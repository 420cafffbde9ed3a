"""The output that an attempt streams: pieces go together as chunks, in order, each once.

Lives in the worker's IO thread. A chunk is fixed when it is first sent, and forgotten when the server has it and not
before: whatever becomes of a call, also of one that was cancelled, the next says the same under the same number, which
the server stores once. One call is under way at a time, whoever asks for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

from .._transport import encode
from ..errors import APIError
from ._context import Cancelled
from ._fail import Fail

ITEM_MOST = 64 * 1024
"""The longest JSON text that the server takes as a chunk, in bytes. What is no text cannot be split."""

TEXT_MOST = 48 * 1024
"""Texts go together up to so many bytes of JSON."""

SLICE = TEXT_MOST // 6
"""A text of so many characters fits into a chunk, whatever they are: JSON writes none with more than six bytes."""

FLUSH_AFTER = 0.05
"""Seconds that a piece of output may wait for others to be sent with."""

FLUSH_BYTES = 4 * 1024
"""So much output is sent at once."""

UNSENT_BYTES = 256 * 1024
"""A task that streams faster than the server takes it waits above this."""


@dataclass(frozen=True)
class _Piece:
    """A part of the output that goes into one chunk, as JSON; of a text without its quotes."""

    is_text: bool
    json: bytes


class Output:
    """What an attempt streams. ``send`` makes one call with a body; it raises `APIError` for one that is refused."""

    def __init__(self, send: Callable[[bytes], Awaitable[object]], log: logging.Logger, name: str) -> None:
        self._send = send
        self._log = log
        self._name = name
        self._unsent: deque[_Piece] = deque()
        self._unsent_bytes = 0
        # Pieces, counted: who flushes waits for those that were there when it began.
        self._taken = 0
        self._done = 0
        self._chunks = 0
        # The chunk that is being sent: how many pieces it is made of, and the call's body.
        self._under_way: tuple[int, bytes] | None = None
        self._turn = asyncio.Lock()
        self._sending: asyncio.Task[None] | None = None
        self._refusal: APIError | None = None

    @property
    def is_empty(self) -> bool:
        """Whether the server has all of it."""
        return not self._unsent

    async def take(self, data: Any) -> None:
        """Takes a piece, which is sent soon, with what comes together with it. Waits when too much is unsent."""
        pieces = list(_pieces(data))
        self._raise_refusal()
        self._unsent.extend(pieces)
        self._unsent_bytes += sum(len(piece.json) for piece in pieces)
        self._taken += len(pieces)
        if self._unsent_bytes >= UNSENT_BYTES:
            await self.flush()
        elif self._unsent and (self._sending is None or self._sending.done()):
            wait = 0.0 if self._unsent_bytes >= FLUSH_BYTES else FLUSH_AFTER
            self._sending = asyncio.get_running_loop().create_task(self._send_soon(wait))

    async def flush(self) -> None:
        """Sends what was taken until now. Raises for what was refused since the last time, also when nobody waited."""
        await self._send_until(self._taken)
        self._raise_refusal()

    async def _send_soon(self, wait: float) -> None:
        await asyncio.sleep(wait)
        with contextlib.suppress(Cancelled):
            while self._unsent:
                await self._send_until(self._taken)

    async def _send_until(self, count: int) -> None:
        while self._done < count:
            async with self._turn:
                # Somebody else may have sent them meanwhile.
                if self._done < count:
                    await self._send_chunk()

    async def _send_chunk(self) -> None:
        if self._under_way is None:
            self._under_way = self._next_chunk()
        count, body = self._under_way
        try:
            await self._send(body)
            self._chunks += 1
        except APIError as error:
            # No later call will bring it in; what follows it goes on under its number.
            self._log.error("output of %s was refused: %s", self._name, error)
            self._refusal = error
        self._under_way = None
        for _ in range(count):
            self._unsent_bytes -= len(self._unsent.popleft().json)
        self._done += count

    def _next_chunk(self) -> tuple[int, bytes]:
        """Texts that follow each other are one text, as far as they fit; anything else goes alone."""
        first = self._unsent[0]
        texts: list[bytes] = []
        size = 0
        for piece in self._unsent:
            if not piece.is_text or size + len(piece.json) > TEXT_MOST:
                break
            texts.append(piece.json)
            size += len(piece.json)
        data = b'"' + b"".join(texts) + b'"' if first.is_text else first.json
        return len(texts) or 1, b'{"chunk_seq":%d,"data":%s}' % (self._chunks + 1, data)

    def _raise_refusal(self) -> None:
        refusal, self._refusal = self._refusal, None
        if refusal is not None:
            raise refusal


def _pieces(data: Any) -> Iterator[_Piece]:
    """As JSON at once: what becomes of an object after it was streamed is no part of the output."""
    if not isinstance(data, str):
        written = encode(data)
        if not written.startswith(b'"'):
            if len(written) > ITEM_MOST:
                raise Fail(
                    "chunk_too_large",
                    f"a piece of output is {len(written)} bytes long as JSON; one that is no text has at most "
                    f"{ITEM_MOST}: stream it in parts, or as a text, which may be of any length",
                    retryable=False,
                )
            yield _Piece(False, written)
            return
        # A date, say: JSON knows it as a text.
        data = json.loads(written)
    for at in range(0, len(data), SLICE):
        yield _Piece(True, encode(data[at : at + SLICE])[1:-1])
