"""The ends of attempts on their way to the server.

Results go together, as many as are there. What the server cannot take just then is handed in again, less and less
often, until it is taken; the lease is kept meanwhile by the beats of whoever holds the attempt. Only a result that the
server will never take fails its job.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from .._thread import LoopThread
from .._transport import Answer, backoff, refusal
from ._attempt import Attempt, failure_json, with_members
from ._context import Cancelled
from ._line import LONGEST_PAUSE, Line, may_be_taken_later

BATCH = 256
"""So many results are handed in at once."""

BATCH_BYTES = 4 << 20
"""And at most so many bytes of them; a larger result goes alone."""

SENDERS = 8
"""So many requests that end attempts are under way at once."""

MOST = SENDERS * BATCH
"""With so many ends that are not handed in yet nothing is claimed: what can be under way at once."""

MOST_BYTES = SENDERS * BATCH_BYTES
"""Or with so many bytes of them."""

GIVING_BACK = 3.0
"""Seconds for giving back, in the end, what could not be handed in."""

REFUSED_FOR_GOOD = frozenset({413, 422})
"""Statuses that say of a result that it will not be taken, today or later."""


@dataclass(frozen=True)
class End:
    """How an attempt ended: ``complete`` with its output, ``fail`` with its error, ``release`` with nothing."""

    attempt: Attempt
    verb: str
    body: bytes = b""

    def request(self) -> bytes:
        """The body of its call, with what there is to say of the attempt by now."""
        if self.verb == "complete":
            return b'{"output":%s%s}' % (self.body, self.attempt.report_json)
        return with_members(self.body, self.attempt.remark)


class Outbox:
    """Takes ends from any thread; all else runs in the worker's IO thread. ``forget`` hears of each that is out.

    It refuses none, for what has ended has ended; whoever begins jobs waits for `room` before.
    """

    def __init__(self, io: LoopThread, line: Line, forget: Callable[[Attempt], None], log: logging.Logger) -> None:
        self._io = io
        self._line = line
        self._forget = forget
        self._log = log
        self._waiting: deque[End] = deque()
        self._is_kicked = False
        self._mail = asyncio.Event()
        self._senders = asyncio.Semaphore(SENDERS)
        self._sending: dict[asyncio.Task[None], list[End]] = {}
        # Of ends that are not handed in yet; counted from several threads.
        self._lock = threading.Lock()
        self._count = 0
        self._bytes = 0
        self._has_room = asyncio.Event()

    def put(self, attempt: Attempt, verb: str, body: bytes = b"") -> None:
        """Says how an attempt ended. The first to say so is heard."""
        if attempt.is_over:
            return
        attempt.is_over = True
        with self._lock:
            self._count += 1
            self._bytes += len(body)
        self._waiting.append(End(attempt, verb, body))
        if not self._is_kicked:
            self._is_kicked = True
            self._io.loop.call_soon_threadsafe(self._mail.set)

    def __len__(self) -> int:
        return self._count

    @property
    def is_full(self) -> bool:
        """Whether so much waits to be handed in that no job should be begun."""
        return self._count >= MOST or self._bytes >= MOST_BYTES

    @property
    def is_sending(self) -> bool:
        """Whether something is on its way."""
        return bool(self._sending)

    async def room(self) -> None:
        """Waits until it is not full."""
        while self.is_full:
            self._has_room.clear()
            await self._has_room.wait()

    async def serve(self) -> None:
        """Hands in what comes, until it is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self._mail.wait()
            self._mail.clear()
            self._is_kicked = False
            while self._waiting:
                await self._senders.acquire()
                if not self._waiting:
                    # It was closed meanwhile.
                    self._senders.release()
                    break
                ends = self._next_ends()
                task = loop.create_task(self._send(ends))
                self._sending[task] = ends
                task.add_done_callback(self._sent)

    async def close(self, seconds: float, is_worth_it: Callable[[], bool]) -> None:
        """Waits until all is handed in, for so long at most and while that is worth it.

        What is left then is given back, so that it runs again at no cost.
        """
        until = time.monotonic() + seconds
        while self and time.monotonic() < until and is_worth_it():
            await asyncio.sleep(0.01)
        left = [*(end for ends in self._sending.values() for end in ends), *self._waiting]
        self._waiting.clear()
        sending = list(self._sending)
        for task in sending:
            task.cancel()
        await asyncio.gather(*sending, return_exceptions=True)
        left = [end for end in left if not end.attempt.is_lost]
        if left:
            self._log.warning("%d ends could not be handed in; their jobs are given back", len(left))
            await self._give_back(left)

    async def _give_back(self, ends: list[End]) -> None:
        """One try for each: a server that does not hear it waits for the leases to end."""
        senders = asyncio.Semaphore(SENDERS)

        async def release(attempt: Attempt) -> None:
            path = f"/v1/worker/jobs/{attempt.job_id}/release"
            async with senders:
                body = End(attempt, "release").request()
                await self._line.once("POST", path, body, headers={"longhaul-lease": attempt.lease})

        tasks = [asyncio.ensure_future(release(end.attempt)) for end in ends]
        await asyncio.wait(tasks, timeout=GIVING_BACK)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for end in ends:
            self._forget(end.attempt)

    def _sent(self, task: asyncio.Task[None]) -> None:
        ends = self._sending.pop(task)
        with self._lock:
            self._count -= len(ends)
            self._bytes -= sum(len(end.body) for end in ends)
        self._has_room.set()
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
        answer = await self._line.persist(
            "POST",
            f"/v1/worker/jobs/{attempt.job_id}/{end.verb}",
            end.request(),
            lease=attempt.lease,
            until=lambda: attempt.is_lost,
        )
        if answer is not None and answer.status >= 400:
            await self._explain(end, answer)

    async def _explain(self, end: End, answer: Answer) -> None:
        """What an end that was refused means."""
        attempt, error = end.attempt, refusal(answer)
        if error.code == "job_cancelled":
            await self._send_one(End(attempt, "release"))
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
