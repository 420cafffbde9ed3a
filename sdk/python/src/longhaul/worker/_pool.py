"""Threads for plain functions. Daemons: one that never returns does not keep the process from ending."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable


class Pool:
    """As many threads as are needed at once, at most ``most``."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._work: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        self._idle = 0

    def submit(self, work: Callable[[], None]) -> None:
        """Runs it soon."""
        with self._lock:
            if self._idle > 0:
                self._idle -= 1
            elif self._threads < self._most:
                self._threads += 1
                threading.Thread(target=self._run, name=f"longhaul-task-{self._threads}", daemon=True).start()
        self._work.put(work)

    def _run(self) -> None:
        while True:
            work = self._work.get()
            work()
            with self._lock:
                self._idle += 1
