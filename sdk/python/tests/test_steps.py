"""Steps whose name or output the server would not take: their work is done once at most, not once an attempt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, computed_field

from longhaul import Context, JobFailed, Longhaul, SyncContext, Worker
from program import Server, serving


class Box(BaseModel):
    """What is written has a field that is not read."""

    model_config = ConfigDict(extra="forbid")
    width: int

    @computed_field  # type: ignore[prop-decorator]
    @property
    def area(self) -> int:
        return self.width**2


def no_number() -> float:
    return float("nan")


def box() -> Box:
    return Box(width=2)


def nested() -> Any:
    value: Any = 1
    for _ in range(70):
        value = [value]
    return value


OUTPUTS: dict[str, Callable[[], Any]] = {
    "an object": object,
    "half a character": lambda: "\ud800",
    "deeper than the server takes": nested,
    "larger than the server takes": lambda: "x" * (40 << 20),
    "no number": no_number,
    "a model that does not read what it writes": box,
}


def in_both_ways(worker: Worker, step: str, work: Callable[[str], Callable[[], Any]]) -> None:
    """Two kinds that do one step, each what ``work`` gives for its name: an async function and a plain one."""

    @worker.task("in-a-loop", retries=2, backoff=(0.001, 0.001))
    async def in_a_loop(ctx: Context) -> None:
        await ctx.step(step, work("in-a-loop"))

    @worker.task("in-a-thread", retries=2, backoff=(0.001, 0.001))
    def in_a_thread(ctx: SyncContext) -> None:
        ctx.step(step, work("in-a-thread"))


@pytest.mark.parametrize("output", OUTPUTS)
def test_an_output_that_cannot_be_stored_or_read_back_fails_its_job_once(
    server: Server, lh: Longhaul, output: str
) -> None:
    worker = Worker(server.url)
    done: list[str] = []

    def effect(kind: str) -> Callable[[], Any]:
        work = OUTPUTS[output]

        def doing() -> Any:
            done.append(kind)
            return work()

        doing.__annotations__ = getattr(work, "__annotations__", {})
        return doing

    in_both_ways(worker, "effect", effect)
    with serving(worker, lh):
        for kind in worker.tasks:
            with pytest.raises(JobFailed) as failed:
                lh.run(kind, {}, timeout=60)
            assert failed.value.code == "step_output_invalid"
            assert "'effect'" in str(failed.value)
    assert done == ["in-a-loop", "in-a-thread"]


@pytest.mark.parametrize("name", ["mail to:anna", "mail:anna@example.com", "", "x" * 201, "käse"])
def test_a_name_that_the_server_would_refuse_is_refused_before_the_work(
    server: Server, lh: Longhaul, name: str
) -> None:
    worker = Worker(server.url)
    done: list[str] = []

    in_both_ways(worker, name, lambda _: lambda: done.append(name))

    @worker.task("asking")
    async def asking(ctx: Context) -> None:
        await ctx.ask("May I?", step=name)

    @worker.task("calling")
    async def calling(ctx: Context) -> None:
        await ctx.gather(("echo", 1), step=name)

    with serving(worker, lh):
        for kind in worker.tasks:
            with pytest.raises(JobFailed, match="letters, digits") as failed:
                lh.run(kind, {}, timeout=20)
            assert failed.value.code == "step_name_invalid"
            assert failed.value.job.attempt == 1
    assert done == []


@pytest.mark.parametrize("name", ["x" * 200, "a-b_c.d:e/F9"])
def test_a_name_that_the_server_takes_is_taken(server: Server, lh: Longhaul, name: str) -> None:
    worker = Worker(server.url)

    @worker.task("stepping", retries=0)
    async def stepping(ctx: Context) -> int:
        return await ctx.step(name, lambda: 7)

    with serving(worker, lh):
        assert lh.run("stepping", {}, timeout=20) == 7
