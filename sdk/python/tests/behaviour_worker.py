"""The worker program of the behaviour suite; its tasks are described in ``tests/behaviour/README.md``."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

from longhaul import ChildFailed, Context, Fail, Worker

worker = Worker(lease=int(os.environ.get("TEST_LEASE", "30")), drain=float(os.environ.get("TEST_DRAIN", "25")))


def effect(line: str) -> None:
    with Path(os.environ["LONGHAUL_EFFECTS"]).open("a") as file:
        file.write(line + "\n")
        file.flush()


@worker.task("test.double")
def double(value: int) -> int:
    return value * 2


@worker.task("test.fail", backoff=(0.001, 0.001))
async def fail(ctx: Context, times: int, retryable: bool) -> int:
    if ctx.attempt <= times:
        raise Fail("told_to", f"attempt {ctx.attempt} of {times}", retryable=retryable)
    return ctx.attempt


@worker.task("test.progress")
async def progress(ctx: Context, parts: int) -> int:
    for part in range(1, parts + 1):
        ctx.progress(part / parts, f"part {part}")
        await asyncio.sleep(0.6)
    return parts


@worker.task("test.steps")
async def steps(ctx: Context, names: list[str], die_after: str | None = None) -> list[int]:
    def one(name: str) -> int:
        effect(f"{name} {ctx.attempt}")
        return ctx.attempt

    done = []
    for name in names:
        done.append(await ctx.step(name, one, name))
        if name == die_after and ctx.attempt == 1:
            os.kill(os.getpid(), signal.SIGKILL)
    return done


@worker.task("test.sleep")
async def sleep(ctx: Context, seconds: float) -> int:
    effect(f"began {ctx.attempt}")
    await asyncio.sleep(seconds)
    effect(f"ended {ctx.attempt}")
    return ctx.attempt


@worker.task("test.stream")
async def stream(ctx: Context, pieces: list[str], pause_s: float) -> str:
    for piece in pieces:
        await ctx.stream(piece)
        await asyncio.sleep(pause_s)
    return "".join(pieces)


@worker.task("test.ask")
async def ask(ctx: Context, question: str) -> Any:
    await ctx.step("before", effect, f"before {ctx.attempt}")
    return await ctx.ask(question)


@worker.task("test.call")
async def call(ctx: Context, kind: str, inputs: list[Any]) -> list[Any]:
    given = await ctx.gather(*((kind, input) for input in inputs), return_exceptions=True)
    return [one.code if isinstance(one, ChildFailed) else one for one in given]


@worker.task("test.wrong")
def wrong() -> int:
    return "a text"  # type: ignore[return-value]


if __name__ == "__main__":
    print(os.getpid(), file=sys.stderr)
    worker.run()
