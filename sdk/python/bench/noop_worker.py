"""A worker that does nothing, as fast as it can: for ``longhaul bench workers --command``."""

from typing import Any

from longhaul import Worker

worker = Worker(concurrency=256)


@worker.task("bench.noop")
async def noop(input: Any) -> None:
    """Does nothing."""


if __name__ == "__main__":
    worker.run()
