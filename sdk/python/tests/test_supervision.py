"""What the worker does when a part of it breaks, or the server is stopping. The test answers for the network."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import pytest

from longhaul._transport import Answer
from longhaul.worker import _runner
from longhaul.worker._attempt import Attempt
from longhaul.worker._outbox import Outbox
from longhaul.worker._runner import Runner
from network import ALIVE, Call, Network, ended, held_by, job, runner_on, said, until


@pytest.mark.parametrize("part", ["_take", "_beat", "serve", "_register"])
def test_a_part_that_breaks_ends_the_worker_with_its_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, part: str
) -> None:
    async def broken(*_: Any) -> None:
        raise RuntimeError(f"{part} is broken")

    def broken_at_once(*_: Any) -> None:
        raise RuntimeError(f"{part} is broken")

    async def play() -> None:
        network = Network(lambda call: said(200, {"jobs": [job(1)]}) if call.verb == "claims" else None)
        whole = Outbox if part == "serve" else Runner
        monkeypatch.setattr(whole, part, broken_at_once if part == "_take" else broken)
        runner = runner_on(network, monkeypatch)
        runner.io.start = lambda work: asyncio.run_coroutine_threadsafe(  # type: ignore[method-assign]
            work, asyncio.get_running_loop()
        )
        runner.begin()
        with pytest.raises(RuntimeError, match=f"{part} is broken"):
            await asyncio.wait_for(asyncio.wrap_future(runner.failed), 5)
        await runner.stop_claiming(1.0)
        began = time.monotonic()
        await runner.finish(30.0)
        assert time.monotonic() - began < 15, "nobody waits for a part that is not there any more"

    with caplog.at_level(logging.CRITICAL, "longhaul.worker"):
        asyncio.run(play())
    assert "cannot go on" in caplog.text


def test_jobs_that_cannot_be_begun_go_back_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    given = [job(1), job(2)]

    def answer(call: Call) -> Answer | None:
        if call.verb == "claims" and given:
            jobs = list(given)
            given.clear()
            return said(200, {"jobs": jobs})
        return None

    def start(attempts: list[Attempt]) -> None:
        attempts[0].is_started = True
        raise RuntimeError("can't start new thread")

    async def play() -> Network:
        network = Network(answer)
        runner = runner_on(network, monkeypatch, start)
        await runner._begin()
        with pytest.raises(RuntimeError, match="new thread"):
            await asyncio.wait_for(asyncio.wrap_future(runner.failed), 5)
        await ended(runner)
        return network

    network = asyncio.run(play())
    assert [call.path for call in network.calls if call.verb == "release"] == ["/v1/worker/jobs/job_2/release"]


def test_an_answer_that_is_not_the_servers_is_waited_out(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [Answer(200, {}, b"<html>back soon</html>"), said(200, {"jobs": [job(1)]})]
    started: list[Attempt] = []

    def start(attempts: list[Attempt]) -> None:
        for attempt in attempts:
            attempt.is_started = True
        started.extend(attempts)

    async def play() -> None:
        network = Network(lambda call: answers.pop(0) if call.verb == "claims" and answers else None)
        runner = runner_on(network, monkeypatch, start)
        await runner._begin()
        await until(lambda: started)
        assert not runner.failed.done()
        await ended(runner)

    asyncio.run(play())
    assert [attempt.job_id for attempt in started] == ["job_1"]


def test_nothing_is_claimed_from_a_server_that_is_stopping(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_runner, "DRAIN_PAUSE", 2.0)
    is_draining = True

    async def play() -> None:
        nonlocal is_draining
        network = Network(lambda call: said(200, ALIVE | {"drain": is_draining}) if call.verb == "heartbeat" else None)
        runner = runner_on(network, monkeypatch)
        await runner._begin()
        (attempt,) = held_by(runner, 1)
        attempt.report(0.5, None)
        await until(lambda: network.of("heartbeat"))
        await asyncio.sleep(0.05)
        claims = len(network.of("claims"))
        await asyncio.sleep(0.15)
        assert len(network.of("claims")) == claims, "it rests"
        await until(lambda: len(network.of("claims")) > claims)
        is_draining = False
        assert not attempt.should_stop, "what runs goes on"
        await ended(runner)

    asyncio.run(play())


def test_a_worker_that_is_stopped_before_it_is_registered_claims_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    is_there = False

    async def play() -> Network:
        nonlocal is_there
        network = Network(lambda call: None if is_there or call.verb != "job" else said(503, {}))
        runner = runner_on(network, monkeypatch)
        beginning = asyncio.ensure_future(runner._begin())
        await until(lambda: len(network.calls) > 3)
        await runner.stop_claiming(1.0)
        is_there = True
        await beginning
        await asyncio.sleep(0.05)
        await ended(runner)
        return network

    assert asyncio.run(play()).of("claims") == []
