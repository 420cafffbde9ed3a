"""The examples of ``examples/python``, as their readers would run them."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from longhaul import Longhaul
from program import ROOT, Server, until

EXAMPLES = ROOT / "examples" / "python"
PROSE = "The lighthouse keeper counted ships. The storm came at night and took the bridge. Nobody was hurt by it. " * 40


@contextmanager
def example(name: str, kind: str, lh: Longhaul, home: Path, **env: str) -> Iterator[None]:
    """Serves an example until the block is left."""
    with (home / "example.log").open("wb") as log:
        command = [sys.executable, str(EXAMPLES / name), "serve"]
        process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | {"LONGHAUL_URL": lh.url} | env)
    try:
        is_there = lambda: any(known.kind == kind for known in lh.kinds())  # noqa: E731
        until(is_there, 30, f"{name} does not serve {kind}")
        yield
    finally:
        process.terminate()
        said = (home / "example.log").read_text()
        assert process.wait(30) == 0, said


def told(name: str, *arguments: str, url: str) -> str:
    """What an example prints."""
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    env = os.environ | {"LONGHAUL_URL": url}
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_summariser(server: Server, lh: Longhaul, tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text(PROSE)
    with example("summariser.py", "summarise", lh, tmp_path):
        assert "storm" in told("summariser.py", str(tmp_path / "book.txt"), url=server.url)
    (job,) = lh.jobs.list(kind="summarise")
    steps = [event.data["step"] for event in lh.jobs.events(job.job_id) if event.type == "job.step"]
    assert steps == ["part:0", "part:1", "part:2"]


def test_gpu_batch(server: Server, lh: Longhaul, tmp_path: Path) -> None:
    with example("gpu_batch.py", "embed", lh, tmp_path):
        jobs = lh.submit_many([{"kind": "embed", "input": {"text": f"text {number}"}} for number in range(200)])
        assert {len(job.result(30)) for job in jobs} == {64}
        assert "64 numbers" in told("gpu_batch.py", "a text", url=server.url)
    said = (tmp_path / "example.log").read_text()
    texts, batches = (int(word) for word in said.split() if word.isdigit())
    assert texts == 201 and batches < 100, said


def test_gpu_batch_goes_on_after_a_batch_that_failed(
    server: Server, lh: Longhaul, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LONGHAUL_URL", server.url)
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import gpu_batch

    real = gpu_batch.embed_batch
    failures: list[int] = []

    def sometimes(texts: list[str]) -> list[list[float]]:
        if len(failures) < 2:
            failures.append(len(texts))
            if len(failures) == 1:
                raise MemoryError("out of memory on the card")
            return []
        return real(texts)

    monkeypatch.setattr(gpu_batch, "embed_batch", sometimes)
    serving = threading.Thread(target=lambda: asyncio.run(gpu_batch.serve()))
    serving.start()
    try:
        until(lambda: any(known.kind == "embed" for known in lh.kinds()), 30, "it does not serve embed")
        jobs = lh.submit_many([{"kind": "embed", "input": {"text": f"text {number}"}} for number in range(8)])
        assert {len(job.result(30)) for job in jobs} == {64}
        assert "out of memory" in str([attempt.error for job in jobs for attempt in lh.jobs.attempts(job.id)])
    finally:
        gpu_batch.worker.stop()
        serving.join(40)
        assert not serving.is_alive()


def test_durable_openai(server: Server, lh: Longhaul, tmp_path: Path) -> None:
    with provider() as (address, asked):
        env = {"OPENAI_API_KEY": "sk-test", "OPENAI_BASE_URL": f"{address}/v1"}
        with example("durable_openai.py", "ask", lh, tmp_path, **env):
            assert "blue" in told("durable_openai.py", "Why is the sky blue?", url=server.url)
            assert "blue" in told("durable_openai.py", "Why is the sky blue?", url=server.url)
    assert len(asked) == 2, "a 429, then an answer, which was kept"
    outcomes = [attempt.outcome for attempt in lh.jobs.attempts(list(lh.jobs.list(kind="ask"))[-1].job_id)]
    assert outcomes == ["failed", "succeeded"]


@contextmanager
def provider() -> Iterator[tuple[str, list[str]]]:
    """A provider that is busy once."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.rfile.read(int(self.headers["content-length"])).decode())
            message = {"role": "assistant", "content": "Because blue light is scattered most."}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            said = {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
            if len(asked) == 1:
                self.answer(429, {"error": {"message": "slow down", "type": "rate_limit"}}, {"retry-after": "1"})
            else:
                self.answer(200, said, {})

        def answer(self, status: int, body: object, headers: dict[str, str]) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            for name, value in (
                headers | {"content-type": "application/json", "content-length": str(len(data))}
            ).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            pass

    host = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=host.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{host.server_port}", asked
    finally:
        host.shutdown()
        host.server_close()


def test_fastapi_app(server: Server, lh: Longhaul, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGHAUL_URL", server.url)
    monkeypatch.syspath_prepend(str(EXAMPLES))
    from fastapi.testclient import TestClient
    from fastapi_app import app

    with TestClient(app) as client:
        sent = client.post("/documents", files={"file": ("story.txt", PROSE.encode(), "text/plain")})
        assert sent.status_code == 202, sent.text
        assert sent.json()["status"] == "queued"
        lh.wait(sent.json()["job_id"], 30)
        seen = client.get(f"/jobs/{sent.json()['job_id']}").json()
        assert (seen["status"], seen["result"]["document_id"]) == ("succeeded", sent.json()["document_id"])
        assert client.get("/jobs/job_unknown").status_code == 404


def test_agent(server: Server, lh: Longhaul, tmp_path: Path) -> None:
    import urllib.request

    with urllib.request.urlopen(f"{server.url}/openapi.json", timeout=10) as document:
        if "/v1/jobs/{job_id}/input" not in json.load(document)["paths"]:
            pytest.skip("this server cannot be answered")
    with example("agent.py", "refund-agent", lh, tmp_path):
        job_id = told("agent.py", "Refund order 17 to Ada", url=server.url).strip()
        until(lambda: lh.jobs.get(job_id).status_reason == "waiting_input", 30, "it does not ask")
        assert "Refunded 1900 cents" in told("agent.py", "approve", job_id, url=server.url)
        job = lh.jobs.get(job_id)
        assert (job.output["used"], job.attempt) == (["find_order", "refund"], 1)
        steps = [event.data["step"] for event in lh.jobs.events(job_id) if event.type == "job.step"]
        assert steps == ["turn:0", "tool:0", "turn:1", "approval:1", "tool:1", "turn:2"]
        refused = lh.submit("refund-agent", {"task": "Refund order 18"})
        until(lambda: refused.get().status_reason == "waiting_input", 30, "it does not ask")
        refused.answer({"approve": False, "comment": "too late"})
        assert refused.result(30)["answer"] == "Nothing was refunded: too late"
