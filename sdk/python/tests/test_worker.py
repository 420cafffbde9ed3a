"""A worker in this process against the built program: limits, time-outs, refused results, trouble."""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from longhaul import (
    AuthenticationError,
    ConfigurationError,
    Context,
    JobFailed,
    JobHandle,
    Longhaul,
    PermissionDeniedError,
    SyncContext,
    Worker,
)
from program import Server, serving, until


def test_limits_hold_for_two_workers_together_and_hold_back_their_task_alone(server: Server, lh: Longhaul) -> None:
    running, most = 0, 0

    def made() -> Worker:
        worker = Worker(server.url)

        @worker.task("narrow", concurrency=2)
        async def narrow() -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.05)
            running -= 1

        @worker.task("paced", rate_limit="3/s")
        async def paced() -> None: ...

        @worker.task("keyed", concurrency=1, limit_key="customer.id")
        async def keyed(customer: dict[str, int]) -> None:
            await asyncio.sleep(0.05 if customer["id"] else 30)

        @worker.task("free")
        def free() -> int:
            return 1

        return worker

    one, other = made(), made()
    with serving(one, lh), serving(other, lh):
        stuck = lh.submit_many([{"kind": "keyed", "input": {"customer": {"id": 0}}}] * 20)
        paced = lh.submit_many([{"kind": "paced"}] * 5)
        jobs = [*paced, *lh.submit_many([{"kind": "narrow"}] * 8)]
        jobs += [lh.submit("keyed", {"customer": {"id": 7}}) for _ in range(3)]
        assert lh.run("free", {}, timeout=5) == 1
        for job in jobs:
            job.wait(30)
        assert [job.get().status for job in stuck].count("queued") == 19
        for job in stuck:
            job.cancel()
        # By the server's clock: when a function begins depends on what else this machine does.
        starts = sorted(attempt.started_at for job in paced for attempt in lh.jobs.attempts(job.id))
    assert most == 2
    assert starts[3] - starts[0] >= timedelta(seconds=0.95), starts


def test_a_bound_of_this_process_is_its_own(server: Server, lh: Longhaul) -> None:
    worker = Worker(server.url)
    running, most = 0, 0

    @worker.task("own", process_concurrency=2)
    async def own() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.05)
        running -= 1

    with serving(worker, lh):
        for job in lh.submit_many([{"kind": "own"}] * 8):
            job.wait(30)
    assert most == 2


def test_a_kept_answer_is_given_again_without_running(server: Server, lh: Longhaul) -> None:
    worker = Worker(server.url)
    runs = []

    @worker.task("square", cache_ttl=60)
    def square(value: int) -> int:
        runs.append(value)
        return value * value

    with serving(worker, lh):
        jobs = [lh.submit("square", {"value": value}).wait(20) for value in (3, 3, 4, 3)]
        assert [job.output for job in jobs] == [9, 9, 16, 9]
        assert [job.cached for job in jobs] == [False, True, False, True], "each says whether it was kept"
    assert runs == [3, 4]
    metrics = square.metrics
    assert (metrics.runs, metrics.succeeded, metrics.cached) == (4, 2, 2)


def test_an_attempt_that_takes_too_long_fails_in_a_loop_and_in_a_thread(server: Server, lh: Longhaul) -> None:
    worker = Worker(server.url)

    @worker.task("slow", retries=0, timeout=0.3)
    async def slow() -> None:
        await asyncio.sleep(60)

    @worker.task("deaf", retries=0, timeout=0.3)
    def deaf(ctx: SyncContext) -> None:
        while not ctx.cancelled:
            time.sleep(0.02)

    with serving(worker, lh):
        for kind in ("slow", "deaf"):
            with pytest.raises(JobFailed, match="attempt_timeout"):
                lh.run(kind, {}, timeout=20)


