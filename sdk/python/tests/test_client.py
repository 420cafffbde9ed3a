"""The client against the built program."""

from __future__ import annotations

import asyncio
import io
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from longhaul import (
    AsyncLonghaul,
    ConfigurationError,
    ConnectionFailed,
    InvalidRequestError,
    JobCancelled,
    Longhaul,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
    WaitTimeout,
)
from longhaul._progress import ProgressBar
from longhaul.models import Job
from program import Server, free_port

TEXT = "Longhaul keeps jobs on disk. The keeper of the lighthouse was very happy with it, and the storm was terrible."


def test_a_job_goes_out_and_comes_back_in_both_faces(server: Server, lh: Longhaul) -> None:
    assert lh.run("echo", {"hello": "world"}) == {"hello": "world"}

    async def again() -> object:
        async with AsyncLonghaul(server.url) as client:
            return await client.run("echo", [1, None])

    assert asyncio.run(again()) == [1, None]


def test_options_of_a_submit_reach_the_job(lh: Longhaul) -> None:
    at = datetime.now(timezone.utc) + timedelta(hours=1)
    job = lh.submit(
        "echo", 1, run_at=at, priority=7, metadata={"a": "b"}, max_attempts=2, queue="later", deadline=9_000
    )
    seen = job.get()
    assert (seen.status, seen.status_reason, seen.priority, seen.metadata) == ("queued", "scheduled", 7, {"a": "b"})
    assert seen.run_at is not None and abs(seen.run_at - at) < timedelta(milliseconds=1)
    assert (seen.queue, seen.max_attempts) == ("later", 2)
    with pytest.raises(JobCancelled):
        job.cancel()
        job.wait()
    assert [found.job_id for found in lh.jobs.list(metadata={"a": "b"})] == [job.id]
    assert lh.jobs.retry(job.id).get().retry_of == job.id
    lh.jobs.delete(job.id)
    with pytest.raises(Exception, match="erased"):
        job.get()


def test_a_key_of_ones_own_finds_the_first_job(lh: Longhaul) -> None:
    first, second = (lh.submit("echo", 1, idempotency_key="once") for _ in range(2))
    assert first.id == second.id
    with pytest.raises(InvalidRequestError) as refused:
        lh.submit("echo", 2, idempotency_key="once")
    assert refused.value.code == "idempotency_mismatch"
    assert refused.value.request_id


def test_lists_go_on_over_pages(lh: Longhaul) -> None:
    ids = [job.id for job in lh.submit_many([{"kind": "echo", "input": number} for number in range(7)])]
    assert [job.job_id for job in lh.jobs.list(page_size=3)] == sorted(ids, reverse=True)


def test_refusals_are_typed_and_name_each_field(lh: Longhaul) -> None:
    with pytest.raises(NotFoundError):
        lh.jobs.get("job_unknown")
    with pytest.raises(InvalidRequestError) as refused:
        lh.submit("ecko", 1, priority=1_000)
    assert {error["pointer"] for error in refused.value.errors} == {"/kind", "/priority"}
    assert "/priority" in str(refused.value)


@pytest.mark.parametrize(
    ("input", "why"),
    [
        ({"x": float("nan")}, "NaN"),
        ([-float("inf")], "-Infinity"),
        (object(), "object"),
        ("\ud800", "surrogates|utf-8"),
    ],
)
def test_an_input_that_is_no_json_is_refused_before_it_is_sent(lh: Longhaul, input: object, why: str) -> None:
    calls = (
        lambda: lh.submit("echo", input),
        lambda: lh.submit_many([{"kind": "echo", "input": input}]),
        lambda: lh.answer("job_1", input),
    )
    for call in calls:
        with pytest.raises(ConfigurationError, match=why):
            call()
    assert list(lh.jobs.list()) == []


def test_words_for_what_is_no_number_are_words_like_others(lh: Longhaul) -> None:
    assert lh.run("echo", {"NaN": ["Infinity", "is NaN"]}, timeout=20) == {"NaN": ["Infinity", "is NaN"]}


