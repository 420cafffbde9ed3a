"""A network that a test answers for, and a runner on it that lives in the test's own event loop."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from longhaul import Worker
from longhaul._settings import Settings
from longhaul._transport import Answer
from longhaul.worker._attempt import Attempt
from longhaul.worker._runner import Lane, Runner

ALIVE = {"cancel_requested": False, "drain": False}


@dataclass(frozen=True)
class Call:
    """A request that was made."""

    verb: str
    path: str
    body: Any


def said(status: int, body: Any = None) -> Answer:
    return Answer(status, {}, b"" if body is None else json.dumps(body).encode())


def problem(status: int, code: str) -> dict[str, Any]:
    return {"status": status, "code": code, "detail": f"{code} it is", "errors": []}


class Network:
    """Answers calls as the test says, and keeps them. What it has no word for gets an empty 200."""

    def __init__(self, answer: Callable[[Call], Answer | None]) -> None:
        self.calls: list[Call] = []
        self._answer = answer

    async def once(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        waits: float = 0.0,
        **_: Any,
    ) -> Answer:
        call = Call(path.rsplit("/", 1)[-1], path, json.loads(body) if body else None)
        self.calls.append(call)
        await asyncio.sleep(0)
        answer = self._answer(call)
        if answer is not None:
            return answer
        if call.verb == "claims":
            await asyncio.sleep(0.02)
            return said(204)
        return said(200, ALIVE)

    async def close(self) -> None: ...

    def of(self, verb: str) -> list[Any]:
        """The bodies of all calls of a verb."""
        return [call.body for call in self.calls if call.verb == verb]


def job(number: int, kind: str = "job") -> dict[str, Any]:
    """A job as a claim gives it."""
    return {
        "job_id": f"job_{number}",
        "kind": kind,
        "attempt": 1,
        "max_attempts": 5,
        "lease_token": f"lease_{number}-30",
        "metadata": {},
        "input": {},
        "steps": [],
    }


def runner_on(
    network: Network, monkeypatch: pytest.MonkeyPatch, start: Callable[[list[Attempt]], None] | None = None
) -> Runner:
    """A runner for tasks of the kind ``job``, which tries again at once."""
    runner = patient_runner_on(network, monkeypatch, start)
    for module in ("_line", "_outbox", "_runner"):
        monkeypatch.setattr(f"longhaul.worker.{module}.backoff", lambda *_: 0.0)
    return runner


def patient_runner_on(
    network: Any, monkeypatch: pytest.MonkeyPatch, start: Callable[[list[Attempt]], None] | None = None
) -> Runner:
    """A runner that waits as in life. To be made in a running event loop, which becomes its own."""
    worker = Worker("http://127.0.0.1:1")
    worker.task("job")(lambda: None)
    runner = Runner(
        Settings.resolve("http://127.0.0.1:1", None),
        name="w",
        lanes=[Lane(dict(worker.tasks), 64)],
        queues=None,
        lease=30,
        start=start or (lambda attempts: None),
        stop=lambda attempt: None,
        log=logging.getLogger("longhaul.worker"),
    )
    runner.io.stop()
    runner._line.transport = network
    monkeypatch.setattr(runner.io, "loop", asyncio.get_running_loop())
    return runner


def held_by(runner: Runner, count: int) -> list[Attempt]:
    """Attempts that the runner holds."""
    task = runner._lanes[0].tasks["job"]
    attempts = [Attempt(runner, task, job(number)) for number in range(1, count + 1)]
    for attempt in attempts:
        attempt.is_started = True
        runner.held[attempt.job_id] = attempt
    return attempts


async def until(what: Callable[[], Any], turns: int = 5_000) -> Any:
    """What is true in the end."""
    for _ in range(turns):
        found = what()
        if found:
            return found
        await asyncio.sleep(0.001)
    raise AssertionError("it has not come to that")


async def ended(runner: Runner) -> None:
    """Ends the runner's tasks."""
    await runner.stop_claiming(1.0)
    await runner.finish(1.0)
