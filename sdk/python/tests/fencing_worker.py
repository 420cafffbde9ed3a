"""A worker whose task tells its lease, then takes its time: for ``test_fencing.py``."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

from longhaul import Context, Worker

worker = Worker(lease=5, name=os.environ["TEST_NAME"], concurrency=1)


@worker.task("test.fenced")
async def fenced(ctx: Context) -> str:
    with Path(os.environ["LONGHAUL_EFFECTS"]).open("a") as file:
        file.write(f"{ctx.job_id} {worker.name} {ctx._attempt.lease}\n")
    if worker.name.startswith("victim"):
        # It is stopped in here, and comes back when it goes on.
        continued = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGCONT, continued.set)
        await continued.wait()
    return worker.name


if __name__ == "__main__":
    worker.run()
