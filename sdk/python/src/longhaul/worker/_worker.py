"""A worker: functions of yours that run as jobs.

worker = Worker()

@worker.task("resize", retries=3, timeout=60)
def resize(path: str, width: int = 800) -> str: ...

worker.run()
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any, TypeVar

from typing_extensions import ParamSpec

from .._settings import Settings
from ..client import AsyncJob, AsyncLonghaul
from ..errors import ConfigurationError
from ._attempt import Attempt, failure_json
from ._context import Cancelled, Context, Suspended, SyncContext
from ._fail import Fail
from ._limits import Limit
from ._pool import IN_TASK, LoopThreads, Pool
from ._runner import Lane, Runner
from ._task import Task, TaskMetrics, TaskOptions

P = ParamSpec("P")
R = TypeVar("R")

log = logging.getLogger("longhaul.worker")

BLOCKED_AFTER = 5.0
"""Seconds after which an event loop that does not answer is warned about."""

HANDING_IN = 10.0
"""Seconds that a worker that stops has for handing in what has ended, at least: else it has the rest of ``drain``."""

UNKNOWN = object()

STOPPED = (asyncio.CancelledError, Cancelled, KeyboardInterrupt)
"""How a task ends that was stopped."""


class Worker:
    """Claims jobs and runs your functions for them.

    ``concurrency`` bounds how many jobs run at once, but for tasks that have a bound of their own. ``lease`` is how
    many seconds the server waits for a sign of life before it gives a job to another worker. ``drain`` is how many
    seconds running jobs get when the worker is told to stop, and their results to be handed in; what has not ended then
    is given back.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        name: str | None = None,
        queues: list[str] | None = None,
        concurrency: int = 64,
        lease: int = 30,
        drain: float = 25.0,
    ) -> None:
        if not 5 <= lease <= 600:
            raise ConfigurationError(f"lease={lease}: it must be from 5 to 600 seconds")
        if concurrency < 1:
            raise ConfigurationError(f"concurrency={concurrency}: it must be at least 1")
        self._settings = Settings.resolve(url, api_key)
        self.name = name or f"{socket.gethostname()}:{os.getpid()}"
        """Names the worker in the history of attempts."""
        self._queues = queues
        self._concurrency = concurrency
        self._lease = lease
        self._drain = drain
        self.tasks: dict[str, Task[Any, Any]] = {}
        """What it serves, by kind."""
        self._client: AsyncLonghaul | None = None
        self._stop_now: asyncio.Event | None = None
        self._stop: asyncio.Event | None = None
        self._is_stopping = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._answered = 0.0
        self._asked = 0.0

    def task(
        self,
        name: str,
        *,
        retries: int | None = None,
        timeout: float | timedelta | None = None,
        rate_limit: str | None = None,
        concurrency: int | None = None,
        limit_key: str | None = None,
        limits: Sequence[Limit] = (),
        process_concurrency: int | None = None,
        cache_ttl: float | timedelta | None = None,
        queue: str | None = None,
        backoff: tuple[float, float] | None = None,
        permanent: tuple[type[BaseException], ...] | type[BaseException] = (),
        description: str | None = None,
    ) -> Callable[[Callable[P, R]], Task[P, R]]:
        """Makes a function, async or plain, the one that runs jobs of the kind ``name``.

        ``retries``: how often a failed attempt is made again (the server's default is 4). ``timeout``: how long an
        attempt may take. ``queue``: where its jobs wait. ``backoff``: the first and the longest pause between attempts,
        in seconds. ``permanent``: exceptions that no further attempt can mend.

        The server keeps, over all workers together: ``rate_limit``, how many may start in a window, ``"100/min"``, and
        ``concurrency``, how many run at once; with ``limit_key``, ``"customer"`` or ``"customer.region"``, of those
        jobs whose input has the same value there. ``limits`` says the same in full: one `Limit` over all jobs of the
        kind, one by key.

        This process keeps for itself: ``process_concurrency``, how many run at once here, and ``cache_ttl``, for how
        long the output for an input is given again without running.
        """
        if limits and (rate_limit is not None or concurrency is not None or limit_key is not None):
            raise ConfigurationError("limits= says it all: give no rate_limit=, concurrency= or limit_key= beside it")
        if limit_key is not None and rate_limit is None and concurrency is None:
            raise ConfigurationError(f"limit_key={limit_key!r} limits nothing without rate_limit= or concurrency=")
        if rate_limit is not None or concurrency is not None:
            limits = [Limit(limit_key, _at_least("concurrency", concurrency, 1), rate_limit)]
        for limit in limits:
            limit.to_wire()
        options = TaskOptions(
            retries=_at_least("retries", retries, 0),
            timeout=_seconds("timeout", timeout),
            limits=tuple(limits),
            cache_ttl=_seconds("cache_ttl", cache_ttl),
            process_concurrency=_at_least("process_concurrency", process_concurrency, 1),
            queue=queue,
            backoff=backoff,
            permanent=permanent if isinstance(permanent, tuple) else (permanent,),
            description=description,
        )

        def register(function: Callable[P, R]) -> Task[P, R]:
            if name in self.tasks:
                raise ConfigurationError(f"two tasks are called {name!r}")
            task = Task(name, function, options)
            self.tasks[name] = task
            return task

        return register

    async def submit(self, task: Task[..., Any], *args: Any, **kwargs: Any) -> AsyncJob:
        """Submits a job of one of the tasks, with these arguments; some worker runs it."""
        if self._client is None:
            self._client = AsyncLonghaul(self._settings.url, self._settings.api_key)
        return await self._client.submit(task.name, task.input_of(*args, **kwargs))

    def metrics(self) -> dict[str, TaskMetrics]:
        """What each task has done in this process."""
        return {name: task.metrics for name, task in self.tasks.items()}

    def run(self) -> None:
        """Runs until SIGTERM or Ctrl-C. A second one does not wait for what runs."""
        if not logging.getLogger().handlers:
            logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
        asyncio.run(self._serve_alone())

    async def _serve_alone(self) -> None:
        asyncio.get_running_loop().set_default_executor(LoopThreads())
        await self.serve()

    def stop(self) -> None:
        """Tells a running worker to stop in good order. From any thread."""
        if self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)

    async def serve(self) -> None:
        """Runs in this event loop until `stop`, a signal, or a refusal that waiting cannot mend.

        The loop's default executor gets one before it that, when the loop ends, does not wait for threads that tasks
        have begun (with ``asyncio.to_thread``, say) and that still run: their jobs were given back by then.
        """
        if not self.tasks:
            raise ConfigurationError("the worker has no tasks; put @worker.task(…) above a function")
        self._loop = asyncio.get_running_loop()
        self._stop, self._stop_now = asyncio.Event(), asyncio.Event()
        self._is_stopping = False
        # Loops that are not asyncio's own do not say which one they have; theirs is left alone.
        before: Any = getattr(self._loop, "_default_executor", UNKNOWN)
        if before is not UNKNOWN and not isinstance(before, LoopThreads):
            self._loop.set_default_executor(LoopThreads(before))
        pool = Pool(most=self._threads())
        runner = Runner(
            self._settings,
            name=self.name,
            lanes=self._lanes(),
            queues=self._queues,
            lease=self._lease,
            start=lambda attempts: self._start(runner, pool, attempts),
            stop=self._interrupt,
            log=log,
        )
        restore = self._listen_to_signals()
        watchdog = threading.Event()
        threading.Thread(
            target=self._watch, args=(runner, watchdog, threading.get_ident()), name="longhaul-watchdog", daemon=True
        ).start()
        failed = asyncio.wrap_future(runner.failed)
        stopped = self._loop.create_task(self._stop.wait())
        log.info("%s serves %s at %s", self.name, ", ".join(self.tasks), self._settings.url)
        ends: set[asyncio.Future[Any]] = {failed, stopped}
        runner.begin()
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._is_stopping = True
            stopped.cancel()
            await self._shut_down(runner)
            watchdog.set()
            restore()
            if self._client is not None:
                await self._client.close()
                self._client = None
            self._loop = None
        if failed.done():
            failed.result()
        failed.cancel()

    def _threads(self) -> int:
        plain = [task for task in self.tasks.values() if not task.is_async]
        return sum(task.options.process_concurrency or 0 for task in plain) + self._concurrency

    def _lanes(self) -> list[Lane]:
        """Tasks with a bound of their own here are claimed for themselves, so that they hold nobody else back."""
        shared = {}
        lanes = []
        for name, task in self.tasks.items():
            if task.options.process_concurrency is None:
                shared[name] = task
            else:
                lanes.append(Lane({name: task}, task.options.process_concurrency))
        return lanes + ([Lane(shared, self._concurrency)] if shared else [])

    # ── running ──

    def _start(self, runner: Runner, pool: Pool, attempts: list[Attempt]) -> None:
        """In the IO thread: hands the attempts over to the loop or to threads."""
        in_loop = []
        for attempt in attempts:
            if attempt.task.is_async:
                in_loop.append(attempt)
            else:
                if attempt.timeout is not None:
                    runner.io.loop.call_later(attempt.timeout, self._time_out_thread, runner, attempt)
                pool.submit(lambda attempt=attempt: self._run_sync(runner, attempt))  # type: ignore[misc]
                attempt.is_started = True
        if in_loop and self._loop is not None:
            self._loop.call_soon_threadsafe(self._start_in_loop, runner, in_loop)
            for attempt in in_loop:
                attempt.is_started = True

    def _start_in_loop(self, runner: Runner, attempts: list[Attempt]) -> None:
        loop = asyncio.get_running_loop()
        for attempt in attempts:
            attempt.running = loop.create_task(self._run_async(runner, attempt), name=attempt.job_id)

    async def _run_async(self, runner: Runner, attempt: Attempt) -> None:
        timer: asyncio.TimerHandle | None = None
        task = attempt.task
        IN_TASK.set(True)
        try:
            kept = self._kept(runner, attempt)
            if kept:
                return
            arguments = task.arguments(attempt.input, Context(attempt))
            if attempt.should_stop:
                raise Cancelled
            if attempt.timeout is not None:
                timer = asyncio.get_running_loop().call_later(attempt.timeout, self._time_out, attempt)
            self._succeed(runner, attempt, await task.function(**arguments))
        except (KeyboardInterrupt, SystemExit) as error:
            # It ends the loop, and the worker with it.
            self._is_stopping = True
            self._end_badly(runner, attempt, error)
            raise
        except BaseException as error:
            self._end_badly(runner, attempt, error)
        finally:
            if timer is not None:
                timer.cancel()
            runner.freed(attempt)

    def _run_sync(self, runner: Runner, attempt: Attempt) -> None:
        try:
            if self._kept(runner, attempt):
                return
            arguments = attempt.task.arguments(attempt.input, SyncContext(attempt))
            if attempt.should_stop:
                raise Cancelled
            value = attempt.task.function(**arguments)
            if inspect.isawaitable(value) and self._loop is not None:
                # A plain function around an async one, as some decorators make them.
                value = asyncio.run_coroutine_threadsafe(self._awaited(attempt, value), self._loop).result()
            self._succeed(runner, attempt, value)
        except BaseException as error:
            self._end_badly(runner, attempt, error)
        finally:
            runner.freed(attempt)

    async def _awaited(self, attempt: Attempt, value: Awaitable[Any]) -> Any:
        """In the loop: what a plain function has left to be awaited."""
        IN_TASK.set(True)
        attempt.running = asyncio.current_task()
        if attempt.should_stop:
            raise Cancelled
        return await value

    def _kept(self, runner: Runner, attempt: Attempt) -> bool:
        """Whether the output is still at hand from before."""
        cache = attempt.task.cache
        kept = None if cache is None else cache.get(attempt.task.cache_key(attempt.input))
        if kept is None:
            return False
        attempt.task._metrics.count("cached", time.monotonic() - attempt.began)
        attempt.say({"cached": True}, {})
        runner.end(attempt, "complete", kept)
        return True

    def _succeed(self, runner: Runner, attempt: Attempt, value: Any) -> None:
        task = attempt.task
        output = task.dump(value)
        if task.cache is not None:
            task.cache.put(task.cache_key(attempt.input), output)
        task._metrics.count("succeeded", time.monotonic() - attempt.began)
        runner.end(attempt, "complete", output)

    def _end_badly(self, runner: Runner, attempt: Attempt, error: BaseException) -> None:
        task = attempt.task
        if isinstance(error, Suspended) or attempt.is_suspended:
            attempt.is_over = True
            runner.io.loop.call_soon_threadsafe(runner.forget, attempt)
            return
        if attempt.is_timed_out:
            fail = Fail("attempt_timeout", f"the attempt took longer than {attempt.timeout:g} s")
        elif attempt.is_lost:
            attempt.is_over = True
            return
        elif attempt.should_stop or (self._is_stopping and isinstance(error, STOPPED)):
            runner.end(attempt, "release")
            return
        else:
            # Also a cancellation that nobody here asked for: given back at no cost, the job would never end.
            fail = task.failure_of(error)
            if not isinstance(error, Fail):
                log.warning("%s (%s) failed", attempt.job_id, task.name, exc_info=error)
        task._metrics.count("failed", time.monotonic() - attempt.began)
        body = failure_json(fail.code, fail.message, fail.retryable, fail.retry_after)
        runner.end(attempt, "fail", body)

    def _time_out(self, attempt: Attempt) -> None:
        attempt.is_timed_out = True
        if attempt.running is not None:
            attempt.running.cancel()

    def _time_out_thread(self, runner: Runner, attempt: Attempt) -> None:
        """A thread cannot be stopped: its attempt has failed, and what it still does is of no use."""
        if not attempt.is_over and not attempt.should_stop:
            attempt.is_timed_out = True
            self._interrupt(attempt)
            log.warning("%s (%s) takes longer than %g s; its thread goes on until its function returns or looks at "
                        "ctx.cancelled", attempt.job_id, attempt.task.name, attempt.timeout)  # fmt: skip
            self._end_badly(runner, attempt, TimeoutError())

    def _interrupt(self, attempt: Attempt) -> None:
        """In the IO thread: tells an async task to stop. A plain function has to look at ``ctx.cancelled``."""
        if attempt.running is not None and self._loop is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(attempt.running.cancel)

    # ── watching ──

    def _watch(self, runner: Runner, ended: threading.Event, thread: int) -> None:
        """In a thread: warns about a loop that does not answer while tasks run in it."""
        warned = False
        self._answered = time.monotonic()
        while not ended.wait(0.5):
            loop = self._loop
            running = [attempt for attempt in list(runner.held.values()) if attempt.running is not None]
            if loop is None or loop.is_closed():
                return
            now = time.monotonic()
            if self._answered >= self._asked:
                self._asked, warned = now, False
                with contextlib.suppress(RuntimeError):
                    loop.call_soon_threadsafe(self._answer)
            elif running and not warned and now - self._asked > BLOCKED_AFTER:
                warned = True
                frame = sys._current_frames().get(thread)
                where = "".join(traceback.format_stack(frame)[-4:]) if frame else ""
                kinds = ", ".join(sorted({attempt.task.name for attempt in running}))
                log.warning(
                    "the event loop has not answered for %.0f s, so no other task here goes on; leases are kept. Among "
                    "%s something blocks: make it a plain def, or use await asyncio.to_thread(…).\n%s",
                    now - self._asked, kinds, where,
                )  # fmt: skip

    def _answer(self) -> None:
        self._answered = time.monotonic()

    def _listen_to_signals(self) -> Callable[[], None]:
        loop = asyncio.get_running_loop()
        if threading.current_thread() is not threading.main_thread():
            return lambda: None
        listening = []
        for number in (signal.SIGTERM, signal.SIGINT):
            with contextlib.suppress(NotImplementedError, ValueError):
                loop.add_signal_handler(number, self._told)
                listening.append(number)
        return lambda: [loop.remove_signal_handler(number) for number in listening].clear()

    def _told(self) -> None:
        if self._stop is None or self._stop_now is None:
            return
        if self._stop.is_set():
            log.warning("told twice: not waiting for what runs")
            self._stop_now.set()
        else:
            log.info("stopping: no more jobs are claimed; what runs gets %g s", self._drain)
            self._stop.set()

    async def _shut_down(self, runner: Runner) -> None:
        until = time.monotonic() + self._drain
        now = self._stop_now or asyncio.Event()
        claims = runner.io.start(runner.stop_claiming(self._drain))
        while not claims.done() or any(not attempt.is_over for attempt in list(runner.held.values())):
            if now.is_set() or time.monotonic() >= until:
                break
            await asyncio.sleep(0.02)
        await asyncio.wrap_future(runner.io.start(runner.cut_claims()))
        left = [attempt for attempt in list(runner.held.values()) if not attempt.is_over]
        if left:
            log.info("%d jobs are given back unfinished", len(left))
        for attempt in left:
            attempt.is_released = True
            if attempt.running is not None:
                attempt.running.cancel()
        if left:
            tasks = [attempt.running for attempt in left if attempt.running is not None]
            if tasks:
                await asyncio.wait(tasks, timeout=2)
            for attempt in left:
                runner.end(attempt, "release")
        least = time.monotonic() + HANDING_IN
        finishing = runner.finish(
            max(HANDING_IN, until - time.monotonic()), lambda: now.is_set() and time.monotonic() >= least
        )
        await asyncio.wrap_future(runner.io.start(finishing))
        runner.io.stop()


def _seconds(name: str, value: float | timedelta | None) -> float | None:
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if seconds is not None and seconds <= 0:
        raise ConfigurationError(f"{name}={value}: it must be more than zero seconds")
    return seconds


def _at_least(name: str, value: int | None, least: int) -> int | None:
    if value is not None and value < least:
        raise ConfigurationError(f"{name}={value}: it must be at least {least}")
    return value
