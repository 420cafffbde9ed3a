"""Summarises long texts, part by part.

    python summariser.py serve          # a worker; start as many as you like
    python summariser.py a-book.txt     # submits a text and waits

Kill a worker in the middle: the next one goes on with the part that was not done yet.
"""

import asyncio
import sys
import textwrap
from pathlib import Path

from pydantic import BaseModel

from longhaul import AsyncLonghaul, Context, Longhaul, Worker

worker = Worker()
models = AsyncLonghaul()


class Summary(BaseModel):
    """What a text says."""

    summary: str
    parts: int


@worker.task("summarise", retries=3, timeout=600, concurrency=4)
async def summarise(ctx: Context, text: str, part_chars: int = 4000) -> Summary:
    """Summarises a text of any length."""
    parts = textwrap.wrap(text, part_chars, break_long_words=False) or [""]
    summaries = []
    for number, part in enumerate(parts):
        ctx.progress(number / len(parts), f"part {number + 1} of {len(parts)}")
        summaries.append(await ctx.step(f"part:{number}", summary_of, part))
    return Summary(summary="\n\n".join(summaries), parts=len(parts))


async def summary_of(part: str) -> str:
    """One part, by the server's own model; put a call of yours here."""
    answer = await models.process([{"task": "summary", "input": part}])
    summary = answer["results"][0]["output"]
    return summary if isinstance(summary, str) else str(summary["summary"])


def main() -> None:
    """A worker, or a client, as the first argument says."""
    if sys.argv[1:] == ["serve"]:
        worker.run()
        asyncio.run(models.close())
        return
    with Longhaul() as lh:
        job = lh.submit("summarise", {"text": Path(sys.argv[1]).read_text(), "part_chars": 2000})
        print(job.wait().output["summary"])


if __name__ == "__main__":
    main()
