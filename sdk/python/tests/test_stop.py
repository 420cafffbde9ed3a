"""How a worker's process ends: in time, whatever its tasks' threads still do, and with nobody else's work cut off."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from pathlib import Path

import pytest

from longhaul import Longhaul
from longhaul.worker._pool import IN_TASK, LoopThreads
from program import Server, WorkerProcess, until

PROGRAM = """
import asyncio, time
from longhaul import SyncContext, Worker

worker = Worker(drain=0.5)

@worker.task("in-a-thread-of-the-loop")
async def in_a_thread_of_the_loop() -> None:
    await asyncio.to_thread(time.sleep, 600)

@worker.task("plain")
def plain() -> None:
    time.sleep(600)

async def serve() -> None:
    others = asyncio.create_task(asyncio.to_thread(saving))
    await asyncio.sleep(0)
    await worker.serve()

def saving() -> None:
    time.sleep(3)
    print("saved", flush=True)

if __SERVE__:
    asyncio.run(serve())
else:
    worker.run()
"""


@pytest.mark.parametrize("serves", [False, True], ids=["run", "serve in a loop of the program's own"])
def test_a_process_ends_though_a_thread_of_a_task_does_not(
    server: Server, lh: Longhaul, tmp_path: Path, serves: bool
) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.replace("__SERVE__", str(serves)))
    worker = WorkerProcess(tmp_path, "stuck", program, server.url)
    try:
        until(lambda: any(kind.kind == "plain" for kind in lh.kinds()), 30, "it does not serve")
        jobs = [lh.submit(kind, {}) for kind in ("in-a-thread-of-the-loop", "plain")]
        until(lambda: [job.get().status for job in jobs] == ["running"] * 2, 20, "they do not run")
        worker.signal(signal.SIGTERM)
        assert worker.ended(20) == 0, worker.log.read_text()
    finally:
        worker.end()
    for job in jobs:
        assert job.get().status == "queued", "it was given back"
        assert [attempt.outcome for attempt in lh.jobs.attempts(job.id)] == ["released"]
    if serves:
        assert "saved" in worker.log.read_text(), "what is no task's is finished first"


def test_a_loop_does_not_wait_for_threads_of_tasks_but_for_all_others() -> None:
    never, done = threading.Event(), []

    def other() -> None:
        time.sleep(0.2)
        done.append("other")

    async def play() -> None:
        asyncio.get_running_loop().set_default_executor(LoopThreads())

        async def task() -> None:
            IN_TASK.set(True)
            assert await asyncio.to_thread(lambda: 7) == 7
            with pytest.raises(ValueError, match="within"):
                await asyncio.to_thread(int, "what went wrong within")
            await asyncio.to_thread(never.wait)

        running = asyncio.create_task(task())
        beside = asyncio.create_task(asyncio.to_thread(other))
        await asyncio.sleep(0.1)
        assert not running.done() and not beside.done()

    began = time.monotonic()
    asyncio.run(play())
    assert done == ["other"]
    assert time.monotonic() - began < 5
    never.set()
