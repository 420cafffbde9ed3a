"""Workers that are paused past their lease, and come back: nothing they write is accepted."""

from __future__ import annotations

import concurrent.futures
import json
import signal
import urllib.error
import urllib.request
from functools import partial
from pathlib import Path

import pytest

import histories
from longhaul import Longhaul
from program import HERE, Server, WorkerProcess, until

VICTIMS = 5


def test_a_paused_worker_that_comes_back_changes_nothing(server: Server, lh: Longhaul, tmp_path: Path) -> None:
    cycles(server, lh, tmp_path, VICTIMS, rounds=1)


@pytest.mark.slow
def test_two_hundred_paused_workers_change_nothing(server: Server, lh: Longhaul, tmp_path: Path) -> None:
    cycles(server, lh, tmp_path, victims=20, rounds=10)


def cycles(server: Server, lh: Longhaul, home: Path, victims: int, rounds: int) -> None:
    """Each victim claims a job, is stopped past its lease, a rival finishes the job, and the victim goes on."""
    effects = home / "effects"
    effects.touch()
    workers = [start(server, home, f"victim-{number}") for number in range(victims)]
    paused = list(workers)
    refused_writes = 0
    try:
        until(lambda: any(kind.kind == "test.fenced" for kind in lh.kinds()), 30, "no worker has registered")
        for _ in range(rounds):
            jobs = [lh.submit("test.fenced", {}) for _ in paused]
            holders = until(partial(held, effects, [job.id for job in jobs]), 60, "a job was not begun")
            for victim in paused:
                victim.signal(signal.SIGSTOP)
            rivals = [start(server, home, f"rival-{number}") for number in range(min(3, victims))]
            workers.extend(rivals)
            ended = [job.wait(120, check=False) for job in jobs]
            for rival in rivals:
                rival.end()
            for victim in paused:
                victim.signal(signal.SIGCONT)
            assert [job.status for job in ended] == ["succeeded"] * victims, ended
            stale = [(job.job_id, holders[job.job_id][1]) for job in ended if job.attempt > 1]
            with concurrent.futures.ThreadPoolExecutor(4) as pool:
                answers = list(pool.map(lambda lost: stale_writes(server.url, *lost), stale))
            assert all(statuses == {409} for statuses in answers), answers
            refused_writes += len(answers)
            for job in ended:
                again = lh.jobs.get(job.job_id)
                assert (again.status, again.output, again.version) == (job.status, job.output, job.version)
                histories.check(again, list(lh.jobs.events(job.job_id)), list(lh.jobs.attempts(job.job_id)))
                assert str(job.output).startswith("rival-"), job
    finally:
        for worker in workers:
            worker.end()
    print(f"{refused_writes} leases were lost, and every write under them was refused")
    assert refused_writes == victims * rounds


def start(server: Server, home: Path, name: str) -> WorkerProcess:
    return WorkerProcess(home, name, HERE / "fencing_worker.py", server.url, {"TEST_NAME": name})


def held(effects: Path, jobs: list[str]) -> dict[str, tuple[str, str]]:
    """Who began which job, once all have been begun."""
    begun: dict[str, tuple[str, str]] = {}
    for line in effects.read_text().splitlines():
        job, name, lease = line.split()
        if job in jobs:
            begun.setdefault(job, (name, lease))
    return begun if len(begun) == len(jobs) else {}


def stale_writes(url: str, job_id: str, lease: str) -> set[int]:
    """What every write under a lost lease is answered with."""
    writes = {
        "heartbeat": {},
        "checkpoint": {"step": "stale", "output": 1},
        "complete": {"output": "stale"},
        "fail": {"error": {"code": "stale", "message": "stale"}},
        "release": None,
    }
    statuses = set()
    for verb, body in writes.items():
        request = urllib.request.Request(
            f"{url}/v1/worker/jobs/{job_id}/{verb}",
            b"" if body is None else json.dumps(body).encode(),
            {"longhaul-lease": lease, "content-type": "application/json"},
            method="POST",
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                statuses.add(response.status)
        except urllib.error.HTTPError as error:
            statuses.add(error.code)
    return statuses
