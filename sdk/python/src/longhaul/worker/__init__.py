"""Running jobs: functions of yours that Longhaul calls."""

from ._context import Cancelled, Context, StepError, SyncContext
from ._task import Fail, Task, TaskMetrics
from ._worker import Worker

__all__ = ["Cancelled", "Context", "Fail", "StepError", "SyncContext", "Task", "TaskMetrics", "Worker"]
