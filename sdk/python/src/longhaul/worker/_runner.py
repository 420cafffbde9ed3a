"""The worker's IO thread: claims, beats, and the ends of attempts.

It shares nothing with the user's event loop but calls that are handed over, so a task that blocks its loop keeps its
lease all the same. (Code that holds the interpreter's lock for longer than a lease stops this thread, too.)

A server that is away is waited for: claims, beats and ends are repeated, ever less often, until there is an answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from .._settings import Settings
from .._thread import LoopThread
from .._transport import Answer, Transport, backoff, refusal
from ..errors import APIError, AuthenticationError, ConfigurationError, ConnectionFailed, PermissionDeniedError
from ._attempt import Attempt, failure_json
from ._task import Task

LONGEST_PAUSE = 15.0
"""Seconds between two tries at a server that is away, at most."""

BATCH = 256
"""So many results are handed in at once."""

BATCH_BYTES = 4 << 20
"""And at most so many bytes of them; a larger result goes alone."""

SENDERS = 8
"""So many requests that end attempts are under way at once."""


@dataclass
class Lane:
    """Tasks that are claimed together, and how many of their jobs may run here at once."""

    tasks: dict[str, Task[Any, Any]]
    concurrency: int
    running: int = 0
    freed: asyncio.Event = field(default_factory=asyncio.Event)

    def free(self) -> int:
        """How many more may be claimed now."""
        return self.concurrency - self.running


@dataclass(frozen=True)
class End:
    """How an attempt ended."""

    attempt: Attempt
    verb: str
    body: bytes


class Runner:
    """Talks to the server for one worker."""

    def __init__(
        self,
        settings: Settings,
        *,
        name: str,
        lanes: list[Lane],
        queues: list[str] | None,
        lease: int,
        start: Callable[[list[Attempt]], None],
        stop: Callable[[Attempt], None],
        log: logging.Logger,
    ) -> None:
        self.io = LoopThread("longhaul-worker-io")
        self.log = log
        self.held: dict[str, Attempt] = {}
        self._transport = Transport(settings)
        self._name = name
        self._lanes = lanes
        self._queues = queues
        self._lease = lease
        self._start = start
        self._stop = stop
        self._outbox: deque[End] = deque()
        self._kicked = False
        self._beats_due = asyncio.Event()
        self._mail = asyncio.Event()
        self._senders = asyncio.Semaphore(SENDERS)
        self._claims: list[asyncio.Task[None]] = []
        self._service: list[asyncio.Task[None]] = []
        self._sending: set[asyncio.Task[None]] = set()
        self._is_away = False
        self.failed: Future[None] = Future()
        """Set when the worker cannot go on."""

    # ── from any thread ──

    def begin(self) -> None:
        """Registers the kinds, then claims."""
        self.io.start(self._begin())

    def end(self, attempt: Attempt, verb: str, body: bytes = b"") -> None:
        """Says how an attempt ended. The first to say so is heard."""
        if attempt.is_over:
            return
        attempt.is_over = True
        self._outbox.append(End(attempt, verb, body))
        if not self._kicked:
            self._kicked = True
            self.io.loop.call_soon_threadsafe(self._mail.set)

    def wake_beats(self) -> None:
        """There is progress to tell."""
        self.io.loop.call_soon_threadsafe(self._beats_due.set)

    # ── claims ──

    async def _begin(self) -> None:
        loop = asyncio.get_running_loop()
        self._service = [loop.create_task(self._beat()), loop.create_task(self._hand_in())]
        try:
            await self._register()
        except (APIError, ConfigurationError) as error:
            self._give_up(error)
            return
        self._claims = [loop.create_task(self._claim_for(lane)) for lane in self._lanes]

    def _give_up(self, error: Exception) -> None:
        if not self.failed.done():
            self.failed.set_exception(error)

    async def _register(self) -> None:
        for lane in self._lanes:
            for name, task in lane.tasks.items():
                body = json.dumps(task.registration()).encode()
                answer = await self._persist("PUT", f"/v1/kinds/{name}", body)
                if answer.status == 422 and b"built in" in answer.body:
                    self.log.info("%s is a built-in kind: its own schemas stand", name)
                elif answer.status >= 400:
                    raise refusal(answer)

    async def _claim_for(self, lane: Lane) -> None:
        failures = 0
        while True:
            limit = min(64, lane.free())
            if limit <= 0:
                await self._until_free(lane)
                continue
            body: dict[str, Any] = {
                "worker_id": self._name,
                "kinds": list(lane.tasks),
                "max": limit,
                "wait_s": 30,
                "lease_s": self._lease,
            }
            if self._queues:
                body["queues"] = self._queues
            asked = time.monotonic()
            try:
                answer = await self._transport.once(
                    "POST", "/v1/worker/claims", body=json.dumps(body).encode(), waits=30
                )
            except ConnectionFailed as error:
                failures += 1
                self._away(error)
                await asyncio.sleep(backoff(failures, LONGEST_PAUSE))
                continue
            self._back()
            if answer.status == 200:
                failures = 0
                self._take(lane, answer)
            elif answer.status == 204 and time.monotonic() - asked > 1.0:
                failures = 0
            else:
                # At once and with nothing: the server is stopping, or will not.
                failures += 1
                if answer.status >= 400 and not await self._refused(answer):
                    return
                await asyncio.sleep(backoff(failures, LONGEST_PAUSE))

    async def _refused(self, answer: Answer) -> bool:
        """Whether claiming can go on after a refusal."""
        error = refusal(answer)
        if isinstance(error, (AuthenticationError, PermissionDeniedError)):
            self._give_up(error)
            return False
        self.log.warning("no jobs could be claimed: %s", error)
        if error.code == "unknown_kind":
            try:
                await self._register()
            except APIError as why:
                self.log.error("the kinds cannot be registered: %s", why)
        return True

    async def _until_free(self, lane: Lane) -> None:
        lane.freed.clear()
        await lane.freed.wait()

    def _take(self, lane: Lane, answer: Answer) -> None:
        attempts = []
        for job in answer.json()["jobs"]:
            attempt = Attempt(self, lane.tasks[job["kind"]], job)
            lost = self.held.get(attempt.job_id)
            if lost is not None and not lost.is_over and not lost.is_suspended:
                # It was leased to us again: what runs here under the old lease is of no use.
                self.lose(lost)
            self.held[attempt.job_id] = attempt
            attempts.append(attempt)
        lane.running += len(attempts)
        self._start(attempts)

    def freed(self, attempt: Attempt) -> None:
        """Its function has returned: another may run. From any thread, also from one that outlived the worker."""
        with contextlib.suppress(RuntimeError):
            self.io.loop.call_soon_threadsafe(self._freed, attempt)

    def _freed(self, attempt: Attempt) -> None:
        for lane in self._lanes:
            if attempt.task.name in lane.tasks:
                lane.running -= 1
                lane.freed.set()

    # ── beats ──

    async def _beat(self) -> None:
        every = self._lease / 6
        beating: dict[str, asyncio.Task[None]] = {}
        loop = asyncio.get_running_loop()
        while True:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._beats_due.wait(), min(1.0, every))
            self._beats_due.clear()
            now = time.monotonic()
            for attempt in list(self.held.values()):
                if attempt.is_lost or attempt.lease in beating:
                    continue
                progress = attempt.take_progress(now)
                if progress is None and now - max(attempt.renewed, attempt.missed) < every:
                    if attempt.has_progress:
                        loop.call_later(0.25, self._beats_due.set)
                    continue
                task = loop.create_task(self._beat_once(attempt, progress))
                beating[attempt.lease] = task
                task.add_done_callback(partial(_forget, beating, attempt.lease))

    async def _beat_once(self, attempt: Attempt, progress: dict[str, Any] | None) -> None:
        body = json.dumps({"progress": progress}).encode() if progress else b"{}"
        path = f"/v1/worker/jobs/{attempt.job_id}/heartbeat"
        sent = time.monotonic()
        try:
            answer = await self._transport.once(
                "POST", path, body=body, headers={"longhaul-lease": attempt.lease}, waits=0
            )
        except ConnectionFailed as error:
            # Not again at once: with many jobs at hand that would be a storm against a server that starts.
            attempt.missed = time.monotonic()
            self._away(error)
            return
        self._back()
        if answer.status == 200:
            attempt.renewed = sent
            if answer.json()["cancel_requested"]:
                self.cancel(attempt)
        elif answer.status in (404, 409, 410):
            if not attempt.is_over and not attempt.is_suspended:
                self.lose(attempt)
        else:
            self.log.warning("the lease of %s could not be renewed: %s", attempt.job_id, refusal(answer))

    def forget(self, attempt: Attempt) -> None:
        """It is over here; not its successor, should the job already run again."""
        if self.held.get(attempt.job_id) is attempt:
            del self.held[attempt.job_id]

    def lose(self, attempt: Attempt) -> None:
        """The job is another's by now: what it does here is of no use."""
        if not attempt.is_lost:
            attempt.is_lost = True
            self.forget(attempt)
            self.log.warning("the lease of %s is lost: what it still does here is dropped", attempt.job_id)
            self._stop(attempt)

    def cancel(self, attempt: Attempt) -> None:
        """Somebody asked the job to stop."""
        if not attempt.is_cancelled:
            attempt.is_cancelled = True
            self._stop(attempt)

    # ── ends ──

    async def _hand_in(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._mail.wait()
            self._mail.clear()
            self._kicked = False
            while self._outbox:
                await self._senders.acquire()
                ends = self._next_ends()
                task = loop.create_task(self._send(ends))
                self._sending.add(task)
                task.add_done_callback(self._sent)

    def _sent(self, task: asyncio.Task[None]) -> None:
        self._sending.discard(task)
        self._senders.release()
        if not task.cancelled() and task.exception() is not None:
            self.log.error("an end could not be handed in", exc_info=task.exception())

    def _next_ends(self) -> list[End]:
        """Results that go together, or one end that goes alone."""
        ends = [self._outbox.popleft()]
        size = len(ends[0].body)
        if ends[0].verb != "complete":
            return ends
        while self._outbox and len(ends) < BATCH:
            end = self._outbox[0]
            size += len(end.body)
            if end.verb != "complete" or size > BATCH_BYTES:
                break
            ends.append(self._outbox.popleft())
        return ends

    async def _send(self, ends: list[End]) -> None:
        try:
            if len(ends) == 1:
                await self._send_one(ends[0])
            else:
                await self._send_many(ends)
        finally:
            for end in ends:
                self.forget(end.attempt)

    async def _send_many(self, ends: list[End]) -> None:
        results = [
            b'{"job_id":"%s","lease_token":"%s","output":%s}'
            % (end.attempt.job_id.encode(), end.attempt.lease.encode(), end.body)
            for end in ends
        ]
        answer = await self._persist("POST", "/v1/worker/complete", b'{"jobs":[' + b",".join(results) + b"]}")
        if answer.status >= 400:
            # Something is wrong with one of them, or with all together: each for itself.
            for end in ends:
                await self._send_one(end)
            return
        for end, result in zip(ends, answer.json()["results"], strict=True):
            if "problem" in result:
                problem = json.dumps(result["problem"]).encode()
                await self._explain(end, Answer(result["problem"]["status"], {}, problem))

    async def _send_one(self, end: End) -> None:
        attempt = end.attempt
        if end.verb == "complete":
            with contextlib.suppress(Exception):
                await attempt.flush_io()
        body = b'{"output":' + end.body + b"}" if end.verb == "complete" else end.body
        answer = await self._persist(
            "POST",
            f"/v1/worker/jobs/{attempt.job_id}/{end.verb}",
            body,
            lease=attempt.lease,
            until=lambda: attempt.is_lost,
        )
        if answer.status >= 400:
            await self._explain(end, answer)

    async def _explain(self, end: End, answer: Answer) -> None:
        """What an end that was refused means."""
        attempt, error = end.attempt, refusal(answer)
        if error.code == "job_cancelled":
            await self._send_one(End(attempt, "release", b""))
        elif error.status in (404, 409, 410):
            self.log.warning("the end of %s came too late and is dropped: %s", attempt.job_id, error.detail)
        elif end.verb == "complete":
            # The server will not take this result, today or later.
            code = "output_too_large" if error.status == 413 else "output_invalid"
            flaws = "; ".join(f"{flaw['pointer']} {flaw['message']}" for flaw in error.errors)
            self.log.error("the result of %s was refused: %s", attempt.job_id, error)
            why = f"the result was refused: {flaws or error.detail}"
            await self._send_one(End(attempt, "fail", failure_json(code, why, False, None)))
        else:
            self.log.error("the end of %s was refused: %s", attempt.job_id, error)

    async def deliver(self, attempt: Attempt, verb: str, body: bytes, *, method: str = "POST") -> Answer:
        """A call under a lease, tried until it is answered. Raises what the server refuses."""
        answer = await self._persist(
            method,
            f"/v1/worker/jobs/{attempt.job_id}/{verb}",
            body,
            lease=attempt.lease,
            until=lambda: attempt.should_stop,
        )
        if answer.status >= 400:
            raise refusal(answer)
        attempt.renewed = max(attempt.renewed, attempt.began)
        return answer

    async def _persist(
        self,
        method: str,
        path: str,
        body: bytes,
        *,
        lease: str | None = None,
        until: Callable[[], bool] = lambda: False,
    ) -> Answer:
        """Tries until the server has an answer that stands, or there is no use in it any more."""
        failures = 0
        while True:
            headers = {"longhaul-lease": lease} if lease else {}
            pause = 0.0
            try:
                answer = await self._transport.once(method, path, body=body, headers=headers)
                self._back()
                if answer.status < 500 and answer.status not in (408, 429):
                    return answer
                error = refusal(answer)
                pause = error.retry_after or 0.0
                self.log.warning("%s %s: %s; trying again", method, path, error)
            except ConnectionFailed as error:
                self._away(error)
            if until():
                gone = b'{"code":"lease_lost","detail":"the lease was lost while the server was away"}'
                return Answer(409, {}, gone)
            failures += 1
            await asyncio.sleep(max(pause, backoff(failures, LONGEST_PAUSE)))

    # ── the server's comings and goings ──

    def _away(self, error: Exception) -> None:
        if not self._is_away:
            self._is_away = True
            self.log.warning("the server cannot be reached; waiting for it: %s", error)

    def _back(self) -> None:
        if self._is_away:
            self._is_away = False
            self.log.info("the server is back")

    # ── the end ──

    async def stop_claiming(self) -> None:
        """No more jobs. What a claim under way was about to get goes back."""
        for task in self._claims:
            task.cancel()
        await asyncio.gather(*self._claims, return_exceptions=True)

    async def finish(self, seconds: float) -> None:
        """Hands in what is left, and closes the connections."""
        until = time.monotonic() + seconds
        while (self._outbox or self._sending) and time.monotonic() < until:
            await asyncio.sleep(0.01)
        if self._outbox or self._sending:
            left = len(self._outbox) + len(self._sending)
            self.log.warning("%d ends could not be handed in; the jobs are run again when their leases end", left)
        tasks = [*self._service, *self._sending]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._transport.close()


def _forget(beating: dict[str, asyncio.Task[None]], lease: str, _: asyncio.Task[None]) -> None:
    beating.pop(lease, None)
