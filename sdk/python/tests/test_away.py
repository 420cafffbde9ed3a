"""A server that is away for ten minutes, in time that the test moves: no server, no sleeping."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest

from longhaul._transport import Answer
from longhaul.errors import ConnectionFailed
from longhaul.worker._attempt import Attempt
from longhaul.worker._line import LONGEST_PAUSE
from longhaul.worker._runner import Runner
from network import patient_runner_on

AWAY = (100.0, 700.0)
"""From when to when nobody listens: ten minutes."""

DONE_AT = 150.0
"""When the job is done, in the middle of it."""


class Time:
    """Seconds that pass when somebody waits for them."""

    def __init__(self) -> None:
        self.now = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Event]] = []
        self._count = 0

    async def sleep(self, seconds: float) -> None:
        self._count += 1
        woken = asyncio.Event()
        self._sleepers.append((self.now + max(0.0, seconds), self._count, woken))
        await woken.wait()

    async def pass_until(self, end: float) -> None:
        while True:
            # Whoever can go on without waiting does so first.
            for _ in range(20):
                await REAL_SLEEP(0)
            if not self._sleepers:
                self.now = end
                return
            self._sleepers.sort(key=lambda sleeper: sleeper[:2])
            at, _, woken = self._sleepers[0]
            if at > end:
                self.now = end
                return
            self._sleepers.pop(0)
            self.now = max(self.now, at)
            woken.set()


REAL_SLEEP = asyncio.sleep


class Network:
    """A server that gives one job, and is away for a while."""

    def __init__(self, time: Time) -> None:
        self.time = time
        self.tries: list[tuple[float, str, bool]] = []
        self.given = False
        self.completed: list[Any] = []
        self.beats: list[tuple[float, Any]] = []

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
        is_away = AWAY[0] <= self.time.now < AWAY[1]
        self.tries.append((self.time.now, path, is_away))
        if path.endswith("/heartbeat"):
            self.beats.append((self.time.now, json.loads(body).get("progress")))
        if is_away:
            raise ConnectionFailed(f"{method} {path}: nobody listens")
        if path == "/v1/worker/claims":
            if not self.given:
                self.given = True
                return Answer(200, {}, json.dumps({"jobs": [JOB]}).encode())
            await self.time.sleep(30)
            if AWAY[0] <= self.time.now < AWAY[1]:
                raise ConnectionFailed("the connection was cut")
            return Answer(204, {}, b"")
        if path.endswith("/complete"):
            self.completed.append(json.loads(body))
        return Answer(200, {}, b'{"cancel_requested": false, "drain": false}')

    async def close(self) -> None: ...


JOB = {
    "job_id": "job_1",
    "kind": "job",
    "attempt": 1,
    "max_attempts": 5,
    "lease_token": "lease_1-30",
    "metadata": {},
    "input": {},
    "steps": [],
}


@pytest.mark.parametrize("is_known", [True, False], ids=["while it works", "from the start"])
def test_a_server_that_is_away_for_ten_minutes_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, is_known: bool
) -> None:
    time = Time()
    time.now = 0.0 if is_known else AWAY[0]
    network = Network(time)
    started: list[Attempt] = []

    async def play() -> None:
        runner = runner_in(time, network, started, monkeypatch)
        beginning = asyncio.ensure_future(runner._begin())
        if is_known:
            await time.pass_until(DONE_AT)
            runner.end(started[0], "complete", b"7")
        await time.pass_until(AWAY[1] + 60)
        await beginning
        if not is_known:
            runner.end(started[0], "complete", b"7")
            await time.pass_until(AWAY[1] + 120)
        end(runner)

    with caplog.at_level(logging.INFO, logger="longhaul.worker"):
        asyncio.run(play())

    assert network.completed == [{"output": 7}], "the result is handed in once it can be"
    in_vain = [at for at, _, is_away in network.tries if is_away]
    # Ever less often, and never more than fifteen seconds apart: it is back soon after the server.
    assert 40 <= len(in_vain) <= 400, len(in_vain)
    back = min(at for at, _, is_away in network.tries if at >= AWAY[1])
    assert back <= AWAY[1] + LONGEST_PAUSE
    said = [record.message for record in caplog.records]
    assert sum("cannot be reached" in message for message in said) == 1, "said once, not six hundred times"
    assert sum("is back" in message for message in said) == 1


def test_progress_that_was_made_meanwhile_is_told_when_the_server_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    time = Time()
    network = Network(time)
    started: list[Attempt] = []

    async def play() -> None:
        runner = runner_in(time, network, started, monkeypatch)
        beginning = asyncio.ensure_future(runner._begin())
        for at, fraction in ((DONE_AT, 0.25), (DONE_AT + 30, 0.5)):
            await time.pass_until(at)
            started[0].report(fraction, None)
        await time.pass_until(AWAY[1] + 60)
        await beginning
        end(runner)

    asyncio.run(play())
    heard = [progress for at, progress in network.beats if at >= AWAY[1] and progress]
    assert heard == [{"fraction": 0.5, "message": None}], "the newest, once"
    in_vain = [at for at, _ in network.beats if AWAY[0] <= at < AWAY[1]]
    pauses = [later - earlier for earlier, later in itertools.pairwise(in_vain)]
    assert 5 <= min(pauses) <= max(pauses) <= 6, "a server that is away is not asked more often for it"


def runner_in(time: Time, network: Network, started: list[Attempt], monkeypatch: pytest.MonkeyPatch) -> Runner:
    """A runner that lives in the running event loop, whose time is moved by the test."""

    def start(attempts: list[Attempt]) -> None:
        for attempt in attempts:
            attempt.is_started = True
        started.extend(attempts)

    runner = patient_runner_on(network, monkeypatch, start)
    monkeypatch.setattr(asyncio, "sleep", time.sleep)
    monkeypatch.setattr(asyncio, "wait_for", waiting(time))
    monkeypatch.setattr("time.monotonic", lambda: time.now)
    return runner


def end(runner: Runner) -> None:
    """Ends the runner's tasks."""
    for task in [*runner._claims, *runner._service, *runner._outbox._sending]:
        task.cancel()


def waiting(time: Time) -> Callable[[Awaitable[Any], float | None], Awaitable[Any]]:
    """As `asyncio.wait_for`, in the time of the test."""

    async def wait_for(awaitable: Awaitable[Any], timeout: float | None) -> Any:
        work = asyncio.ensure_future(awaitable)
        if timeout is None:
            return await work
        alarm = asyncio.ensure_future(time.sleep(timeout))
        await asyncio.wait({work, alarm}, return_when=asyncio.FIRST_COMPLETED)
        alarm.cancel()
        if work.done():
            return work.result()
        work.cancel()
        raise asyncio.TimeoutError

    return wait_for
