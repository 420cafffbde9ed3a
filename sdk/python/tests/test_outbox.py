"""Results that come faster than the line to the server takes them. The test answers for the network."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from longhaul import Longhaul, Worker
from longhaul.worker import _outbox
from longhaul.worker._attempt import Attempt
from longhaul.worker._runner import Runner
from network import Call, Network, ended, held_by, job, runner_on, said, until
from program import Server, serving


class Narrow(Network):
    """A server that has jobs for whoever asks, and takes their results when the test says so."""

    def __init__(self) -> None:
        super().__init__(self._given)
        self.is_open = asyncio.Event()
        self.claimed = 0
        self.accepted = 0

    def _given(self, call: Call) -> Any:
        if call.verb == "claims":
            numbers = range(self.claimed + 1, self.claimed + 1 + call.body["max"])
            self.claimed += call.body["max"]
            return said(200, {"jobs": [job(number) for number in numbers]})
        if call.path == "/v1/worker/complete":
            return said(200, {"results": [{"job_id": one["job_id"]} for one in call.body["jobs"]]})
        return None

    async def once(self, method: str, path: str, **how: Any) -> Any:
        if path.endswith("/complete"):
            await self.is_open.wait()
            self.accepted += 1
        return await super().once(method, path, **how)


def at_once(runner: Callable[[], Runner], output: bytes) -> Callable[[list[Attempt]], None]:
    """Does every job when it is begun."""

    def start(attempts: list[Attempt]) -> None:
        for attempt in attempts:
            attempt.is_started = True
            runner().end(attempt, "complete", output)
            runner()._freed(attempt)

    return start


@pytest.mark.parametrize(
    ("output", "most"), [(b"1", 200 + 64), (b'"' + b"x" * 998 + b'"', 20 + 64)], ids=["by number", "by bytes"]
)
def test_what_is_done_and_not_handed_in_is_bounded(monkeypatch: pytest.MonkeyPatch, output: bytes, most: int) -> None:
    monkeypatch.setattr(_outbox, "MOST", 200)
    monkeypatch.setattr(_outbox, "MOST_BYTES", 20_000)

    async def play() -> None:
        network = Narrow()
        made: list[Runner] = []
        runner = runner_on(network, monkeypatch, at_once(lambda: made[0], output))
        made.append(runner)
        await runner._begin()
        await until(lambda: runner._outbox.is_full)
        before = network.claimed
        # Whoever could still claim would have by then.
        for _ in range(200):
            await asyncio.sleep(0)
        assert network.claimed == before <= most
        assert len(runner.held) == before
        network.is_open.set()
        await until(lambda: network.claimed > 10 * most)
        assert len(runner.held) <= most
        await ended(runner)
        assert len(runner._outbox) == 0

    asyncio.run(play())


def test_results_that_cannot_be_handed_in_in_time_are_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    async def play() -> None:
        network = Narrow()
        monkeypatch.setattr(_outbox, "SENDERS", 2)
        monkeypatch.setattr(_outbox, "BATCH", 2)
        runner = runner_on(network, monkeypatch)
        runner._handing_in = asyncio.ensure_future(runner._outbox.serve())
        attempts = held_by(runner, 30)
        for attempt in attempts:
            attempt.say({}, {"input_tokens": 7})
            runner.end(attempt, "complete", b"1")
        await until(lambda: len(runner._outbox._sending) >= 2)
        await runner.finish(0.05)
        assert not runner._handing_in.done() or runner._handing_in.cancelled()
        runner._handing_in.cancel()
        released = sorted(call.path for call in network.calls if call.verb == "release")
        assert released == sorted(f"/v1/worker/jobs/{attempt.job_id}/release" for attempt in attempts)
        assert network.of("release") == [{"usage": {"input_tokens": 7}}] * 30
        assert runner.held == {}

    asyncio.run(play())


def test_results_have_the_rest_of_the_drain_to_be_handed_in(
    server: Server, lh: Longhaul, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[float] = []
    finish = Runner.finish

    async def finishing(self: Runner, seconds: float, *hurry: Any) -> None:
        given.append(seconds)
        await finish(self, seconds, *hurry)

    monkeypatch.setattr(Runner, "finish", finishing)
    for drain in (120.0, 0.5):
        worker = Worker(server.url, drain=drain)
        worker.task("nothing")(lambda: None)
        with serving(worker, lh):
            pass
    assert 100.0 < given[0] <= 120.0
    assert given[1] == 10.0, "and enough for what is given back, whatever the drain"
