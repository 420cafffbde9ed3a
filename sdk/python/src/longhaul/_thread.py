"""An event loop in a thread of its own: for the synchronous face, and for what must not stop when a task blocks."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import CancelledError, Future
from typing import Any, TypeVar

from .errors import ConnectionFailed

T = TypeVar("T")


class LoopThread:
    """Runs coroutines for threads that have no event loop, or one that may be blocked.

    Belongs to the process that made it: a fork has the object, but not the thread.
    """

    def __init__(self, name: str) -> None:
        self.loop = asyncio.new_event_loop()
        self._process = os.getpid()
        # What is started is either cancelled when the loop stops, or refused.
        self._starting = threading.Lock()
        self._is_stopping = False
        self._last: Callable[[], Awaitable[None]] | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
        finally:
            self.loop.run_until_complete(self._wind_up())
            self.loop.close()

    async def _wind_up(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.loop.shutdown_asyncgens()
        if self._last is not None:
            await self._last()

    @property
    def is_usable(self) -> bool:
        """Whether it runs coroutines: not after `stop`, and in the process that made it."""
        return not self._is_stopping and self._process == os.getpid()

    @property
    def is_current(self) -> bool:
        """Whether the code that asks runs in this thread."""
        return threading.current_thread() is self._thread

    def start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Runs a coroutine there; the future is for any thread."""
        if self._process == os.getpid():
            with self._starting:
                if not self._is_stopping:
                    return asyncio.run_coroutine_threadsafe(work, self.loop)
        work.close()
        raise _closed()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine there and waits for it. Ctrl-C cancels it; `stop` does so as `ConnectionFailed`."""
        future = self.start(work)
        try:
            return future.result()
        except CancelledError:
            if self._is_stopping:
                raise _closed() from None
            raise
        except BaseException:
            future.cancel()
            raise

    def stop(self, last: Callable[[], Awaitable[None]] | None = None) -> None:
        """Ends the thread. What still runs there is cancelled; what is to be done after that is done ``last``."""
        with self._starting:
            if self._is_stopping or self._process != os.getpid():
                return
            self._is_stopping = True
            self._last = last
            self.loop.call_soon_threadsafe(self.loop.stop)
        if not self.is_current:
            self._thread.join(timeout=5)


def _closed() -> ConnectionFailed:
    return ConnectionFailed("the client was closed", may_have_arrived=True)
