"""A worker in this process against the built program: limits, time-outs, refused results, trouble."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from longhaul import (
    AuthenticationError,
    ConfigurationError,
    Context,
    JobFailed,
    Longhaul,
    PermissionDeniedError,
    SyncContext,
    Worker,
)
from program import Server, until


@contextmanager
def serving(worker: Worker, lh: Longhaul) -> Iterator[None]:
    """Runs a worker in a thread of its own until the block is left."""
    thread = threading.Thread(target=lambda: asyncio.run(worker.serve()))
    thread.start()
    try:
        names = set(worker.tasks)
        until(lambda: names <= {kind.kind for kind in lh.kinds()}, 20, "the kinds are not registered")
        yield
    finally:
        worker.stop()
        thread.join(40)
        assert not thread.is_alive(), "the worker has not stopped"


def test_limits_hold_for_two_workers_together_and_hold_back_their_task_alone(server: Server, lh: Longhaul) -> None:
    running, most, starts = 0, 0, []

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
        async def paced() -> None:
            starts.append(time.monotonic())

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
        jobs = lh.submit_many([{"kind": "narrow"}] * 8 + [{"kind": "paced"}] * 5)
        jobs += [lh.submit("keyed", {"customer": {"id": 7}}) for _ in range(3)]
        assert lh.run("free", {}, timeout=5) == 1
        for job in jobs:
            job.wait(30)
        assert [job.get().status for job in stuck].count("queued") == 19
        for job in stuck:
            job.cancel()
    assert most == 2
    starts.sort()
    assert starts[3] - starts[0] >= 0.95, starts


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
        assert [lh.run("square", {"value": value}) for value in (3, 3, 4, 3)] == [9, 9, 16, 9]
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
