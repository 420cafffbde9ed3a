"""What can go wrong, as exceptions that programs can tell apart.

Everything derives from `LonghaulError`. An answer of the server that says no is an `APIError` with its ``code`` (a word
from a closed list) and its ``request_id`` (name it when you report a fault); a job that ended badly is a `JobError`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .models import Job


class LonghaulError(Exception):
    """Anything that this library raises."""


class ConfigurationError(LonghaulError):
    """The library was told something that it cannot use."""


class ConnectionFailed(LonghaulError):
    """The server could not be reached, or hung up, as often as it was tried."""

    def __init__(self, message: str, *, may_have_arrived: bool = True, is_silence: bool = False) -> None:
        super().__init__(message)
        self.may_have_arrived = may_have_arrived
        """Whether the server may have got the request, the last time it was tried."""
        self.is_silence = is_silence
        """Whether nothing was heard for too long: the server may be well, and the connection dead."""


class WaitTimeout(LonghaulError, TimeoutError):
    """The job had not ended when the time to wait was over. It goes on."""

    def __init__(self, job_id: str | None, seconds: float) -> None:
        if job_id is None:
            said = f"no job was taken in within {seconds:g} s, as far as is known here; one may run all the same"
        else:
            said = f"{job_id} had not ended after {seconds:g} s; it goes on"
        super().__init__(said)
        self.job_id = job_id
        """Names the job; none when the server had not answered the submit by then."""


class APIError(LonghaulError):
    """The server said no."""

    def __init__(self, status: int, problem: dict[str, Any], retry_after: float | None = None) -> None:
        self.status = status
        """The HTTP status."""
        self.code = str(problem.get("code") or "unknown")
        """A word from the closed list at ``/docs/errors``."""
        self.detail = str(problem.get("detail") or problem.get("title") or f"HTTP {status}")
        """What is wrong this time."""
        self.errors: list[dict[str, Any]] = list(problem.get("errors") or [])
        """Each field that cannot be used: ``pointer`` and ``message``."""
        self.request_id: str | None = problem.get("request_id")
        """Names the request in the server's log."""
        self.retryable = bool(problem.get("retryable", status >= 500))
        """Whether the same request may succeed later."""
        self.retry_after = retry_after
        """Seconds to wait, when the server said so."""
        self.problem = problem
        """All that the server said."""
        super().__init__(self._text())

    def _text(self) -> str:
        fields = "".join(f"\n  {error.get('pointer') or 'body'} {error.get('message')}" for error in self.errors)
        request = f" (request {self.request_id})" if self.request_id else ""
        return f"{self.status} {self.code}: {self.detail}{request}{fields}"


class BadRequestError(APIError):
    """400: the request cannot be read."""


class AuthenticationError(APIError):
    """401: no valid API key."""


class PermissionDeniedError(APIError):
    """403: the API key lacks the scope."""


class NotFoundError(APIError):
    """404: there is no such thing for this key."""


class ConflictError(APIError):
    """409: the state of the thing does not allow this."""


class LeaseLostError(ConflictError):
    """409 ``lease_lost``: the job is another worker's by now."""


class GoneError(APIError):
    """410: its data was erased or has expired."""


class PayloadTooLargeError(APIError):
    """413: the body is larger than the server takes."""


class InvalidRequestError(APIError):
    """422: fields that cannot be used, each in ``errors``."""


class RateLimitError(APIError):
    """429: more than your limit allows."""


class ServerError(APIError):
    """5xx: the server failed, is overloaded, is stopping, or its disk is full."""


class JobError(LonghaulError):
    """A job ended without a result."""

    def __init__(self, job: Job, message: str) -> None:
        super().__init__(message)
        self.job = job
        """The job as it ended."""
        self.code = job.error.code if job.error else job.status
        """Why, for programs."""


class JobFailed(JobError):
    """The job failed; ``job.error`` says why."""


class JobCancelled(JobError):
    """The job was cancelled."""


_BY_STATUS: dict[int, type[APIError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    410: GoneError,
    413: PayloadTooLargeError,
    415: BadRequestError,
    422: InvalidRequestError,
    429: RateLimitError,
}


def error_of(status: int, body: bytes, retry_after: float | None = None) -> APIError:
    """The exception for an answer that says no."""
    try:
        problem = json.loads(body)
    except ValueError:
        problem = None
    if not isinstance(problem, dict):
        problem = {"detail": body[:200].decode(errors="replace").strip() or f"HTTP {status}"}
    if problem.get("code") == "lease_lost":
        return LeaseLostError(status, problem, retry_after)
    kind = _BY_STATUS.get(status) or (ServerError if status >= 500 else APIError)
    return kind(status, problem, retry_after)


def raise_if_unsuccessful(job: Job) -> None:
    """Raises for a job that ended without a result."""
    if job.status == "failed":
        error = job.error
        why = f"{error.code}: {error.message}" if error else "no reason is known"
        raise JobFailed(job, f"{job.job_id} ({job.kind}) failed after {job.attempt} attempts: {why}")
    if job.status == "cancelled":
        raise JobCancelled(job, f"{job.job_id} ({job.kind}) was cancelled")
