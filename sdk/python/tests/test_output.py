"""Streamed output on its way to the server: how it is cut, that it is whole, that it is sent once."""

from __future__ import annotations

import asyncio
import json
import logging
import random
from datetime import datetime, timezone
from typing import Any

import pytest

from longhaul import Fail
from longhaul.errors import APIError, InvalidRequestError
from longhaul.worker._output import ITEM_MOST, TEXT_MOST, UNSENT_BYTES, Output

ALPHABET = 'abc \n"\\\x01\x1fé€😀 '


class Taker:
    """What takes chunks, as the server does: a repeat is ignored, a gap and what is too large is refused."""

    def __init__(self) -> None:
        self.chunks: list[Any] = []
        self.calls: list[bytes] = []
        self.at_once = 0
        self.is_open = asyncio.Event()
        self.is_open.set()
        self.refuses: set[str] = set()

    async def __call__(self, body: bytes) -> None:
        self.calls.append(body)
        self.at_once += 1
        try:
            assert self.at_once == 1, "one call is under way at a time"
            await asyncio.sleep(0)
            said = json.loads(body)
            if len(body) - len('{"chunk_seq":,"data":}') - len(str(said["chunk_seq"])) > ITEM_MOST:
                raise InvalidRequestError(422, {"detail": "too long"})
            if isinstance(said["data"], str) and said["data"] in self.refuses:
                raise InvalidRequestError(422, {"detail": f"no {said['data']}"})
            assert said["chunk_seq"] <= len(self.chunks) + 1, "a gap"
            if said["chunk_seq"] == len(self.chunks) + 1:
                self.chunks.append(said["data"])
            await self.is_open.wait()
        finally:
            self.at_once -= 1

    def output(self) -> Output:
        return Output(self, logging.getLogger("test"), "job_1")

    @property
    def text(self) -> str:
        return "".join(self.chunks)


@pytest.mark.parametrize("characters", ["a", "\x01", "😀", ALPHABET])
def test_a_text_of_any_length_arrives_whole_in_chunks_that_are_taken(characters: str) -> None:
    dice = random.Random(7)
    text = "".join(dice.choice(characters) for _ in range(200 * 1024))

    async def play() -> None:
        taker = Taker()
        output = taker.output()
        await output.take(text)
        await output.flush()
        assert taker.text == text
        assert output.is_empty
        sizes = [len(json.dumps(chunk, ensure_ascii=False)) for chunk in taker.chunks[:-1]]
        if characters == "a":
            assert min(sizes) > TEXT_MOST // 2, "what fits together goes together"

    asyncio.run(play())


def test_what_gathers_while_the_server_is_away_arrives_in_order() -> None:
    pieces = [f"{number}:" + "x" * 900 for number in range(1_000)]

    async def play() -> None:
        taker = Taker()
        taker.is_open.clear()
        output = taker.output()

        async def streaming() -> None:
            for piece in pieces:
                await output.take(piece)

        task = asyncio.create_task(streaming())
        await asyncio.sleep(0.1)
        assert not task.done(), "it waits when too much is unsent"
        assert output._unsent_bytes < UNSENT_BYTES + 1_000
        taker.is_open.set()
        await task
        await output.flush()
        assert taker.text == "".join(pieces)

    asyncio.run(play())


def test_streams_and_flushes_at_once_send_one_chunk_after_the_other() -> None:
    async def play() -> None:
        taker = Taker()
        output = taker.output()

        async def one(name: str) -> None:
            for number in range(200):
                await output.take({"of": name, "number": number})
                if number % 7 == 0:
                    await output.flush()

        await asyncio.gather(*(one(name) for name in "abcd"))
        await output.flush()
        for name in "abcd":
            assert [chunk["number"] for chunk in taker.chunks if chunk["of"] == name] == list(range(200))

    asyncio.run(play())


def test_a_call_that_was_cancelled_is_repeated_as_it_was() -> None:
    """It may have arrived: another text under its number would be taken for a repeat, and be lost."""

    async def play() -> None:
        taker = Taker()
        taker.is_open.clear()
        output = taker.output()
        await output.take("one ")
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(output.flush(), 0.01)
        await output.take("two")
        taker.is_open.set()
        await output.flush()
        assert taker.chunks == ["one ", "two"]
        assert taker.calls[0] == taker.calls[1]

    asyncio.run(play())


def test_a_refusal_is_told_once_and_what_follows_goes_on_under_its_number() -> None:
    async def play() -> None:
        taker = Taker()
        taker.refuses.add("bad")
        output = taker.output()
        await output.take([1])
        await output.flush()
        await output.take("bad")
        # It is sent in the background, so the next to come hears of it.
        for _ in range(200):
            if output.is_empty:
                break
            await asyncio.sleep(0.005)
        with pytest.raises(APIError, match="no bad"):
            await output.take("lost")
        await output.take("good")
        await output.flush()
        assert taker.chunks == [[1], "good"]

    asyncio.run(play())


def test_one_item_that_is_too_large_is_refused_with_what_to_do() -> None:
    async def play() -> None:
        taker = Taker()
        output = taker.output()
        await output.take(["x" * (ITEM_MOST - 4)])
        with pytest.raises(Fail, match=r"65537 bytes.*in parts") as refused:
            await output.take(["x" * (ITEM_MOST - 3)])
        assert (refused.value.code, refused.value.retryable) == ("chunk_too_large", False)
        await output.flush()
        assert len(taker.chunks) == 1

    asyncio.run(play())


def test_an_object_is_streamed_as_it_was_when_it_was_streamed() -> None:
    async def play() -> None:
        taker = Taker()
        output = taker.output()
        state = {"page": 1}
        await output.take(state)
        state["page"] = 2
        await output.take(state)
        await output.take(datetime(2026, 1, 2, tzinfo=timezone.utc))
        await output.take("")
        await output.take(" it was")
        await output.flush()
        assert taker.chunks == [{"page": 1}, {"page": 2}, "2026-01-02T00:00:00Z it was"]

    asyncio.run(play())
