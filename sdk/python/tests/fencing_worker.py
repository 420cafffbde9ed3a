"""A worker whose task tells its lease, then takes its time: for ``test_fencing.py``."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from longhaul import Context, Worker

worker = Worker(lease=5, name=os.environ["TEST_NAME"], concurrency=1)


@worker.task("test.fenced")
async def fenced(ctx: Context) -> str:
    with Path(os.environ["LONGHAUL_EFFECTS"]).open("a") as file:
        file.write(f"{ctx.job_id} {worker.name} {ctx._attempt.lease}\n")
    if worker.name.startswith("victim"):
        # Long enough to be stopped in here; over at once when it goes on, since time has passed meanwhile.
        await asyncio.sleep(3.0)
    return worker.name


if __name__ == "__main__":
    worker.run()