def test_an_attempt_that_is_cut_off_in_a_step_is_ambiguous_and_keeps_its_output(server: Server, lh: Longhaul) -> None:
    worker = Worker(server.url, drain=0.2)

    async def never() -> None:
        await asyncio.sleep(60)

    async def at_once() -> None: ...

    async def broken() -> None:
        raise ValueError("within the step")

    @worker.task("in-a-step", retries=0, timeout=0.5)
    async def in_a_step(ctx: Context) -> None:
        await ctx.stream("its last words")
        await ctx.step("outside", never)

    @worker.task("deaf-in-a-step", retries=0, timeout=0.5)
    def deaf_in_a_step(ctx: SyncContext) -> None:
        ctx.step("outside", lambda: until(lambda: ctx.cancelled, 20, "it is not told"))

    @worker.task("between-steps", retries=0, timeout=0.5)
    async def between_steps(ctx: Context) -> None:
        await ctx.step("outside", at_once)
        await asyncio.sleep(60)

    @worker.task("failing", retries=0)
    async def failing(ctx: Context) -> None:
        await ctx.step("outside", broken)

    @worker.task("stopped")
    async def stopped(ctx: Context) -> None:
        await ctx.step("outside", never)

    def ends(job: str) -> list[tuple[str, bool]]:
        return [(str(attempt.outcome), attempt.ambiguous) for attempt in lh.jobs.attempts(job)]

    with serving(worker, lh):
        jobs = {kind: lh.submit(kind, {}) for kind in worker.tasks}
        for kind in ("in-a-step", "deaf-in-a-step", "between-steps", "failing"):
            with pytest.raises(JobFailed):
                jobs[kind].result(20)
        until(lambda: jobs["stopped"].get().status == "running", 20, "it does not run")
    assert ends(jobs["in-a-step"].id) == [("failed", True)]
    assert ends(jobs["deaf-in-a-step"].id) == [("failed", True)]
    assert ends(jobs["between-steps"].id) == [("failed", False)]
    assert ends(jobs["failing"].id) == [("failed", False)], "what a step raises is known"
    assert ends(jobs["stopped"].id) == [("released", True)]
    assert streamed(lh, jobs["in-a-step"].id) == "its last words"


def test_a_task_that_blocks_the_loop_is_warned_about_and_keeps_its_lease(
    server: Server, lh: Longhaul, caplog: pytest.LogCaptureFixture
) -> None:
    worker = Worker(server.url, lease=5)

    @worker.task("blocking", retries=0)
    async def blocking(ctx: Context) -> int:
        time.sleep(8)
        return ctx.attempt

    with caplog.at_level(logging.WARNING, "longhaul.worker"), serving(worker, lh):
        job = lh.submit("blocking", {}).wait(30)
    assert (job.output, job.attempt) == (1, 1)
    assert "the event loop has not answered" in caplog.text
    assert "blocking" in caplog.text


def test_a_result_of_a_hundred_megabytes_fails_its_job_and_hurts_no_other(server: Server, lh: Longhaul) -> None:
    worker = Worker(server.url)

    @worker.task("large")
    def large(megabytes: int) -> str:
        return "x" * (megabytes << 20)

    with serving(worker, lh):
        huge, fits = lh.submit("large", {"megabytes": 100}), lh.submit("large", {"megabytes": 20})
        with pytest.raises(JobFailed) as failed:
            huge.wait(60)
        assert failed.value.code == "output_too_large"
        assert len(fits.result(60)) == 20 << 20


def test_steps_give_the_same_on_the_first_attempt_as_on_later_ones(server: Server, lh: Longhaul) -> None:
    worker = Worker(server.url)
    seen: list[Any] = []

    @worker.task("stepwise", backoff=(0.001, 0.001))
    async def stepwise(ctx: Context) -> None:
        def plain() -> Any:
            return (1, 2)

        def typed() -> tuple[int, int]:
            return (1, 2)

        seen.append((await ctx.step("plain", plain), await ctx.step("typed", typed), ctx.effect_key("typed")))
        if ctx.attempt == 1:
            raise RuntimeError("once more")

    with serving(worker, lh):
        job = lh.submit("stepwise", {}).wait(30)
    assert seen == [([1, 2], (1, 2), f"{job.job_id}:typed")] * 2


