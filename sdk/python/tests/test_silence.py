"""Connections that have died without a word, while the server is there for whoever comes anew."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from longhaul._settings import Settings
from longhaul._transport import Transport
from longhaul.errors import ConnectionFailed
from network import ALIVE, held_by, patient_runner_on


class Host:
    """A server on the loopback: connections that were there when it froze are read, and never answered."""

    def __init__(self) -> None:
        self.url = ""
        self.connections = 0
        self.frozen = 0
        self.answered: list[str] = []
        self._together = 0

    def freeze(self) -> None:
        self.frozen = self.connections

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = self.connections
        while line := await reader.readline():
            length = 0
            while (header := await reader.readline()).strip():
                name, _, value = header.decode().partition(":")
                if name.lower() == "content-length":
                    length = int(value)
            await reader.readexactly(length)
            path = line.decode().split()[1]
            if path == "/together":
                await self.arrived()
            if number <= self.frozen:
                continue
            self.answered.append(path)
            body = json.dumps(ALIVE).encode()
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
        writer.close()

    async def arrived(self) -> None:
        """Answers three at once, so that each has a connection of its own."""
        self._together += 1
        while self._together < 3:
            await asyncio.sleep(0.001)


@asynccontextmanager
async def frozen_with_three() -> AsyncIterator[tuple[Host, Transport]]:
    """A transport that keeps three connections, all of which are dead."""
    host = Host()
    listener = await asyncio.start_server(host.serve, "127.0.0.1", 0)
    transport = Transport(Settings.resolve(f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}", None))
    try:
        await asyncio.gather(*(transport.once("GET", "/together") for _ in range(3)))
        assert host.connections == 3
        host.freeze()
        yield host, transport
    finally:
        await transport.close()
        listener.close()


def test_after_a_connection_that_says_nothing_new_ones_are_made() -> None:
    async def play() -> None:
        async with frozen_with_three() as (host, transport):
            waiting = asyncio.ensure_future(transport.once("GET", "/claim"))
            with pytest.raises(ConnectionFailed) as silent:
                await transport.once("GET", "/silent", within=0.2)
            assert (silent.value.is_silence, silent.value.may_have_arrived) == (True, True)
            began = time.monotonic()
            for _ in range(3):
                await transport.once("GET", "/again")
            assert time.monotonic() - began < 5, "the other two are not tried"
            assert host.connections == 4
            assert not waiting.done(), "what is under way is left alone"
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            assert len(transport._in_use) == 0

    asyncio.run(play())


def test_a_lease_is_renewed_over_a_new_connection_when_a_beat_is_not_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    async def play() -> None:
        async with frozen_with_three() as (host, transport):
            runner = patient_runner_on(transport, monkeypatch)
            runner._lease = 2
            (attempt,) = held_by(runner, 1)
            began = attempt.renewed
            await runner._beat_once(attempt, None)
            assert host.answered[-1] == "/v1/worker/jobs/job_1/heartbeat"
            assert began + 0.5 <= attempt.renewed < began + runner._lease

    asyncio.run(play())
