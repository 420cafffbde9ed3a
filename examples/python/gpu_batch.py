"""Gathers single jobs into batches: a GPU does thirty-two inputs in hardly more time than one.

    python gpu_batch.py serve
    python gpu_batch.py "first text" "second text"

The computation here is a stand-in without a GPU: vectors from hashed words. Put your model into `embed_batch`.
"""

import asyncio
import hashlib
import math
import sys

from longhaul import Longhaul, Worker

MOST = 32
DIMENSIONS = 64

worker = Worker()
waiting: asyncio.Queue[tuple[str, asyncio.Future[list[float]]]] = asyncio.Queue()
batches: list[int] = []


# As many at once as fit into a batch: all of them wait for the same computation.
@worker.task("embed", process_concurrency=MOST, queue="gpu")
async def embed(text: str) -> list[float]:
    """The vector of a text."""
    answer: asyncio.Future[list[float]] = asyncio.get_running_loop().create_future()
    await waiting.put((text, answer))
    return await answer


async def compute() -> None:
    """Takes what waits, at most a batch, and computes it in one go beside the event loop."""
    while True:
        batch = [await waiting.get()]
        # What comes within two milliseconds goes with it.
        await asyncio.sleep(0.002)
        while len(batch) < MOST and not waiting.empty():
            batch.append(waiting.get_nowait())
        answers = [answer for _, answer in batch]
        try:
            vectors = await asyncio.to_thread(embed_batch, [text for text, _ in batch])
            done = list(zip(answers, vectors, strict=True))
        except Exception as error:
            # This batch has failed, and its jobs are tried again; the next one may do better.
            for answer in answers:
                if not answer.done():
                    answer.set_exception(RuntimeError(f"the batch of {len(batch)} failed: {error}"))
            continue
        batches.append(len(batch))
        for answer, vector in done:
            # A job may have been cancelled meanwhile.
            if not answer.done():
                answer.set_result(vector)


def embed_batch(texts: list[str]) -> list[list[float]]:
    """Stand-in for a model."""
    vectors = []
    for text in texts:
        vector = [0.0] * DIMENSIONS
        for word in text.lower().split():
            digest = hashlib.blake2b(word.encode(), digest_size=4).digest()
            vector[digest[0] % DIMENSIONS] += 1.0 if digest[1] % 2 else -1.0
        length = math.sqrt(sum(value * value for value in vector)) or 1.0
        vectors.append([value / length for value in vector])
    return vectors


async def serve() -> None:
    """The worker, with the computation beside it: when one of them ends, so does the other."""
    computing = asyncio.create_task(compute())
    serving = asyncio.create_task(worker.serve())
    await asyncio.wait({computing, serving}, return_when=asyncio.FIRST_COMPLETED)
    worker.stop()
    await serving
    if computing.done():
        computing.result()  # raises what it ended by
    computing.cancel()
    print(f"{sum(batches)} texts in {len(batches)} batches")


def main() -> None:
    """A worker, or a client, as the first argument says."""
    if sys.argv[1:] == ["serve"]:
        asyncio.run(serve())
        return
    with Longhaul() as lh:
        jobs = lh.submit_many([{"kind": "embed", "input": {"text": text}} for text in sys.argv[1:]])
        for text, job in zip(sys.argv[1:], jobs, strict=True):
            vector = job.result()
            print(f"{text[:40]!r}: {len(vector)} numbers, {sum(1 for value in vector if value)} not zero")


if __name__ == "__main__":
    main()
