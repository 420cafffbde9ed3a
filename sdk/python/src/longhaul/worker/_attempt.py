"""One attempt at a job in this process: its lease, its steps, and the writes that are made under it.

The user's code runs in its own event loop or thread; everything that goes over the network runs in the worker's IO
thread. Methods whose names end in ``_io`` run there; the others run where the user's code does.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import re
import threading
import time
from collections import Counter
from collections.abc import Coroutine, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from .._transport import Answer, encode, encode_input
from ..errors import APIError, ConfigurationError, ConnectionFailed, LeaseLostError
from ._context import USED_MOST, Cancelled, StepError, output_invalid
from ._fail import Fail
from ._output import Output

if TYPE_CHECKING:
    from ._runner import Runner
    from ._task import Task

T = TypeVar("T")

ENDED = frozenset({"succeeded", "failed", "cancelled"})
"""The states after which nothing comes."""

STEP_NAME = re.compile(r"[A-Za-z0-9_.:/-]{1,200}")
"""The server's rule, kept here so that a name is refused before the work is done."""

NOT_STORABLE = frozenset({400, 413, 422})
"""Statuses that say of a step's output that it will never be stored: it is nested too deep, or too large."""

LONGEST_RETRY_AFTER = 365 * 86_400.0
"""Seconds until the next attempt, at most: what the server takes."""

PROGRESS_EVERY = 0.5
"""Seconds between two reports of progress."""