def test_a_task_that_is_cancelled_from_within_fails_and_is_not_run_for_ever(server: Server, lh: Longhaul) -> None:
    worker = Worker(server.url)
    runs = []

    @worker.task("self-cancelling", retries=1, backoff=(0.001, 0.001))
    async def self_cancelling(ctx: Context) -> None:
        runs.append(ctx.attempt)
        inner = asyncio.get_running_loop().create_future()
        inner.cancel("nobody asked for this")
        await inner

    with serving(worker, lh), pytest.raises(JobFailed, match="cancelled from within: nobody asked") as failed:
        lh.run("self-cancelling", {}, timeout=20)
    assert failed.value.code == "task_failed"
    assert runs == [1, 2], "each run is an attempt that counts"


def test_a_job_shows_what_its_task_says_that_it_took(server: Server, lh: Longhaul) -> None:
    worker = Worker(server.url)

    @worker.task("costly", retries=0)
    async def costly(ctx: Context, tokens: int) -> str:
        ctx.used(model="small", input_tokens=tokens, cost_microusd=40)
        ctx.used(output_tokens=2, cost_microusd=2, degraded=True)
        return "done"

    with serving(worker, lh):
        # Together and alone: both ways of handing results in.
        for job in [
            *lh.submit_many([{"kind": "costly", "input": {"tokens": 7}}] * 8),
            lh.submit("costly", {"tokens": 7}),
        ]:
            seen = job.wait(20)
            assert (seen.model, seen.degraded, seen.cached) == ("small", True, False)
            assert (seen.usage.input_tokens, seen.usage.output_tokens, seen.usage.cost_microusd) == (7, 2, 42)
        with pytest.raises(JobFailed, match="less than zero"):
            lh.run("costly", {"tokens": -1}, timeout=20)


def test_what_every_attempt_spent_counts_once(server: Server, lh: Longhaul) -> None:
    worker = Worker(server.url)

    @worker.task("paid", retries=3, backoff=(0.001, 0.001))
    async def paid(ctx: Context) -> str:
        await ctx.step("answer", lambda: ctx.used(input_tokens=1, cost_microusd=10))
        ctx.used(output_tokens=100)
        if ctx.attempt == 1:
            raise RuntimeError("not yet")
        await ctx.ask("Go on?")
        return "done"

    def spent(job: JobHandle) -> tuple[int, int, int]:
        usage = job.get().usage
        return usage.input_tokens, usage.output_tokens, usage.cost_microusd

    with serving(worker, lh):
        job = lh.submit("paid")
        until(lambda: job.get().status_reason == "waiting_input", 20, "it does not ask")
        assert spent(job) == (1, 200, 10), "by the attempt that failed, and by the one that waits"
        job.answer(True)
        job.wait(20)
        assert spent(job) == (1, 300, 10)


def streamed(lh: Longhaul, job_id: str) -> str:
    """The text that followers of a job are shown."""
    events = lh.stream(job_id)
    return "".join(event.data["text"] for event in events if event.type == "job.output.delta")


LONG = 'A "line"\n é 😀 \x01 ' * 12_000
assert len(LONG.encode()) > 200 * 1024


def test_a_text_of_any_length_is_streamed_whole(server: Server, lh: Longhaul) -> None:
    worker = Worker(server.url)

    @worker.task("in-one-piece")
    async def in_one_piece(ctx: Context) -> int:
        await ctx.stream(LONG)
        return len(LONG)

    @worker.task("from-a-thread")
    def from_a_thread(ctx: SyncContext) -> int:
        ctx.stream(LONG)
        return len(LONG)

    @worker.task("too-much", retries=3)
    async def too_much(ctx: Context) -> None:
        await ctx.stream([LONG])

    with serving(worker, lh):
        for kind in ("in-one-piece", "from-a-thread"):
            job = lh.submit(kind, {})
            assert streamed(lh, job.id) == LONG
            assert job.result(20) == len(LONG)
        with pytest.raises(JobFailed, match="stream it in parts") as failed:
            lh.run("too-much", {}, timeout=20)
        assert failed.value.code == "chunk_too_large"


def test_what_is_streamed_while_the_server_is_away_arrives_whole(server: Server, lh: Longhaul) -> None:
    worker = Worker(server.url)
    is_away, goes_on = threading.Event(), threading.Event()
    pieces = [f"{number} " + "y" * 500 for number in range(800)]

    @worker.task("talkative")
    async def talkative(ctx: Context) -> None:
        await ctx.stream("it begins. ")
        goes_on.set()
        while not is_away.is_set():
            await asyncio.sleep(0.01)
        for piece in pieces:
            await ctx.stream(piece)

    with serving(worker, lh):
        job = lh.submit("talkative", {})
        assert goes_on.wait(20)
        server.kill()
        is_away.set()
        time.sleep(1.0)
        server.start()
        assert job.wait(60).attempt == 1
        assert streamed(lh, job.id) == "it begins. " + "".join(pieces)


