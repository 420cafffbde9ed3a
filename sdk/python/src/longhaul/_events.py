"""Reading a job's history as it grows, across broken connections and restarts of the server."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator

import aiohttp

from ._transport import AWAY, Answer, Transport, backoff, refusal, segment
from .errors import ConnectionFailed
from .models import Event, EventPage

log = logging.getLogger("longhaul")

TERMINAL = frozenset({"job.succeeded", "job.failed", "job.cancelled"})
"""After these nothing follows."""

PAGE = 500


async def follow(transport: Transport, job_id: str, after: int, patient: bool) -> AsyncIterator[Event]:
    """Every event after ``after``, each once and in order, until the one that ends the job.

    Lost connections are made again from the last event seen; a `patient` reader does so for as long as it takes.
    """
    failures = 0
    while True:
        try:
            source = _pushed(transport, job_id, after)
            async for event in source:
                if event.seq <= after:
                    continue
                failures = 0
                after = event.seq
                yield event
                if event.type in TERMINAL:
                    return
        except _Ended:
            return
        except ConnectionFailed:
            failures += 1
            if not patient and failures > transport.settings.max_retries:
                raise
            await asyncio.sleep(backoff(failures))
        else:
            # The server closed the stream in good order without an end: it lagged, or is stopping.
            failures += 1
            await asyncio.sleep(backoff(min(failures, 4)))


class _Ended(Exception):
    """There is nothing left to read."""


async def _pushed(transport: Transport, job_id: str, after: int) -> AsyncIterator[Event]:
    """Server-sent events, where the server has them; else pages."""
    headers = {"accept": "text/event-stream, application/json;q=0.5", "last-event-id": str(after)}
    path = f"/v1/jobs/{segment(job_id)}/events"
    async with transport.streaming(path, params={"after": str(after)}, headers=headers) as response:
        if response.status == 204:
            raise _Ended
        if response.status in (406, 415):
            is_stream = False
        elif response.status >= 300:
            answer = Answer(response.status, response.headers, await response.read())
            transport.check_redirect(answer)
            error = refusal(answer)
            if error.status in AWAY:
                raise ConnectionFailed(str(error)) from error
            raise error
        else:
            is_stream = response.content_type == "text/event-stream"
        if is_stream:
            async for event in _sse(response):
                yield event
            return
    async for event in _pages(transport, job_id, after):
        yield event


async def _sse(response: aiohttp.ClientResponse) -> AsyncIterator[Event]:
    kind = ""
    data: list[str] = []
    # Lines of any length: a delta may be longer than a stream reader's limit.
    rest = b""
    async for piece in response.content.iter_any():
        rest += piece
        *lines, rest = rest.split(b"\n")
        for line in lines:
            text = line.rstrip(b"\r").decode()
            if not text:
                if data:
                    parsed = json.loads("\n".join(data))
                    if kind == "stream.trimmed":
                        log.warning("output of %s is not kept any more: %s", parsed.get("job_id"), parsed)
                    if "seq" in parsed:
                        yield Event.model_validate(parsed)
                kind, data = "", []
            elif text.startswith("event:"):
                kind = text[6:].strip()
            elif text.startswith("data:"):
                data.append(text[5:].removeprefix(" "))


async def _pages(transport: Transport, job_id: str, after: int) -> AsyncIterator[Event]:
    """Pages, each waited for until the job has changed."""
    etag: str | None = None
    while True:
        params = {"after": str(after), "limit": str(PAGE)}
        answer = await transport.request("GET", f"/v1/jobs/{segment(job_id)}/events", params=params)
        page = EventPage.model_validate_json(answer.body)
        for event in page.data:
            after = event.seq
            yield event
            if event.type in TERMINAL:
                return
        if page.has_more:
            continue
        headers = {"if-none-match": etag} if etag else {}
        answer = await transport.request(
            "GET", f"/v1/jobs/{segment(job_id)}", params={"wait": "20"} if etag else None, headers=headers, waits=20
        )
        etag = answer.headers.get("etag", etag)