class Attempt:
    """A job that this worker holds."""

    def __init__(self, runner: Runner, task: Task[Any, Any], job: dict[str, Any]) -> None:
        self._runner = runner
        self.task = task
        self.job_id: str = job["job_id"]
        self.number: int = job["attempt"]
        self.max_attempts: int = job["max_attempts"]
        self.metadata: dict[str, str] = job["metadata"]
        self.input: Any = job["input"]
        self.lease: str = job["lease_token"]
        self.steps: dict[str, Any] = {step["step"]: step["output"] for step in job["steps"]}
        deadline = job.get("deadline_at")
        self.deadline = datetime.fromisoformat(deadline.replace("Z", "+00:00")) if deadline else None
        self.timeout: float | None = task.options.timeout or job.get("timeout_s")
        self.began = time.monotonic()
        self.renewed = self.began
        # When a beat was last not heard.
        self.missed = self.began
        # Why it should stop, if it should.
        self.is_cancelled = False
        self.is_lost = False
        self.is_released = False
        self.is_timed_out = False
        # Whether its function was handed to a loop or a thread, which sees to it that it ends.
        self.is_started = False
        # Whether its end was handed to the outbox: what comes later is not said.
        self.is_over = False
        self.is_suspended = False
        # Whether the last of its output is being sent: its end waits for that.
        self._is_ending = False
        self.running: asyncio.Task[None] | None = None
        self._lock = threading.Lock()
        self._progress: tuple[float | None, str | None] | None = None
        self._progress_at = 0.0
        # What the result says of itself.
        self._report: dict[str, Any] = {}
        # What was spent, until the server has answered to a call that tells it.
        self._spent: Counter[str] = Counter()
        # Of that, what calls tell that are not answered yet.
        self._being_told: Counter[str] = Counter()
        self._used: set[str] = set()
        # Steps that have begun and neither come to an end nor failed.
        self._in_steps = 0
        self._output = Output(self._send_chunk, runner.log, self.job_id)

    @property
    def should_stop(self) -> bool:
        """Whether what it does is of no use any more."""
        return self.is_cancelled or self.is_lost or self.is_released or self.is_timed_out

    @property
    def is_in_vain(self) -> bool:
        """Whether a call that the server has not answered need not be made again."""
        return self.is_lost if self._is_ending else self.should_stop

    # ── from the user's code ──

    def report(self, fraction: float | None, message: str | None) -> None:
        """Keeps the newest progress for the next beat, which comes soon."""
        with self._lock:
            self._progress = (fraction, message)
        self._runner.wake_beats()

    def say(self, facts: dict[str, Any], figures: dict[str, int]) -> None:
        """What the result says of itself, and what was spent; figures add up."""
        with self._lock:
            self._report |= facts
            for name, figure in figures.items():
                # The server refuses a call that tells more, and the attempt could not end.
                self._spent[name] = min(USED_MOST, self._spent[name] + figure)

    @property
    def report_json(self) -> bytes:
        """What the result says of itself, as a member of the body of ``complete``, if it says anything."""
        with self._lock:
            report = self._report | _usage(self._spent)
        return b',"report":' + encode(report) if report else b""

    @property
    def remark(self) -> dict[str, Any]:
        """What an end without a result says of the attempt, as members of the body of ``fail`` and ``release``."""
        with self._lock:
            return ({"ambiguous": True} if self.is_ambiguous else {}) | _usage(self._spent)

    def begin_step(self, name: str) -> tuple[bool, bytes]:
        """Whether the step is stored, and its JSON text when it is. Raises `Fail` for a name that no step can have."""
        if STEP_NAME.fullmatch(name) is None:
            why = f"no step can be called {name!r}: a name has 1 to 200 letters, digits and _ - . : /"
            raise Fail("step_name_invalid", why, retryable=False)
        with self._lock:
            if name in self._used:
                raise StepError(
                    f"the step {name!r} stands for two things in one attempt; give each its own name, "
                    f'such as f"{name}:{{number}}"'
                )
            self._used.add(name)
        if self.should_stop:
            raise Cancelled
        return (True, encode(self.steps[name])) if name in self.steps else (False, b"")

    @contextlib.contextmanager
    def in_step(self) -> Iterator[None]:
        """While a step is at work. One that is cut off stays: nobody knows what it did."""
        with self._lock:
            self._in_steps += 1
        try:
            yield
        except Exception:
            if not self.should_stop:
                self._leave_step()
            raise
        else:
            self._leave_step()

    def _leave_step(self) -> None:
        with self._lock:
            self._in_steps -= 1

    @property
    def is_ambiguous(self) -> bool:
        """Whether nobody knows if its last call outside took effect: it would be cut off in the middle of a step."""
        return self._in_steps > 0

    async def checkpoint(self, name: str, output: bytes) -> None:
        """Stores a step."""
        await self._over_there(self.checkpoint_io(name, output))

    async def stream(self, data: Any) -> None:
        """Sends a piece of output."""
        await self._over_there(self.stream_io(data))

    async def wait_for_input(self, step: str, prompt: str) -> None:
        """Gives the lease up until a person answers."""
        await self._over_there(self.wait_io(step, prompt))

    async def children(self, step: str, jobs: list[dict[str, Any]]) -> list[dict[str, Any]] | None:
        """What jobs that this one has called came to; none: they have not ended, and the lease is given up."""
        self.begin_step(step)
        return await self._over_there(self.children_io(step, jobs))

    async def _over_there(self, work: Coroutine[Any, Any, T]) -> T:
        return await asyncio.wrap_future(self._runner.io.start(work))

    def in_io(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs in the IO thread and waits: for plain functions."""
        try:
            return self._runner.io.run(work)
        except ConnectionFailed:
            # The worker has ended, and was not waited for by this thread.
            if self.should_stop:
                raise Cancelled from None
            raise

    # ── in the IO thread ──

    def take_progress(self, now: float) -> dict[str, Any] | None:
        """Progress that was not told yet, unless the last was told just now."""
        with self._lock:
            if self._progress is None or now - self._progress_at < PROGRESS_EVERY:
                return None
            fraction, message = self._progress
            self._progress, self._progress_at = None, now
        return {"fraction": fraction, "message": None if message is None else _sayable(message, 8_000)}

    def restore_progress(self, progress: dict[str, Any]) -> None:
        """Keeps progress that could not be told, unless newer has come."""
        with self._lock:
            if self._progress is None:
                self._progress = (progress["fraction"], progress["message"])

    @property
    def has_progress(self) -> bool:
        """Whether there is progress that was not told yet."""
        return self._progress is not None

    async def call_io(self, verb: str, body: bytes, *, method: str = "POST") -> Answer:
        """A call under the lease; tried until it is answered. A lease that is lost ends the attempt."""
        try:
            return await self._runner.deliver(self, verb, body, method=method)
        except LeaseLostError:
            self._runner.lose(self)
            raise Cancelled from None
        except APIError as error:
            if error.code == "job_cancelled":
                self._runner.cancel(self)
                raise Cancelled from None
            raise

    async def _call_and_tell_io(self, verb: str, body: bytes) -> Answer:
        """A call that tells what was spent, too. What it could not tell is told later, at the latest with the end."""
        with self._lock:
            told = self._spent - self._being_told
            self._being_told += told
        try:
            answer = await self.call_io(verb, with_members(body, _usage(told)))
            # Not so if its answer was lost, or is not there before the end: to count twice is rarer than to lose.
            with self._lock:
                self._spent -= told
            return answer
        finally:
            with self._lock:
                self._being_told -= told

    async def checkpoint_io(self, name: str, output: bytes) -> None:
        """Stores a step."""
        await self.flush_io()
        try:
            await self._call_and_tell_io("checkpoint", b'{"step":' + encode(name) + b',"output":' + output + b"}")
        except APIError as error:
            if error.status in NOT_STORABLE:
                flaws = "; ".join(f"{flaw['pointer']} {flaw['message']}" for flaw in error.errors)
                raise output_invalid(name, flaws or error.detail) from error
            raise

    async def stream_io(self, data: Any) -> None:
        """Takes a piece of output."""
        if self.should_stop:
            raise Cancelled
        await self._output.take(data)

    @property
    def has_unsent(self) -> bool:
        """Whether output is left to be sent."""
        return not self._output.is_empty

    async def flush_io(self) -> None:
        """Sends what is left of the output."""
        await self._output.flush()

    async def finish_io(self) -> None:
        """Sends what is left of the output before the end of the attempt, also of one that took too long."""
        self._is_ending = True
        await self.flush_io()

    async def _send_chunk(self, body: bytes) -> None:
        if self.is_in_vain:
            raise Cancelled
        await self.call_io("output", body)

    async def children_io(self, step: str, jobs: list[dict[str, Any]]) -> list[dict[str, Any]] | None:
        """Takes jobs in as children, once; gives them back when all have ended, else gives the lease up until then."""
        await self.flush_io()
        if step not in self.steps:
            try:
                answer = await self.call_io("children", encode_input({"step": step, "children": jobs}))
            except ConfigurationError as error:
                raise Fail("child_invalid", str(error), retryable=False) from error
            except APIError as error:
                # No later attempt will make these jobs ones that can be run.
                flaws = "; ".join(f"{flaw['pointer']} {flaw['message']}" for flaw in error.errors)
                raise Fail("child_invalid", flaws or error.detail, retryable=False) from error
            self.steps[step] = answer.json()["children"]
        else:
            found = await self._ended_io(self.steps[step])
            if found is not None:
                return found
        await self._call_and_tell_io("wait", encode({"for": "children"}))
        self.is_suspended = True
        return None

    async def _ended_io(self, ids: list[str]) -> list[dict[str, Any]] | None:
        """These children in their order, once all of them have ended."""
        wanted = set(ids)
        found: dict[str, dict[str, Any]] = {}
        after = -1
        while len(found) < len(wanted):
            verb = "children" if after < 0 else f"children?after={after}"
            page = (await self.call_io(verb, b"", method="GET")).json()
            for child in page["children"]:
                after = child["index"]
                if child["job_id"] in wanted:
                    if child["status"] not in ENDED:
                        return None
                    found[child["job_id"]] = child
            if not page["has_more"]:
                break
        # What is not there any more was erased by somebody.
        gone = {"kind": "a job", "status": "erased", "error": None}
        return [found.get(id, gone | {"job_id": id}) for id in ids]

    async def wait_io(self, step: str, prompt: str) -> None:
        """Gives the lease up until a person answers."""
        await self.flush_io()
        await self._call_and_tell_io("wait", encode({"for": "input", "step": step, "prompt": prompt}))
        self.is_suspended = True


def with_members(body: bytes, members: dict[str, Any]) -> bytes:
    """A body, which is a JSON object or empty, with members that it does not have."""
    if not members:
        return body
    added = encode(members)
    return body[:-1] + b"," + added[1:] if len(body) > len("{}") else added


def _usage(spent: Counter[str]) -> dict[str, Any]:
    return {"usage": dict(spent)} if spent else {}


def failure_json(code: str, message: str, retryable: bool, retry_after: float | None) -> bytes:
    """The body of ``fail``, without what it says of the attempt."""
    word = "".join(c if c.isascii() and c.isprintable() and c != " " else "_" for c in str(code))[:100] or "task_failed"
    body: dict[str, Any] = {"error": {"code": word, "message": _sayable(message, 8_000)}, "retryable": retryable}
    if retry_after is not None and not math.isnan(retry_after):
        body["retry_after_ms"] = int(min(max(0.0, retry_after), LONGEST_RETRY_AFTER) * 1000)
    return json.dumps(body).encode()


def _sayable(text: str, most: int) -> str:
    """Without the halves of characters that undecodable file names bring along, for which JSON has no word."""
    return str(text)[:most].encode("utf-8", "replace").decode()
