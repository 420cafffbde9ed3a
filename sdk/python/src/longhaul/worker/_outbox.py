"""The ends of attempts on their way to the server.

Results go together, as many as are there. What the server cannot take just then is handed in again, less and less
often, until it is taken; the lease is kept meanwhile by the beats of whoever holds the attempt. Only a result that the
server will never take fails its job.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from .._thread import LoopThread
from .._transport import Answer, backoff, refusal
from ._attempt import Attempt, failure_json, release_json
from ._context import Cancelled
from ._line import LONGEST_PAUSE, Line, may_be_taken_later

BATCH = 256
"""So many results are handed in at once."""

BATCH_BYTES = 4 << 20
"""And at most so many bytes of them; a larger result goes alone."""

SENDERS = 8
"""So many requests that end attempts are under way at once."""

REFUSED_FOR_GOOD = frozenset({413, 422})
"""Statuses that say of a result that it will not be taken, today or later."""


@dataclass(frozen=True)
class End:
    """How an attempt ended."""

    attempt: Attempt
    verb: str
    body: bytes


class Outbox:
    """Takes ends from any thread; all else runs in the worker's IO thread. ``forget`` hears of each that is out."""

    def __init__(self, io: LoopThread, line: Line, forget: Callable[[Attempt], None], log: logging.Logger) -> None:
        self._io = io
        self._line = line
        self._forget = forget
        self._log = log
        self._waiting: deque[End] = deque()
        self._is_kicked = False
        self._mail = asyncio.Event()
        self._senders = asyncio.Semaphore(SENDERS)
        self._sending: set[asyncio.Task[None]] = set()

    def put(self, attempt: Attempt, verb: str, body: bytes = b"") -> None:
        """Says how an attempt ended. The first to say so is heard."""
        if attempt.is_over:
            return
        attempt.is_over = True
        self._waiting.append(End(attempt, verb, body))
        if not self._is_kicked:
            self._is_kicked = True
            self._io.loop.call_soon_threadsafe(self._mail.set)

    def __len__(self) -> int:
        return len(self._waiting) + len(self._sending)

    async def serve(self) -> None:
        """Hands in what comes, until it is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self._mail.wait()
            self._mail.clear()
            self._is_kicked = False
            while self._waiting:
                await self._senders.acquire()
                task = loop.create_task(self._send(self._next_ends()))
                self._sending.add(task)
                task.add_done_callback(self._sent)

    async def close(self, seconds: float, is_served: Callable[[], bool]) -> None:
        """Waits until all is handed in, for so long at most and while there is somebody to do it."""
        until = time.monotonic() + seconds
        while self and time.monotonic() < until and (self._sending or is_served()):
            await asyncio.sleep(0.01)
        if self:
            self._log.warning("%d ends could not be handed in; the jobs are run again when their leases end", len(self))
        for task in self._sending:
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)

    def _sent(self, task: asyncio.Task[None]) -> None:
        self._sending.discard(task)
        self._senders.release()
        if not task.cancelled() and task.exception() is not None:
            self._log.error("an end could not be handed in", exc_info=task.exception())

    def _next_ends(self) -> list[End]:
        """Results that go together, or one end that goes alone."""
        ends = [self._waiting.popleft()]
        size = len(ends[0].body)
        if ends[0].verb != "complete":
            return ends
        while self._waiting and len(ends) < BATCH:
            end = self._waiting[0]
            size += len(end.body)
            if end.verb != "complete" or size > BATCH_BYTES:
                break
            ends.append(self._waiting.popleft())
        return ends

    async def _send(self, ends: list[End]) -> None:
        try:
            await asyncio.gather(*(self._flush(end) for end in ends if end.attempt.has_unsent))
            if len(ends) == 1:
                await self._send_one(ends[0])
            else:
                await self._send_many(ends)
        finally:
            for end in ends:
                self._forget(end.attempt)

    async def _flush(self, end: End) -> None:
        """What was streamed comes before the end. What is given back is streamed anew by whoever goes on with it."""
        if end.verb == "release":
            return
        try:
            await end.attempt.finish_io()
        except Cancelled:
            pass
        except Exception as error:
            self._log.warning("the end of %s goes without the last of its output: %s", end.attempt.job_id, error)

    async def _send_many(self, ends: list[End]) -> None:
        """Hands results in together, and again those that the server could not take just then."""
        failures = 0
        while ends:
            results = [
                b'{"job_id":"%s","lease_token":"%s","output":%s%s}'
                % (end.attempt.job_id.encode(), end.attempt.lease.encode(), end.body, end.attempt.report_json)
                for end in ends
            ]
            answer = await self._line.persist("POST", "/v1/worker/complete", b'{"jobs":[' + b",".join(results) + b"]}")
            if answer.status >= 400:
                # Something is wrong with one of them, or with all together: each for itself.
                for end in ends:
                    await self._send_one(end)
                return
            again = []
            for end, result in zip(ends, answer.json()["results"], strict=True):
                if "problem" not in result:
                    continue
                problem = result["problem"]
                if may_be_taken_later(problem["status"]):
                    again.append(end)
                    why = f"{problem['status']} {problem.get('code')}: {problem.get('detail')}"
                else:
                    await self._explain(end, Answer(problem["status"], {}, json.dumps(problem).encode()))
            if again:
                self._log.warning("%d results were not taken: %s; trying again", len(again), why)
                failures += 1
                await asyncio.sleep(backoff(failures, LONGEST_PAUSE))
            ends = [end for end in again if not end.attempt.is_lost]

    async def _send_one(self, end: End) -> None:
        attempt = end.attempt
        body = b'{"output":%s%s}' % (end.body, attempt.report_json) if end.verb == "complete" else end.body
        answer = await self._line.persist(
            "POST",
            f"/v1/worker/jobs/{attempt.job_id}/{end.verb}",
            body,
            lease=attempt.lease,
            until=lambda: attempt.is_lost,
        )
        if answer is not None and answer.status >= 400:
            await self._explain(end, answer)

    async def _explain(self, end: End, answer: Answer) -> None:
        """What an end that was refused means."""
        attempt, error = end.attempt, refusal(answer)
        if error.code == "job_cancelled":
            await self._send_one(End(attempt, "release", release_json(attempt.is_ambiguous)))
        elif error.status in (404, 409, 410):
            self._log.warning("the end of %s came too late and is dropped: %s", attempt.job_id, error.detail)
        elif end.verb == "complete" and error.status in REFUSED_FOR_GOOD:
            code = "output_too_large" if error.status == 413 else "output_invalid"
            flaws = "; ".join(f"{flaw['pointer']} {flaw['message']}" for flaw in error.errors)
            self._log.error("the result of %s was refused: %s", attempt.job_id, error)
            why = f"the result was refused: {flaws or error.detail}"
            await self._send_one(End(attempt, "fail", failure_json(code, why, False, None)))
        else:
            # A key that was revoked, say: it says nothing about the job, which is not failed for it.
            self._log.error("the end of %s was refused, so it runs again in time: %s", attempt.job_id, error)