def test_steps_and_streams_at_once_disturb_each_other_in_nothing(server: Server, lh: Longhaul) -> None:
    worker = Worker(server.url)

    @worker.task("parallel")
    async def parallel(ctx: Context) -> list[int]:
        async def talking(name: str) -> None:
            for number in range(50):
                await ctx.stream({"of": name, "number": number})

        async def stepping(number: int) -> int:
            return await ctx.step(f"step:{number}", lambda: number)

        done = await asyncio.gather(*(talking(name) for name in "abc"), *(stepping(number) for number in range(20)))
        return [one for one in done if one is not None]

    with serving(worker, lh):
        job = lh.submit("parallel", {})
        assert job.result(30) == list(range(20))
        items: list[Any] = []
        for event in job.stream():
            if event.type == "job.output.delta":
                items += event.data["items"]
    for name in "abc":
        assert [item["number"] for item in items if item["of"] == name] == list(range(50))


def test_a_step_used_twice_is_an_error_that_says_so(server: Server, lh: Longhaul) -> None:
    worker = Worker(server.url)

    @worker.task("twice", retries=0)
    def twice(ctx: SyncContext) -> None:
        for _ in range(2):
            ctx.step("same", int)

    with serving(worker, lh), pytest.raises(JobFailed, match="stands for two things"):
        lh.run("twice", {}, timeout=20)


def test_a_worker_whose_key_is_refused_says_so_and_ends(tmp_path: Path) -> None:
    key = "lh_root_0123456789abcdef0123456789abcdef"
    server = Server(tmp_path, env={"LONGHAUL_BOOTSTRAP_KEY": key}).start()
    try:
        import json
        import urllib.request

        body = json.dumps({"name": "reader", "scopes": ["jobs:read"]}).encode()
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        request = urllib.request.Request(f"{server.url}/v1/api_keys", body, headers, method="POST")
        reader = json.load(urllib.request.urlopen(request, timeout=10))["key"]
        for used, error in ((None, AuthenticationError), (reader, PermissionDeniedError)):
            worker = Worker(server.url, used)
            worker.task("mine")(lambda: None)
            with pytest.raises(error):
                asyncio.run(asyncio.wait_for(worker.serve(), 20))
    finally:
        server.stop()


def test_a_plain_function_around_an_async_one_is_awaited(server: Server, lh: Longhaul) -> None:
    worker = Worker(server.url)

    def traced(function: Any) -> Any:
        @functools.wraps(function)
        def calling(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        return calling

    @worker.task("wrapped")
    @traced
    async def wrapped(number: int) -> int:
        await asyncio.sleep(0)
        return number + 1

    @worker.task("wrapped-and-failing", retries=0)
    @traced
    async def wrapped_and_failing() -> None:
        raise ValueError("within")

    @worker.task("wrapped-and-slow", retries=0, timeout=0.3)
    @traced
    async def wrapped_and_slow() -> None:
        await asyncio.sleep(600)

    with serving(worker, lh):
        assert lh.run("wrapped", {"number": 1}, timeout=20) == 2
        for kind, why in (("wrapped-and-failing", "within"), ("wrapped-and-slow", "attempt_timeout")):
            with pytest.raises(JobFailed, match=why):
                lh.run(kind, {}, timeout=20)


def test_a_worker_without_tasks_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no tasks"):
        asyncio.run(Worker().serve())


def test_two_tasks_of_a_kind_run_by_arguments(server: Server, lh: Longhaul) -> None:
    worker = Worker(server.url)

    @worker.task("concat")
    async def concat(first: str, second: str = "!") -> str:
        return first + second

    async def submitted() -> Any:
        return await (await worker.submit(concat, "a", second="b")).result(20)

    with serving(worker, lh):
        assert asyncio.run(concat("x")) == "x!"
        assert asyncio.run(submitted()) == "ab"
