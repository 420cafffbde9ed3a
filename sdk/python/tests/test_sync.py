"""The synchronous client where its thread is not there, is to go away, or is the one that cleans up."""

from __future__ import annotations

import gc
import multiprocessing
import threading
from collections.abc import Callable
from typing import Any

import pytest

from longhaul import ConnectionFailed, Longhaul
from longhaul.models import Event
from program import until


def in_a_fork(work: Callable[[], Any]) -> Any:
    """What a forked process gives."""
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()

    def child() -> None:
        try:
            answers.put(work())
        except BaseException as error:
            answers.put(f"{type(error).__name__}: {error}")

    process = context.Process(target=child)
    process.start()
    process.join(30)
    try:
        assert process.exitcode == 0, "it hangs"
        return answers.get()
    finally:
        process.kill()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_client_that_was_used_before_a_fork_is_used_on_both_sides_of_it(lh: Longhaul) -> None:
    assert lh.run("echo", 1, timeout=20) == 1
    stream: Any = lh.stream(lh.submit("echo", 2, delay=3600))
    next(stream)
    before = lh._io

    def child() -> Any:
        said = lh.run("echo", 3, timeout=20)
        stream.close()
        return said

    lh._starting.acquire()
    try:
        # Another thread may hold the lock when it comes to a fork.
        assert in_a_fork(child) == 3
    finally:
        lh._starting.release()
    assert lh.run("echo", 4, timeout=20) == 4
    assert lh._io is before
    stream.close()


def test_calls_that_are_under_way_end_when_the_client_is_closed(server: Any) -> None:
    lh = Longhaul(server.url)
    job = lh.submit("echo", 1, delay=3600)
    begun, errors = threading.Semaphore(0), []

    def following() -> None:
        for _ in job.stream():
            begun.release()

    def waiting() -> None:
        begun.release()
        job.wait()

    def ending(work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=ending, args=(work,), daemon=True) for work in (following, waiting)]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert begun.acquire(timeout=20)
    lh.close()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    assert [type(error) for error in errors] == [ConnectionFailed] * 2
    assert lh.run("echo", 2, timeout=20) == 2, "it begins anew, as before"
    lh.close()


def test_an_iterator_that_is_collected_in_the_clients_own_thread_blocks_nothing(lh: Longhaul) -> None:
    job = lh.submit("echo", 1, delay=3600)
    events: list[Any] = [job.stream()]
    assert isinstance(next(events[0]), Event)
    # In a cycle, which is collected where it comes to that.
    events.append(events)

    async def collecting() -> None:
        gc.collect()

    gc.disable()
    try:
        del events
        io = lh._thread()
        io.start(collecting()).result(20)
    finally:
        gc.enable()
    assert lh.run("echo", 2, timeout=20) == 2
    until(lambda: not lh._client._transport._in_use, 20, "the stream is not closed")
