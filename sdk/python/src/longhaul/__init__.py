"""Longhaul: durable, resumable, cancellable asynchronous AI work.

`Longhaul` and `AsyncLonghaul` submit and follow jobs; `Worker` runs functions of yours as jobs.
"""

from . import models
from .client import AsyncDocument, AsyncJob, AsyncLonghaul
from .errors import (
    APIError,
    AuthenticationError,
    BadRequestError,
    ConfigurationError,
    ConflictError,
    ConnectionFailed,
    GoneError,
    InvalidRequestError,
    JobCancelled,
    JobError,
    JobFailed,
    LeaseLostError,
    LonghaulError,
    NotFoundError,
    PayloadTooLargeError,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
    WaitTimeout,
)
from .models import Event, Job
from .sync import DocumentHandle, JobHandle, Longhaul
from .worker import (
    Cancelled,
    ChildFailed,
    Context,
    Fail,
    Limit,
    StepError,
    SyncContext,
    Task,
    TaskMetrics,
    Worker,
)

__all__ = [
    "APIError",
    "AsyncDocument",
    "AsyncJob",
    "AsyncLonghaul",
    "AuthenticationError",
    "BadRequestError",
    "Cancelled",
    "ChildFailed",
    "ConfigurationError",
    "ConflictError",
    "ConnectionFailed",
    "Context",
    "DocumentHandle",
    "Event",
    "Fail",
    "GoneError",
    "InvalidRequestError",
    "Job",
    "JobCancelled",
    "JobError",
    "JobFailed",
    "JobHandle",
    "LeaseLostError",
    "Limit",
    "Longhaul",
    "LonghaulError",
    "NotFoundError",
    "PayloadTooLargeError",
    "PermissionDeniedError",
    "RateLimitError",
    "ServerError",
    "StepError",
    "SyncContext",
    "Task",
    "TaskMetrics",
    "WaitTimeout",
    "Worker",
    "models",
]
