"""A line that shows how far a job is, where a person watches."""

from __future__ import annotations

import shutil
import sys
import time
from types import TracebackType
from typing import TextIO

from .models import Job

WIDTH = 24


class ProgressBar:
    """One line on standard error, drawn over itself. Nothing, when no terminal is there."""

    def __init__(self, wanted: bool | None, out: TextIO | None = None) -> None:
        self._out = out or sys.stderr
        self._on = self._out.isatty() if wanted is None else wanted
        self._began = time.monotonic()

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._on:
            self._out.write("\r\x1b[K")
            self._out.flush()

    @property
    def on(self) -> bool:
        """Whether somebody watches."""
        return self._on

    def show(self, job: Job) -> None:
        """Draws the job as it stands."""
        if not self._on:
            return
        columns = shutil.get_terminal_size().columns
        self._out.write("\r\x1b[K" + self.line(job)[: columns - 1])
        self._out.flush()

    def line(self, job: Job) -> str:
        """The line itself."""
        seconds = int(time.monotonic() - self._began)
        fraction = job.progress.fraction
        if fraction is None:
            bar, percent = "·" * WIDTH, "   "
        else:
            done = round(fraction * WIDTH)
            bar, percent = "━" * done + "─" * (WIDTH - done), f"{fraction:4.0%}"
        where = job.status_reason or job.status
        if job.queue_position:
            where += f", {job.queue_position} before it"
        message = job.progress.message or where
        return f"{job.kind} {bar} {percent} {seconds // 60}:{seconds % 60:02} {message}"
