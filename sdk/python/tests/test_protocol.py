"""The worker protocol where a library does not go: clients that hang up, keys of one queue, large answers."""

from __future__ import annotations

import json
import socket
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from longhaul import Longhaul
from program import Server

ROOT_KEY = "lh_root_0123456789abcdef0123456789abcdef"


def call(server: Server, method: str, path: str, body: Any = None, key: str | None = None, **headers: str) -> Any:
    """A request as it stands; refusals are answers."""
    sent = {"content-type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
    if key:
        sent["authorization"] = f"Bearer {key}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(server.url + path, data, sent, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            said = response.read()
            return response.status, json.loads(said) if said else None
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def claim(server: Server, key: str | None = None, **body: Any) -> Any:
    return call(server, "POST", "/v1/worker/claims", {"worker_id": "w", "kinds": ["raw"]} | body, key)


def test_a_client_that_hangs_up_while_it_waits_gets_no_job(server: Server, lh: Longhaul) -> None:
    call(server, "PUT", "/v1/kinds/raw", {})
    body = json.dumps({"worker_id": "gone", "kinds": ["raw"], "wait_s": 30}).encode()
    head = (
        f"POST /v1/worker/claims HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
    )
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(head.encode() + b"\r\n\r\n" + body)
            time.sleep(0.01)
    time.sleep(0.2)
    jobs = lh.submit_many([{"kind": "raw", "input": number} for number in range(20)])
    status, claimed = claim(server, max=64)
    assert status == 200
    assert {job["job_id"] for job in claimed["jobs"]} == {job.id for job in jobs}
    assert {job["attempt"] for job in claimed["jobs"]} == {1}


def test_a_waiting_claim_is_answered_as_soon_as_there_is_a_job(server: Server, lh: Longhaul) -> None:
    call(server, "PUT", "/v1/kinds/raw", {})
    lh.submit("raw", 1, delay=1.0)
    began = time.monotonic()
    status, _ = claim(server, wait_s=20)
    assert status == 200
    assert 0.7 < time.monotonic() - began < 5


def test_a_key_of_one_queue_serves_that_queue_alone(tmp_path: Path) -> None:
    server = Server(tmp_path, env={"LONGHAUL_BOOTSTRAP_KEY": ROOT_KEY}).start()
    try:
        body = {"name": "gpu", "scopes": ["worker:gpu"]}
        gpu = call(server, "POST", "/v1/api_keys", body, ROOT_KEY)[1]["key"]
        body = {"name": "web", "scopes": ["jobs:read", "jobs:write"]}
        web = call(server, "POST", "/v1/api_keys", body, ROOT_KEY)[1]["key"]
        assert call(server, "PUT", "/v1/kinds/raw", {"queue": "gpu"}, gpu)[0] == 200
        with Longhaul(server.url, web) as lh:
            elsewhere, here = lh.submit("raw", 1, queue="cpu"), lh.submit("raw", 2)
            status, claimed = claim(server, gpu, max=64)
            assert (status, [job["job_id"] for job in claimed["jobs"]]) == (200, [here.id])
            status, refused = claim(server, gpu, queues=["cpu"])
            assert (status, refused["code"]) == (403, "forbidden")
            assert claim(server, web)[0] == 403
            assert claim(server, "lh_none_0123456789abcdef0123456789abcdef")[0] == 401
            assert elsewhere.get().status == "queued"
            lease = claimed["jobs"][0]["lease_token"]
            path = f"/v1/worker/jobs/{here.id}/complete"
            assert call(server, "POST", path, {"output": 1}, web, longhaul_lease=lease)[0] == 403
            assert call(server, "POST", path, {"output": 1}, gpu, longhaul_lease=lease)[0] == 200
    finally:
        server.stop()


def test_a_claim_brings_no_more_than_an_answer_can_hold(server: Server, lh: Longhaul) -> None:
    call(server, "PUT", "/v1/kinds/raw", {})
    large = "x" * (900 << 10)
    jobs = [lh.submit("raw", large) for _ in range(40)]
    seen: list[str] = []
    while len(seen) < len(jobs):
        status, claimed = claim(server, max=64, wait_s=5)
        assert status == 200
        assert len(claimed["jobs"]) <= 37
        seen += [job["job_id"] for job in claimed["jobs"]]
        assert {job["attempt"] for job in claimed["jobs"]} == {1}
    assert sorted(seen) == sorted(job.id for job in jobs)


def test_what_a_result_says_of_itself_is_checked_and_shown(server: Server, lh: Longhaul) -> None:
    call(server, "PUT", "/v1/kinds/raw", {})
    job = lh.submit("raw", 1)
    lease = claim(server)[1]["jobs"][0]["lease_token"]
    path = f"/v1/worker/jobs/{job.id}/complete"
    wrong = {"model": "", "usage": {"input_tokens": 10**13}}
    status, said = call(server, "POST", path, {"output": 1, "report": wrong}, longhaul_lease=lease)
    assert (status, {error["pointer"] for error in said["errors"]}) == (
        422,
        {"/report/model", "/report/usage/input_tokens"},
    )
    status, said = call(server, "POST", path, {"output": 1, "report": {"cache": True}}, longhaul_lease=lease)
    assert (status, said["code"]) == (422, "unknown_field")
    report = {"model": "small", "cached": True, "usage": {"output_tokens": 3}}
    body = {"jobs": [{"job_id": job.id, "lease_token": lease, "output": 1, "report": report}]}
    status, said = call(server, "POST", "/v1/worker/complete", body)
    assert (status, said["results"][0]["status"]) == (200, "succeeded")
    seen = job.get()
    assert (seen.model, seen.cached, seen.degraded, seen.usage.output_tokens) == ("small", True, False, 3)


@pytest.mark.parametrize("forged", ["lease_7fffffffffffffff-30", "lease_0000000000000001-600-1"])
def test_a_made_up_lease_changes_nothing(server: Server, lh: Longhaul, forged: str) -> None:
    call(server, "PUT", "/v1/kinds/raw", {})
    job = lh.submit("raw", 1)
    claim(server)
    for verb, body in (("heartbeat", {}), ("complete", {"output": 1}), ("output", {"chunk_seq": 1, "data": "x"})):
        status, said = call(server, "POST", f"/v1/worker/jobs/{job.id}/{verb}", body, longhaul_lease=forged)
        assert (status, said["code"]) == (409, "lease_lost"), verb
    assert job.get().status == "running"
