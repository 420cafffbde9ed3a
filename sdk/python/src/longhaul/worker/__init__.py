"""Running jobs: functions of yours that Longhaul calls."""

from ._context import Cancelled, ChildFailed, Context, StepError, SyncContext
from ._fail import Fail
from ._limits import Limit
from ._task import Task, TaskMetrics
from ._worker import Worker

__all__ = [
    "Cancelled",
    "ChildFailed",
    "Context",
    "Fail",
    "Limit",
    "StepError",
    "SyncContext",
    "Task",
    "TaskMetrics",
    "Worker",
]
