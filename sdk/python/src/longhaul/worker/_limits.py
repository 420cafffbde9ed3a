"""What bounds how often a task runs in this process: a rate, and answers that are kept."""

from __future__ import annotations

import re
import threading
import time
from collections import OrderedDict, deque

from ..errors import ConfigurationError

_UNITS = {"s": 1.0, "sec": 1.0, "second": 1.0, "min": 60.0, "m": 60.0, "minute": 60.0, "h": 3600.0, "hour": 3600.0}


class Rate:
    """At most so many starts in any window of that length: truly sliding, no burst at a border."""

    def __init__(self, most: int, seconds: float) -> None:
        self.most = most
        self.seconds = seconds
        self._starts: deque[float] = deque()

    @classmethod
    def parse(cls, text: str) -> Rate:
        """``100/min``, ``5/s``, ``1000/hour``, ``10/30s``."""
        found = re.fullmatch(r"\s*(\d+)\s*/\s*(\d*)\s*([a-z]+)\s*", text)
        if found is None or found[3] not in _UNITS or int(found[1]) < 1 or found[2] == "0":
            raise ConfigurationError(f'rate_limit={text!r} is no rate; write "100/min", "5/s" or "10/30s"')
        return cls(int(found[1]), float(found[2] or 1) * _UNITS[found[3]])

    def free(self, now: float | None = None) -> int:
        """How many may start now."""
        now = time.monotonic() if now is None else now
        while self._starts and self._starts[0] <= now - self.seconds:
            self._starts.popleft()
        return self.most - len(self._starts)

    def wait(self, now: float | None = None) -> float:
        """Seconds until one may start."""
        now = time.monotonic() if now is None else now
        return 0.0 if self.free(now) > 0 else self._starts[0] + self.seconds - now

    def take(self, count: int, now: float | None = None) -> None:
        """So many have started."""
        self._starts.extend([time.monotonic() if now is None else now] * count)


class Cache:
    """Outputs by input, for a time. Bounded in entries and in bytes; the one used longest ago goes first."""

    def __init__(self, ttl: float, max_entries: int = 1_000, max_bytes: int = 64 << 20) -> None:
        self._ttl = ttl
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._bytes = 0
        self._kept: OrderedDict[bytes, tuple[float, bytes]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: bytes) -> bytes | None:
        """What is kept, unless it is too old."""
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                return None
            if found[0] <= time.monotonic():
                self._drop(key)
                return None
            self._kept.move_to_end(key)
            return found[1]

    def put(self, key: bytes, output: bytes) -> None:
        """Keeps an output."""
        if len(output) + len(key) > self._max_bytes // 8:
            return
        with self._lock:
            self._drop(key)
            self._kept[key] = (time.monotonic() + self._ttl, output)
            self._bytes += len(key) + len(output)
            while len(self._kept) > self._max_entries or self._bytes > self._max_bytes:
                self._drop(next(iter(self._kept)))

    def _drop(self, key: bytes) -> None:
        found = self._kept.pop(key, None)
        if found is not None:
            self._bytes -= len(key) + len(found[1])
