"""An agent: a model that uses tools, with a person's approval before anything that cannot be undone.

    python agent.py serve
    python agent.py "Refund order 17 to Ada"     # prints the job's id
    python agent.py approve job_…

Every turn of the model and every use of a tool is a step: a crash repeats none of them, and waiting for the person
holds no worker, however long it takes. The model here is a stand-in that plans by rules, so that the example runs
without an account; `think` is where yours is called.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from pydantic import BaseModel

from longhaul import Context, Longhaul, Worker

worker = Worker()

TURNS_MOST = 8


class Call(BaseModel):
    """What the model wants done: a tool, or an answer."""

    tool: str | None = None
    arguments: dict[str, Any] = {}
    answer: str | None = None


class Outcome(BaseModel):
    """What the agent comes to."""

    answer: str
    turns: int
    used: list[str]


async def find_order(number: int) -> dict[str, Any]:
    """A tool that only looks."""
    await asyncio.sleep(0.05)
    return {"order": number, "customer": "Ada", "paid_cents": 1900}


async def refund(order: int, cents: int, key: str) -> dict[str, Any]:
    """A tool that cannot be undone. The key lets the payment provider refuse a second one."""
    await asyncio.sleep(0.05)
    return {"refunded_cents": cents, "order": order, "key": key}


TOOLS: dict[str, Callable[..., Awaitable[dict[str, Any]]]] = {"find_order": find_order, "refund": refund}
NEEDS_APPROVAL = {"refund"}


async def think(task: str, seen: list[dict[str, Any]]) -> Call:
    """One turn of the model: what it wants next, given what it has seen."""
    await asyncio.sleep(0.05)
    number = next((int(word) for word in task.split() if word.isdigit()), 0)
    if not seen:
        return Call(tool="find_order", arguments={"number": number})
    if "paid_cents" in seen[-1]:
        return Call(tool="refund", arguments={"order": number, "cents": seen[-1]["paid_cents"]})
    if "refused" in seen[-1]:
        return Call(answer=f"Nothing was refunded: {seen[-1]['refused']}")
    return Call(answer=f"Refunded {seen[-1]['refunded_cents']} cents of order {number}.")


@worker.task("refund-agent", retries=3)
async def agent(ctx: Context, task: str) -> Outcome:
    """Does what is asked, by looking, asking and acting."""
    seen: list[dict[str, Any]] = []
    used: list[str] = []
    for turn in range(TURNS_MOST):
        call = await ctx.step(f"turn:{turn}", think, task, seen)
        if call.tool is None:
            return Outcome(answer=call.answer or "", turns=turn + 1, used=used)
        arguments = dict(call.arguments)
        if call.tool in NEEDS_APPROVAL:
            said = await ctx.ask(f"May I call {call.tool} with {arguments}?", step=f"approval:{turn}")
            if not said.get("approve"):
                seen.append({"refused": said.get("comment", "a person said no")})
                continue
            arguments["key"] = ctx.effect_key(f"tool:{turn}")
        ctx.progress(message=f"using {call.tool}")
        seen.append(await ctx.step(f"tool:{turn}", TOOLS[call.tool], **arguments))
        used.append(call.tool)
    return Outcome(answer="I could not finish this.", turns=TURNS_MOST, used=used)


def main() -> None:
    """A worker, or a client, as the first argument says."""
    if sys.argv[1:] == ["serve"]:
        worker.run()
        return
    with Longhaul() as lh:
        if sys.argv[1] == "approve":
            lh.answer(sys.argv[2], {"approve": True})
            print(lh.job(sys.argv[2]).result()["answer"])
        else:
            print(lh.submit("refund-agent", {"task": sys.argv[1]}).id)


if __name__ == "__main__":
    main()
