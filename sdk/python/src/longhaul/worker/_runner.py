"""The worker's IO thread: claims and beats; the ends of attempts are its outbox's.

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
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from .._settings import Settings
from .._thread import LoopThread
from .._transport import Answer, backoff, refusal, segment
from ..errors import APIError, AuthenticationError, ConfigurationError, ConnectionFailed, PermissionDeniedError
from ._attempt import Attempt
from ._context import Cancelled
from ._line import LONGEST_PAUSE, Line, may_be_taken_later
from ._outbox import Outbox
from ._task import Task

DRAIN_PAUSE = 5.0
"""Seconds without a claim after a server has said that it is stopping. Every beat that says so begins them anew."""

CLAIM_GRACE = 2.0
"""Seconds within which a claim that has jobs to give is answered. One that takes longer waits for jobs to come."""


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
class Claim:
    """A claim that the server has not answered yet."""

    asked: float
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the answer has begun to come."""


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
        self._line = Line(settings, log)
        self._outbox = Outbox(self.io, self._line, self.forget, log)
        self._name = name
        self._lanes = lanes
        self._queues = queues
        self._lease = lease
        self._start = start
        self._stop = stop
        self._beats_due = asyncio.Event()
        self._beginning: Future[None] | None = None
        self._claims: list[asyncio.Task[None]] = []
        self._unanswered: dict[asyncio.Task[Any] | None, Claim] = {}
        self._service: list[asyncio.Task[None]] = []
        self._handing_in: asyncio.Task[None] | None = None
        self._is_stopping = False
        # No claims before this: the server is stopping.
        self._drains_until = 0.0
        self.failed: Future[None] = Future()
        """Set when the worker cannot go on."""

    # ── from any thread ──

    def begin(self) -> None:
        """Registers the kinds, then claims."""
        self._beginning = self.io.start(self._begin())
        self._beginning.add_done_callback(self._ended)

    def end(self, attempt: Attempt, verb: str, body: bytes = b"") -> None:
        """Says how an attempt ended. The first to say so is heard."""
        self._outbox.put(attempt, verb, body)

    def wake_beats(self) -> None:
        """There is progress to tell."""
        self.io.loop.call_soon_threadsafe(self._beats_due.set)

    # ── claims ──

    async def _begin(self) -> None:
        self._handing_in = self._kept_alive(self._outbox.serve())
        self._service = [self._kept_alive(self._beat()), self._handing_in]
        try:
            await self._register()
        except (APIError, ConfigurationError) as error:
            self._give_up(error)
            return
        if not self._is_stopping:
            self._claims = [self._kept_alive(self._claim_for(lane)) for lane in self._lanes]

    def _kept_alive(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A task without which the worker would look alive and do nothing: should it break, the worker ends."""
        task = asyncio.get_running_loop().create_task(work)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None] | Future[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.log.critical("the worker cannot go on", exc_info=error)
            self._give_up(error)

    def _give_up(self, error: BaseException) -> None:
        if not self.failed.done():
            self.failed.set_exception(error)

    async def _register(self) -> None:
        for lane in self._lanes:
            for name, task in lane.tasks.items():
                body = json.dumps(task.registration()).encode()
                answer = await self._line.persist("PUT", f"/v1/kinds/{segment(name)}", body)
                if answer.status == 422 and b"built in" in answer.body:
                    self.log.info("%s is a built-in kind: its own schemas stand", name)
                elif answer.status >= 400:
                    raise refusal(answer)

    async def _claim_for(self, lane: Lane) -> None:
        failures = 0
        while not self._is_stopping:
            if self._outbox.is_full:
                # Else a worker that is faster than its line to the server would hold ever more that is done.
                await self._outbox.room()
                continue
            limit = min(64, lane.free())
            if limit <= 0:
                await self._until_free(lane)
                continue
            drains_for = self._drains_until - time.monotonic()
            if drains_for > 0:
                await asyncio.sleep(drains_for)
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
            answer = await self._answer_to(Claim(asked), json.dumps(body).encode())
            jobs = None if answer is None else self._jobs_in(answer)
            if jobs is not None:
                failures = 0
                self._take(lane, jobs)
            elif self._is_stopping:
                return
            elif answer is None:
                failures += 1
                await asyncio.sleep(backoff(failures, LONGEST_PAUSE))
            elif answer.status == 204 and time.monotonic() - asked > 1.0:
                failures = 0
            else:
                # At once and with nothing: the server is stopping, or will not.
                failures += 1
                if answer.status >= 400 and not await self._refused(answer):
                    return
                await asyncio.sleep(backoff(failures, LONGEST_PAUSE))

    async def _answer_to(self, claim: Claim, body: bytes) -> Answer | None:
        task = asyncio.current_task()
        self._unanswered[task] = claim
        try:
            return await self._line.once("POST", "/v1/worker/claims", body, waits=30, begun=claim.begun)
        except ConnectionFailed:
            return None
        finally:
            del self._unanswered[task]

    def _jobs_in(self, answer: Answer) -> list[dict[str, Any]] | None:
        """The jobs that were given, if any were."""
        if answer.status != 200:
            return None
        try:
            jobs: list[dict[str, Any]] = answer.json()["jobs"]
        except (ValueError, KeyError, TypeError):
            # Something between here and the server has answered in its place.
            self.log.warning("a claim was answered with what is no list of jobs: %.200r", answer.body)
            return None
        return jobs

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

    def _take(self, lane: Lane, jobs: list[dict[str, Any]]) -> None:
        attempts: list[Attempt] = []
        try:
            for job in jobs:
                attempt = Attempt(self, lane.tasks[job["kind"]], job)
                lost = self.held.get(attempt.job_id)
                if lost is not None and not lost.is_over and not lost.is_suspended:
                    # It was leased to us again: what runs here under the old lease is of no use.
                    self.lose(lost)
                self.held[attempt.job_id] = attempt
                lane.running += 1
                attempts.append(attempt)
            if not self._is_stopping:
                self._start(attempts)
        finally:
            for attempt in attempts:
                if not attempt.is_started:
                    # Nobody will end it: another worker may have it at once.
                    self.end(attempt, "release")
                    self._freed(attempt)

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
                if attempt.missed > attempt.renewed and now - attempt.missed < every:
                    # Not again at once: with many jobs at hand that would be a storm against a server that starts.
                    continue
                progress = attempt.take_progress(now)
                if progress is None and now - attempt.renewed < every:
                    if attempt.has_progress:
                        loop.call_later(0.25, self._beats_due.set)
                    continue
                task = loop.create_task(self._beat_once(attempt, progress))
                beating[attempt.lease] = task
                task.add_done_callback(partial(self._beaten, beating, attempt, progress))

    async def _beat_once(self, attempt: Attempt, progress: dict[str, Any] | None) -> None:
        body = json.dumps({"progress": progress}).encode() if progress else b"{}"
        path = f"/v1/worker/jobs/{attempt.job_id}/heartbeat"
        sent = time.monotonic()
        headers = {"longhaul-lease": attempt.lease}
        try:
            try:
                answer = await self._line.once("POST", path, body, headers=headers, within=self._lease / 4)
            except ConnectionFailed as lost:
                if not lost.is_silence:
                    raise
                # Over a new connection, while the lease still holds.
                sent = time.monotonic()
                answer = await self._line.once("POST", path, body, headers=headers, within=self._lease / 4)
        except ConnectionFailed:
            self._missed(attempt, progress)
            return
        if answer.status == 200:
            said = answer.json()
            attempt.renewed = sent
            self._heed(bool(said.get("drain")))
            if said["cancel_requested"]:
                self.cancel(attempt)
        elif answer.status in (404, 409, 410):
            if not attempt.is_over and not attempt.is_suspended:
                self.lose(attempt)
        else:
            # What is refused for good would be refused with every beat, and the lease would end.
            self._missed(attempt, progress if may_be_taken_later(answer.status) else None)
            self.log.warning("the lease of %s could not be renewed: %s", attempt.job_id, refusal(answer))

    def _missed(self, attempt: Attempt, progress: dict[str, Any] | None) -> None:
        """Nobody heard a beat: one of the next ones tells what it was to tell."""
        attempt.missed = time.monotonic()
        if progress is not None:
            attempt.restore_progress(progress)

    def _beaten(
        self,
        beating: dict[str, asyncio.Task[None]],
        attempt: Attempt,
        progress: dict[str, Any] | None,
        task: asyncio.Task[None],
    ) -> None:
        beating.pop(attempt.lease, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._missed(attempt, progress)
            self.log.error("the lease of %s could not be renewed", attempt.job_id, exc_info=error)

    def _heed(self, is_draining: bool) -> None:
        """A server that is stopping gives no jobs: what is under way is finished, and others are asked for later."""
        now = time.monotonic()
        if is_draining and self._drains_until <= now:
            self.log.info("the server is stopping: what runs goes on, and nothing is claimed until it is back")
        self._drains_until = now + DRAIN_PAUSE if is_draining else 0.0

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

    # ── calls under a lease ──

    async def deliver(self, attempt: Attempt, verb: str, body: bytes, *, method: str = "POST") -> Answer:
        """A call under a lease, tried until it is answered. Raises what the server refuses.

        An attempt that shall stop does not wait for a server that is away: `Cancelled`. The lease is kept for its end.
        """
        answer = await self._line.persist(
            method,
            f"/v1/worker/jobs/{attempt.job_id}/{verb}",
            body,
            lease=attempt.lease,
            until=lambda: attempt.is_in_vain,
        )
        if answer is None:
            raise Cancelled
        if answer.status >= 400:
            raise refusal(answer)
        return answer

    # ── the end ──

    async def stop_claiming(self, seconds: float) -> None:
        """No more jobs. What claims under way bring within so many seconds goes back at once."""
        self._is_stopping = True
        until = time.monotonic() + seconds
        await asyncio.gather(*(self._stop_claim(task, until) for task in self._claims))

    async def _stop_claim(self, task: asyncio.Task[None], until: float) -> None:
        """Jobs in an answer that nobody reads would be nobody's until their leases end.

        So an answer that comes is read to its end, and one that may just be on its way is waited for. A claim that has
        waited for longer is cut off: that a job comes for it in just this moment is as unlikely now as later.
        """
        claim = self._unanswered.get(task)
        if claim is not None:
            grace = min(until, claim.asked + CLAIM_GRACE) - time.monotonic()
            await asyncio.wait({task}, timeout=max(0.0, grace))
            if not task.done() and claim.begun.is_set():
                await asyncio.wait({task}, timeout=max(0.0, until - time.monotonic()))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def cut_claims(self) -> None:
        """Waits for no claim any more."""
        for task in self._claims:
            task.cancel()
        await asyncio.gather(*self._claims, return_exceptions=True)

    async def finish(self, seconds: float, is_hurried: Callable[[], bool] = lambda: False) -> None:
        """Hands in what is left, for so long at most and unless it hurries, and closes the connections."""
        serving = self._handing_in

        def is_worth_it() -> bool:
            is_served = serving is not None and not serving.done()
            return not is_hurried() and (is_served or self._outbox.is_sending)

        await self._outbox.close(seconds, is_worth_it)
        if self._beginning is not None:
            self._beginning.cancel()
        for task in self._service:
            task.cancel()
        await asyncio.gather(*self._service, return_exceptions=True)
        await self._line.close()
