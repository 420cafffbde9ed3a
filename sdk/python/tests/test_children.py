"""What a child that failed does to the job that called it."""

from __future__ import annotations

import pytest

from longhaul import ChildFailed, Context, Fail, JobFailed, Longhaul, SyncContext, Worker
from program import Server, serving


def test_a_child_that_failed_fails_its_parent_once_and_for_good(server: Server, lh: Longhaul) -> None:
    worker = Worker(server.url)

    @worker.task("child", retries=0)
    def child() -> None:
        raise Fail("no_such_page", "it is not there")

    @worker.task("parent", retries=4, backoff=(0.001, 0.001))
    async def parent(ctx: Context) -> None:
        await ctx.call("child", {})

    @worker.task("plain-parent", retries=4, backoff=(0.001, 0.001))
    def plain_parent(ctx: SyncContext) -> None:
        ctx.call("child", {})

    @worker.task("heeding")
    async def heeding(ctx: Context) -> str | None:
        try:
            await ctx.call("child", {})
        except ChildFailed as failed:
            return failed.code
        return "it succeeded"

    @worker.task("asking-for-what-is-no-json", retries=4, backoff=(0.001, 0.001))
    async def asking_for_what_is_no_json(ctx: Context) -> None:
        await ctx.call("child", {"x": float("nan")})

    with serving(worker, lh):
        with pytest.raises(JobFailed, match="JSON has no NaN") as failed:
            lh.run("asking-for-what-is-no-json", {}, timeout=20)
        assert (failed.value.code, failed.value.job.attempt) == ("child_invalid", 1)
        for kind in ("parent", "plain-parent"):
            with pytest.raises(JobFailed, match="it is not there") as failed:
                lh.run(kind, {}, timeout=20)
            assert failed.value.code == "child_failed"
            assert failed.value.job.attempt == 1
        assert lh.run("heeding", {}, timeout=20) == "no_such_page"
