"""Threads for what tasks do beside an event loop. Daemons: one that never returns does not keep the process alive."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any, TypeVar

from typing_extensions import ParamSpec

P = ParamSpec("P")
R = TypeVar("R")

IN_TASK: ContextVar[bool] = ContextVar("longhaul_in_task", default=False)
"""Whether the code that runs belongs to a task: said once where it begins, and known to all that it starts."""

LIKE_ASYNCIO = min(32, (os.cpu_count() or 1) + 4)
"""How many threads an event loop has for what it is handed."""


class Pool:
    """As many threads as are needed at once, at most ``most``."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._work: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        self._idle = 0

    def submit(self, work: Callable[[], None]) -> None:
        """Runs it soon. Raises `RuntimeError` when it needs a thread and the system gives none."""
        with self._lock:
            if self._idle > 0:
                self._idle -= 1
            elif self._threads < self._most:
                threading.Thread(target=self._run, name=f"longhaul-task-{self._threads + 1}", daemon=True).start()
                self._threads += 1
        self._work.put(work)

    def _run(self) -> None:
        while True:
            work = self._work.get()
            work()
            # Not held while it waits: what it refers to may be large.
            del work
            with self._lock:
                self._idle += 1


class LoopThreads(ThreadPoolExecutor):
    """An event loop's default executor, behind ``asyncio.to_thread``, that does not wait for what tasks have begun.

    A job whose worker stops is given back, whatever a thread of it still does; so nobody needs to wait for that thread.
    What other code of the program hands over is finished first, as everywhere; it goes to the executor that the loop
    had before, if it had one.
    """

    def __init__(self, before: Executor | None = None) -> None:
        super().__init__(LIKE_ASYNCIO, thread_name_prefix="longhaul-loop")
        self._before = before
        self._of_tasks = Pool(LIKE_ASYNCIO)

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """As `ThreadPoolExecutor.submit`."""
        if not IN_TASK.get():
            if self._before is not None:
                return self._before.submit(fn, *args, **kwargs)
            return super().submit(fn, *args, **kwargs)
        future: Future[Any] = Future()

        def work() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                given = fn(*args, **kwargs)
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(given)

        self._of_tasks.submit(work)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """As `ThreadPoolExecutor.shutdown`, but for what tasks have begun."""
        super().shutdown(wait, cancel_futures=cancel_futures)
        if self._before is not None:
            self._before.shutdown(wait, cancel_futures=cancel_futures)
