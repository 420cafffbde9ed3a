"""A plain function of the OpenAI SDK, made durable by one decorator.

    export OPENAI_API_KEY=…
    python durable_openai.py serve
    python durable_openai.py "Why is the sky blue?"

The function below is what one writes without Longhaul. With the decorator a call is a job: it survives a crash of this
process, is tried again after a 429 when the provider said to come back (not after a 401 or a 400), keeps to a rate, and
its answer is kept for an hour.
"""

import sys

from openai import AsyncOpenAI

from longhaul import Longhaul, Worker

worker = Worker()


@worker.task("ask", retries=5, timeout=120, rate_limit="100/min", cache_ttl=3600)
async def ask(question: str, model: str = "gpt-4o-mini") -> str:
    """Answers a question."""
    # Retries are the job's: the SDK's own would multiply them.
    async with AsyncOpenAI(max_retries=0) as openai:
        answer = await openai.chat.completions.create(model=model, messages=[{"role": "user", "content": question}])
    return answer.choices[0].message.content or ""


def main() -> None:
    """A worker, or a client, as the first argument says."""
    if sys.argv[1:] == ["serve"]:
        worker.run()
        return
    with Longhaul() as lh:
        print(lh.run("ask", {"question": sys.argv[1]}))


if __name__ == "__main__":
    main()
