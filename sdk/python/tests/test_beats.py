"""What beats tell of progress when the server does not hear them. The test answers for the network."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from longhaul._transport import Answer
from longhaul.errors import ConnectionFailed
from network import Call, Network, held_by, problem, runner_on, said

HALFWAY = {"fraction": 0.5, "message": "halfway"}


def left_after(status: int | None, monkeypatch: pytest.MonkeyPatch, newer: float | None = None) -> Any:
    """What is left to be told after a beat that was answered so, or not at all; newer progress may come meanwhile."""

    async def play() -> Any:
        def answer(call: Call) -> Answer | None:
            assert call.body == {"progress": HALFWAY}
            if newer is not None:
                attempt.report(newer, None)
            if status is None:
                raise ConnectionFailed("nobody listens")
            return None if status == 200 else said(status, problem(status, "whatever"))

        runner = runner_on(Network(answer), monkeypatch)
        (attempt,) = held_by(runner, 1)
        attempt.report(0.5, "halfway")
        now = time.monotonic()
        await runner._beat_once(attempt, attempt.take_progress(now))
        return attempt.take_progress(now + 60)

    return asyncio.run(play())


@pytest.mark.parametrize("status", [None, 429, 503, 507])
def test_progress_that_was_not_heard_is_told_again(monkeypatch: pytest.MonkeyPatch, status: int | None) -> None:
    assert left_after(status, monkeypatch) == HALFWAY


@pytest.mark.parametrize("status", [None, 503])
def test_progress_that_was_not_heard_gives_way_to_newer(monkeypatch: pytest.MonkeyPatch, status: int | None) -> None:
    assert left_after(status, monkeypatch, newer=0.75) == {"fraction": 0.75, "message": None}


@pytest.mark.parametrize("status", [200, 422])
def test_progress_that_was_heard_or_refused_for_good_is_not_told_again(
    monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    """A beat that is refused for what it tells, again and again, would not keep the lease."""
    assert left_after(status, monkeypatch) is None
