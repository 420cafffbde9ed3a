"""What becomes of claims that are under way when a worker stops. The test answers for the network."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import pytest

from longhaul._transport import Answer
from longhaul.worker import _runner
from network import ALIVE, job, patient_runner_on, said, until


class Slow:
    """A server whose answer to a claim comes when the test says so."""

    def __init__(self, *, begins: bool = False) -> None:
        self.answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.paths: list[str] = []
        self._begins = begins

    async def once(
        self, method: str, path: str, *, body: Any = None, headers: Mapping[str, str] | None = None, **how: Any
    ) -> Answer:
        self.paths.append(path)
        if not path.endswith("/claims"):
            return said(200, ALIVE)
        if self._begins:
            how["begun"].set()
        return await self.answer

    async def close(self) -> None: ...

    @property
    def is_asked(self) -> bool:
        return "/v1/worker/claims" in self.paths

    @property
    def given_back(self) -> list[str]:
        return [path for path in self.paths if path.endswith("/release")]


def given_back(
    monkeypatch: pytest.MonkeyPatch, *, answered: bool, begins: bool = False, seconds: float = 60.0
) -> tuple[list[str], float]:
    """What goes back when a worker stops while it claims, and how long it took to stop."""

    async def play() -> tuple[list[str], float]:
        network = Slow(begins=begins)

        def start(attempts: Any) -> None:
            raise AssertionError("nothing is begun by a worker that stops")

        runner = patient_runner_on(network, monkeypatch, start)
        await runner._begin()
        await until(lambda: network.is_asked)
        began = time.monotonic()
        stopping = asyncio.ensure_future(runner.stop_claiming(seconds))
        if answered:
            # It has begun to wait, and is not done with that.
            await until(lambda: runner._is_stopping)
            assert not stopping.done()
            network.answer.set_result(said(200, {"jobs": [job(1), job(2)]}))
        await stopping
        took = time.monotonic() - began
        await runner.finish(5.0)
        assert runner.held == {}
        return network.given_back, took

    return asyncio.run(play())


BOTH = ["/v1/worker/jobs/job_1/release", "/v1/worker/jobs/job_2/release"]


def test_what_a_claim_under_way_brings_goes_back_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    released, _ = given_back(monkeypatch, answered=True)
    assert released == BOTH


def test_an_answer_that_has_begun_to_come_is_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_runner, "CLAIM_GRACE", -1.0)
    released, _ = given_back(monkeypatch, answered=True, begins=True)
    assert released == BOTH


def test_a_claim_that_waits_for_jobs_to_come_holds_no_stop_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_runner, "CLAIM_GRACE", 0.05)
    released, took = given_back(monkeypatch, answered=False)
    assert released == []
    assert took < 5


def test_a_worker_that_is_to_stop_at_once_waits_for_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_runner, "CLAIM_GRACE", 60.0)
    released, took = given_back(monkeypatch, answered=False, begins=True, seconds=0.05)
    assert released == []
    assert took < 5