def test_waiting_ends_when_it_was_told_to(lh: Longhaul) -> None:
    job = lh.submit("echo", 1, delay=3600)
    began = time.monotonic()
    with pytest.raises(WaitTimeout):
        job.wait(1.2)
    assert 1.0 < time.monotonic() - began < 4


def test_a_server_that_is_not_there_is_said_so() -> None:
    with Longhaul(f"http://127.0.0.1:{free_port()}", max_retries=1) as lh, pytest.raises(ConnectionFailed):
        lh.submit("echo", 1)
    with pytest.raises(ConfigurationError):
        Longhaul("127.0.0.1:8080")


class Away:
    """A server that answers as many requests as it is told as a proxy does whose server is gone, and notes them all."""

    def __init__(self, *answers: tuple[int, dict[str, object]], headers: dict[str, str] | None = None) -> None:
        self.asked: list[tuple[str, str | None]] = []
        answers_left = list(answers)
        asked = self.asked

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                self.rfile.read(int(self.headers.get("content-length", 0)))
                asked.append((self.path, self.headers.get("idempotency-key")))
                status, body = answers_left.pop(0) if len(answers_left) > 1 else answers_left[0]
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = answer

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._host = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._host.server_port}"

    def __enter__(self) -> Away:
        threading.Thread(target=self._host.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._host.shutdown()
        self._host.server_close()


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_waiting_outlasts_a_server_that_is_not_there_behind_its_proxy(lh: Longhaul, status: int) -> None:
    job = lh.submit("echo", 1)
    ended = job.wait().model_dump(mode="json")
    with (
        Away((status, {}), (status, {}), (status, {}), (200, ended)) as away,
        Longhaul(away.url, max_retries=1) as client,
    ):
        assert client.wait(job.id, 20).output == 1
        assert len(away.asked) == 4


def test_waiting_for_a_server_that_is_not_there_ends_in_time() -> None:
    with Away((503, {})) as away, Longhaul(away.url) as client:
        began = time.monotonic()
        with pytest.raises(WaitTimeout):
            client.wait("job_1", 0.5)
        assert 0.4 < time.monotonic() - began < 3


@contextmanager
def silent() -> Iterator[str]:
    """The address of a server that takes connections and answers nothing."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_a_server_that_answers_nothing_is_waited_for_no_longer_than_was_said() -> None:
    with silent() as url, Longhaul(url) as client:
        for call in (lambda: client.wait("job_1", 0.3), lambda: client.run("echo", 1, timeout=0.3)):
            began = time.monotonic()
            with pytest.raises(WaitTimeout):
                call()
            assert 0.2 < time.monotonic() - began < 5


def test_the_time_for_a_run_is_for_its_submit_and_its_wait_together(lh: Longhaul) -> None:
    began = time.monotonic()
    with pytest.raises(WaitTimeout, match=r"job_\w+ had not ended after 0.5 s"):
        lh.run("echo", 1, timeout=0.5, delay=3600)
    assert 0.4 < time.monotonic() - began < 5
    assert lh.run("echo", 1, timeout=20) == 1


def test_a_server_that_asks_for_an_hour_is_not_waited_for_in_silence(tmp_path: Path) -> None:
    with Away((429, {"code": "rate_limited"}), headers={"retry-after": "3600"}) as away, Longhaul(away.url) as client:
        paper = tmp_path / "paper.txt"
        paper.write_text(TEXT)
        for call in (lambda: client.submit("echo", 1), lambda: client.documents.upload(paper)):
            with pytest.raises(RateLimitError) as refused:
                call()
            assert refused.value.retry_after == 3600
        assert len(away.asked) == 2


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_an_address_that_is_not_the_servers_own_is_said_to_be_so(status: int) -> None:
    elsewhere = {"location": "https://longhaul.example/v1/jobs"}
    with Away((status, {}), headers=elsewhere) as away, Longhaul(away.url) as client:
        calls = (
            lambda: client.submit("echo", 1),
            lambda: client.wait("job_1", 5),
            lambda: client.jobs.get("job_1"),
            lambda: list(client.stream("job_1")),
            lambda: client.documents.upload(b"x"),
        )
        for call in calls:
            with pytest.raises(ConfigurationError, match=r"longhaul\.example"):
                call()
        assert len(away.asked) == len(calls)


def test_waiting_does_not_go_on_over_what_no_waiting_mends() -> None:
    with Away((403, {"code": "forbidden"})) as away, Longhaul(away.url) as client:
        with pytest.raises(PermissionDeniedError):
            client.wait("job_1", 20)
        assert len(away.asked) == 1


def test_a_process_that_is_repeated_carries_the_same_key() -> None:
    done = {"results": [], "succeeded": 1, "failed": 0}
    with Away((503, {}), (502, {}), (200, done)) as away, Longhaul(away.url) as client:
        assert client.process([{"task": "keywords", "input": "x"}]) == done
        assert len({key for _, key in away.asked}) == 1 and away.asked[0][1]
        client.process([{"task": "keywords", "input": "x"}], idempotency_key="mine")
        assert away.asked[-1][1] == "mine"


def test_items_that_all_failed_are_an_answer_and_not_asked_for_again() -> None:
    failed: dict[str, object] = {"code": "upstream_failed", "results": [{"id": "0", "error": {}}]}
    with Away((502, failed)) as away, Longhaul(away.url) as client:
        assert client.process([{"task": "keywords", "input": "x"}])["results"] == failed["results"]
        assert len(away.asked) == 1


def test_what_must_not_be_done_twice_is_sent_again_only_when_it_was_not_taken() -> None:
    with Away((507, {"code": "storage_full"}), (202, {"job_id": "job_2"})) as away, Longhaul(away.url) as client:
        assert client.jobs.retry("job_1").id == "job_2"
        assert len(away.asked) == 2
    with Away((500, {"code": "internal"})) as away, Longhaul(away.url) as client:
        for call in (lambda: client.jobs.retry("job_1"), lambda: client.answer("job_1", True)):
            with pytest.raises(ServerError):
                call()
        assert len(away.asked) == 2, "it may have been taken"


def test_what_must_not_be_done_twice_is_sent_again_when_nobody_listened(tmp_path: Path) -> None:
    server = Server(tmp_path)
    with Longhaul(server.url, max_retries=12) as client:
        starting = threading.Timer(0.5, server.start)
        starting.start()
        try:
            with pytest.raises(NotFoundError):
                client.jobs.retry("job_0")
        finally:
            starting.join()
            server.stop()


def test_documents_analysis_and_process(lh: Longhaul, tmp_path: Path) -> None:
    path = tmp_path / "story.txt"
    path.write_text(TEXT)
    document = lh.documents.upload(path, embed=False)
    document.job.wait(30)
    seen = document.get()
    assert seen.file_name == "story.txt"
    assert seen.chunks
    assert "lighthouse" in document.search("who was happy in the lighthouse")[0]["text"]
    assert set(lh.analysis(TEXT)["results"]) == {"summary", "keywords", "sentiment"}
    done = lh.process([{"task": "keywords", "input": TEXT}, {"task": "language", "input": TEXT}])
    assert (done["succeeded"], done["failed"]) == (2, 0)
    lh.documents.delete(document.id)


def test_a_stream_of_an_ended_job_is_its_history(lh: Longhaul) -> None:
    job = lh.submit("echo", 1)
    job.wait()
    assert [event.type for event in job.stream()] == ["job.queued", "job.running", "job.succeeded"]
    assert [event.seq for event in job.stream(after=2)] == [3]


def test_a_bar_shows_how_far_a_job_is(lh: Longhaul) -> None:
    out = io.StringIO()
    bar = ProgressBar(True, out)
    job = lh.submit("echo", 1, delay=3600).get()
    assert "scheduled" in bar.line(job)
    running = Job.model_validate(job.model_dump() | {"progress": {"fraction": 0.5, "message": "page 8/16"}})
    assert "━━━━━━━━━━━━────────────  50% 0:00 page 8/16" in bar.line(running)
    bar.show(running)
    assert out.getvalue().startswith("\r")
