"""What bounds how often a task runs: limits that the server keeps for all workers, and answers that are kept here."""

from __future__ import annotations

import re
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from ..errors import ConfigurationError

_UNITS = {"s": 1, "sec": 1, "second": 1, "min": 60, "m": 60, "minute": 60, "h": 3600, "hour": 3600, "day": 86_400}

DAY = 86_400
"""The longest window of a rate, in seconds."""

MOST = 1_000_000
"""What allows more limits nothing."""


@dataclass(frozen=True)
class Rate:
    """At most so many starts in any window of that length: truly sliding, no burst at a border."""

    most: int
    seconds: int

    @classmethod
    def parse(cls, text: str) -> Rate:
        """``100/min``, ``5/s``, ``1000/hour``, ``10/30s``."""
        found = re.fullmatch(r"\s*(\d+)\s*/\s*(\d*)\s*([a-z]+)\s*", text)
        if found is None or found[3] not in _UNITS or int(found[1]) < 1 or found[2] == "0":
            raise ConfigurationError(f'rate_limit={text!r} is no rate; write "100/min", "5/s" or "10/30s"')
        seconds = int(found[2] or 1) * _UNITS[found[3]]
        if seconds > DAY or int(found[1]) > MOST:
            raise ConfigurationError(f"rate_limit={text!r}: at most a million in at most a day")
        return cls(int(found[1]), seconds)


@dataclass(frozen=True)
class Limit:
    """How many jobs of a kind run at once and start in a time, over all workers together.

    With a ``key`` those are limited together that have the same value there in their input: ``"customer"``,
    ``"customer.region"``, or a JSON Pointer such as ``"/customer/region"``.
    """

    key: str | None = None
    concurrency: int | None = None
    rate: str | None = None

    def to_wire(self) -> dict[str, Any]:
        """As the server takes it."""
        said: dict[str, Any] = {}
        if self.key is not None:
            said["key"] = pointer(self.key)
        if self.concurrency is not None:
            if not 1 <= self.concurrency <= MOST:
                raise ConfigurationError(f"concurrency={self.concurrency}: it must be at least 1 and at most a million")
            said["concurrency"] = self.concurrency
        if self.rate is not None:
            rate = Rate.parse(self.rate)
            said["rate"] = {"count": rate.most, "per_s": rate.seconds}
        if not said.keys() - {"key"}:
            raise ConfigurationError(f"{self} limits nothing: give concurrency=, rate= or both")
        return said


def pointer(key: str) -> str:
    """``customer.region`` as the JSON Pointer ``/customer/region``; a pointer stays as it is."""
    if key.startswith("/"):
        return key
    parts = key.split(".")
    if not all(parts):
        raise ConfigurationError(f'limit_key={key!r} names no field of the input; write "customer" or "a.b"')
    return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in parts)


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
