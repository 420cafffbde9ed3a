"""How a task says that its attempt failed."""

from __future__ import annotations

from datetime import timedelta


class Fail(Exception):
    """Raise it in a task to say how the attempt failed, and whether another one may succeed."""

    def __init__(
        self, code: str, message: str = "", *, retryable: bool = True, retry_after: float | timedelta | None = None
    ) -> None:
        super().__init__(message or code)
        self.code = code
        self.message = message or code
        self.retryable = retryable
        seconds = retry_after.total_seconds() if isinstance(retry_after, timedelta) else retry_after
        self.retry_after = None if seconds is None else float(seconds)
