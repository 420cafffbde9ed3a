"""How attempts end when the server does not take it at once: no server, a network that the test answers for."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from longhaul import Worker
from longhaul._transport import Answer
from longhaul.errors import ConnectionFailed
from longhaul.worker._attempt import Attempt, failure_json
from longhaul.worker._context import USED_MOST
from longhaul.worker._runner import Runner
from network import Call, Network, ended, held_by, problem, runner_on, said, until

BODIES = {"complete": b"1", "fail": failure_json("late", "too late", True, None), "release": b""}
"""What an attempt says with each of its ends."""


def usage_in(body: Any) -> Any:
    """What a call says that was spent."""
    said = body or {}
    return said.get("report", said).get("usage")


def hand_in_three(answer: Any, monkeypatch: pytest.MonkeyPatch, streams: bool = False) -> Network:
    """Three results that are handed in together."""
    network = Network(answer)

    async def play() -> None:
        runner = runner_on(network, monkeypatch)
        await runner._begin()
        attempts = held_by(runner, 3)
        if streams:
            await attempts[1].stream_io("its last words")
        for number, attempt in enumerate(attempts, 1):
            runner.end(attempt, "complete", b"%d" % number)
        await until(lambda: not runner.held)
        await ended(runner)

    asyncio.run(play())
    return network


@pytest.mark.parametrize(
    ("status", "code"),
    [(507, "storage_full"), (503, "store_unavailable"), (503, "overloaded"), (429, "rate_limited")],
)
def test_a_result_that_the_server_cannot_take_just_then_is_handed_in_again(
    monkeypatch: pytest.MonkeyPatch, status: int, code: str
) -> None:
    """Two refused out of three, then one out of two, then none."""

    def answer(call: Call) -> Answer | None:
        if call.path != "/v1/worker/complete":
            return None
        results: list[Any] = [{"job_id": job["job_id"], "status": "succeeded"} for job in call.body["jobs"]]
        for place in range(1, len(results)):
            results[place] = {"job_id": results[place]["job_id"], "problem": problem(status, code)}
        return said(200, {"results": results})

    network = hand_in_three(answer, monkeypatch)
    batches = [[job["output"] for job in call.body["jobs"]] for call in network.calls if call.verb == "complete"]
    assert batches == [[1, 2, 3], [2, 3], [3]]
    assert network.of("fail") == [], "no correct result is thrown away"


@pytest.mark.parametrize(("status", "code"), [(422, "output_invalid"), (413, "output_too_large")])
def test_a_result_that_does_not_fit_fails_its_job_alone_and_for_good(
    monkeypatch: pytest.MonkeyPatch, status: int, code: str
) -> None:
    def answer(call: Call) -> Answer | None:
        if call.path != "/v1/worker/complete":
            return None
        results: list[Any] = [{"job_id": job["job_id"], "status": "succeeded"} for job in call.body["jobs"]]
        results[1] = {"job_id": "job_2", "problem": problem(status, "invalid_request")}
        return said(200, {"results": results})

    network = hand_in_three(answer, monkeypatch)
    (failed,) = [call for call in network.calls if call.verb == "fail"]
    assert failed.path == "/v1/worker/jobs/job_2/fail"
    assert (failed.body["error"]["code"], failed.body["retryable"]) == (code, False)


def test_a_key_that_is_not_taken_any_more_fails_no_job(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "longhaul.worker"):
        network = hand_in_three(
            lambda call: said(401, problem(401, "unauthorized")) if call.verb == "complete" else None, monkeypatch
        )
    assert network.of("fail") == []
    assert sum("runs again" in record.message for record in caplog.records) == 3


def test_output_comes_before_the_end_also_when_results_go_together(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(call: Call) -> Answer | None:
        if call.path != "/v1/worker/complete":
            return None
        return said(200, {"results": [{"job_id": job["job_id"]} for job in call.body["jobs"]]})

    network = hand_in_three(answer, monkeypatch, streams=True)
    verbs = [call.verb for call in network.calls if call.verb in ("output", "complete")]
    assert verbs == ["output", "complete"]
    assert network.of("output") == [{"chunk_seq": 1, "data": "its last words"}]


@pytest.mark.parametrize(
    ("why", "verb"), [("is_timed_out", "fail"), ("is_released", "release"), ("is_cancelled", "release")]
)
def test_an_attempt_that_ends_while_the_server_is_away_says_so_when_it_is_back(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, why: str, verb: str
) -> None:
    """It streams, nobody listens, and then it is told to stop: its lease holds all the same."""
    is_away = True
    taken: list[tuple[str, Any]] = []

    def answer(call: Call) -> Answer | None:
        if call.verb in ("output", "fail", "release"):
            if is_away:
                raise ConnectionFailed("nobody listens")
            said = call.body or {}
            taken.append((call.verb, said["error"]["code"] if call.verb == "fail" else said.get("data")))
        return None

    async def play() -> None:
        nonlocal is_away
        network = Network(answer)
        runner = runner_on(network, monkeypatch)
        await runner._begin()
        (attempt,) = held_by(runner, 1)
        attempt.timeout = 5.0
        await attempt.stream_io("its last words")
        streaming = attempt._output._sending
        assert streaming is not None
        await until(lambda: network.of("output"))
        setattr(attempt, why, True)
        await until(streaming.done)
        tried = len(network.of("output")) + len(network.of(verb))
        Worker("http://127.0.0.1:1")._end_badly(runner, attempt, asyncio.CancelledError())
        # As a shutdown does for whatever it has told to stop.
        runner.end(attempt, "release")
        await until(lambda: len(network.of("output")) + len(network.of(verb)) > tried + 1 or not runner.held)
        is_away = False
        await until(lambda: not runner.held)
        await ended(runner)

    with caplog.at_level(logging.WARNING, "longhaul.worker"):
        asyncio.run(play())
    # What is given back is streamed anew by whoever goes on with it; what has failed keeps its last words.
    before = [("output", "its last words")] if verb == "fail" else []
    assert taken == [*before, (verb, "attempt_timeout" if verb == "fail" else None)], "once, and not dropped"
    assert "lost" not in caplog.text


def test_the_end_of_a_lease_that_is_lost_meanwhile_is_not_tried_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(call: Call) -> Answer | None:
        if call.verb == "fail":
            raise ConnectionFailed("nobody listens")
        return None

    async def play() -> None:
        network = Network(answer)
        runner = runner_on(network, monkeypatch)
        await runner._begin()
        (attempt,) = held_by(runner, 1)
        runner.end(attempt, "fail", b"{}")
        await until(lambda: len(network.of("fail")) > 1)
        runner.lose(attempt)
        await until(lambda: len(runner._outbox) == 0)
        await ended(runner)

    asyncio.run(play())


@pytest.mark.parametrize("verb", ["fail", "release", "complete"])
@pytest.mark.parametrize(
    ("checkpoint", "tokens"), [("cut off", 7), ("still under way", 7), ("refused", 7), ("stored", None)]
)
def test_an_end_tells_what_a_step_cost_that_may_not_be_stored(
    monkeypatch: pytest.MonkeyPatch, checkpoint: str, tokens: int | None, verb: str
) -> None:
    def answer(call: Call) -> Answer | None:
        if call.verb != "checkpoint" or checkpoint == "stored":
            return None
        if checkpoint == "refused":
            return said(422, problem(422, "invalid_request"))
        raise ConnectionFailed("the answer is lost")

    async def play() -> Network:
        network = Network(answer)
        runner = runner_on(network, monkeypatch)
        await runner._begin()
        (attempt,) = held_by(runner, 1)
        attempt.say({}, {"input_tokens": 7})
        storing = asyncio.ensure_future(attempt.checkpoint_io("paid", b"1"))
        await until(lambda: network.of("checkpoint"))
        if checkpoint == "cut off":
            storing.cancel()
        if checkpoint != "still under way":
            await asyncio.wait({storing})
        runner.end(attempt, verb, BODIES[verb])
        await until(lambda: not runner.held)
        storing.cancel()
        await asyncio.wait({storing})
        await ended(runner)
        return network

    network = asyncio.run(play())
    assert network.of("checkpoint")[0] == {"step": "paid", "output": 1, "usage": {"input_tokens": 7}}
    (body,) = network.of(verb)
    assert usage_in(body) == (None if tokens is None else {"input_tokens": tokens})


def test_steps_that_wait_for_the_server_together_tell_each_figure_once(monkeypatch: pytest.MonkeyPatch) -> None:
    is_away = True

    def answer(call: Call) -> Answer | None:
        if is_away:
            raise ConnectionFailed("nobody listens")
        return None

    async def play() -> Network:
        nonlocal is_away
        network = Network(answer)
        (attempt,) = held_by(runner_on(network, monkeypatch), 1)
        storing = []
        for step, tokens in (("first", 7), ("second", 1)):
            attempt.say({}, {"input_tokens": tokens})
            storing.append(asyncio.ensure_future(attempt.checkpoint_io(step, b"1")))
            await until(lambda: len({body["step"] for body in network.of("checkpoint")}) == len(storing))
        is_away = False
        await asyncio.gather(*storing)
        assert attempt.remark == {}
        return network

    bodies = asyncio.run(play()).of("checkpoint")
    told = {(body["step"], body["usage"]["input_tokens"]) for body in bodies}
    assert told == {("first", 7), ("second", 1)}


@contextlib.asynccontextmanager
async def one_attempt(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Network, Runner, Attempt]]:
    """An attempt at work, with a server that takes everything at once."""
    network = Network(lambda _: None)
    runner = runner_on(network, monkeypatch)
    await runner._begin()
    (attempt,) = held_by(runner, 1)
    yield network, runner, attempt
    await ended(runner)


@pytest.mark.parametrize("verb", ["fail", "release"])
def test_an_end_says_how_the_attempt_stands_when_it_is_sent(monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    """A thread goes on after its time was up: what it spends until then is told."""

    async def play() -> Network:
        async with one_attempt(monkeypatch) as (network, runner, attempt):
            with attempt.in_step():
                runner.end(attempt, verb, BODIES[verb])
                attempt.say({}, {"cost_microusd": 3})
                await until(lambda: not runner.held)
            return network

    (body,) = asyncio.run(play()).of(verb)
    assert body == {**json.loads(BODIES[verb] or b"{}"), "ambiguous": True, "usage": {"cost_microusd": 3}}


@pytest.mark.parametrize("verb", ["fail", "release", "complete"])
def test_an_end_tells_no_more_than_the_server_takes(monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    async def play() -> Network:
        async with one_attempt(monkeypatch) as (network, runner, attempt):
            for _ in range(2):
                attempt.say({}, {"input_tokens": USED_MOST, "output_tokens": 1})
            runner.end(attempt, verb, BODIES[verb])
            await until(lambda: not runner.held)
            return network

    (body,) = asyncio.run(play()).of(verb)
    assert usage_in(body) == {"input_tokens": USED_MOST, "output_tokens": 2}


def test_a_failure_can_always_be_told() -> None:
    """Whatever a program puts into it: file names that do not decode, no number, an eternity."""
    body = json.loads(failure_json("mit Leer\ud800", "caf\udce9", True, float("inf")))
    assert body["error"] == {"code": "mit_Leer_", "message": "caf?"}
    assert body["retry_after_ms"] == 365 * 86_400_000
    assert "retry_after_ms" not in json.loads(failure_json("a", "b", True, float("nan")))
    assert json.loads(failure_json("a", "b", True, -1.0))["retry_after_ms"] == 0
