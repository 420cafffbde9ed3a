"""Runs the behaviour suite of ``tests/behaviour`` with this library."""

from __future__ import annotations

import json
import re
import signal
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import histories
from longhaul import APIError, Event, JobHandle, Longhaul
from program import HERE, ROOT, Server, WorkerProcess, until

CASES = sorted((ROOT / "tests" / "behaviour" / "cases").glob("*.json"))
assert CASES, "the cases of the behaviour suite are missing"


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_case(path: Path, tmp_path: Path) -> None:
    case = json.loads(path.read_text())
    stage = Stage(tmp_path, case.get("server", {}).get("arguments", []))
    try:
        stage.require(case.get("needs", []))
        for number, step in enumerate(case["steps"], 1):
            ((action, arguments),) = [(name, value) for name, value in step.items() if name != "expect"]
            try:
                given = stage.actions[action](**stage.filled(arguments))
                if "expect" in step:
                    matches(given, stage.filled(step["expect"]), "")
            except Exception as error:
                raise AssertionError(f"{case['name']}: step {number}, {action} {arguments}: {error}") from error
    finally:
        stage.close()


def matches(given: Any, expected: Any, at: str) -> None:
    """Fails where what was given is not what was expected."""
    if isinstance(expected, dict) and "$any" in expected:
        return
    if isinstance(expected, dict) and "$contains" in expected:
        assert expected["$contains"] in given, f"{at}: {given!r} does not contain {expected['$contains']!r}"
    elif isinstance(expected, dict):
        assert isinstance(given, dict), f"{at}: {given!r} is no object"
        for name, value in expected.items():
            assert name in given, f"{at}/{name} is missing in {given!r}"
            matches(given[name], value, f"{at}/{name}")
    elif isinstance(expected, list):
        assert isinstance(given, list) and len(given) == len(expected), f"{at}: {given!r} is not {expected!r}"
        for index, (one, other) in enumerate(zip(given, expected, strict=True)):
            matches(one, other, f"{at}/{index}")
    else:
        assert given == expected, f"{at}: {given!r} is not {expected!r}"


class Stage:
    """A server, workers, a client, and what steps have kept."""

    def __init__(self, home: Path, arguments: list[str]) -> None:
        self.home = home
        self.host = Server(home, arguments).start()
        self.client = Longhaul(self.host.url)
        self.workers: dict[str, WorkerProcess] = {}
        self.jobs: dict[str, JobHandle] = {}
        self.kept: dict[str, Any] = {}
        self.streams: dict[str, tuple[threading.Thread, list[Event]]] = {}
        self.actions: dict[str, Callable[..., Any]] = {
            "start_worker": self.start_worker,
            "signal": self.signal,
            "worker_ended": self.worker_ended,
            "server": self.server,
            "pause": lambda seconds: time.sleep(seconds),
            "submit": self.submit,
            "wait": self.wait,
            "until": self.until,
            "follow": self.follow,
            "followed": self.followed,
            "cancel": lambda job: shown(self.jobs[job].cancel()),
            "answer": self.answer,
            "history": self.history,
            "effects": self.effects,
            "until_effects": self.until_effects,
            "raw": self.raw,
        }

    def close(self) -> None:
        for worker in self.workers.values():
            worker.end()
        self.client.close()
        self.host.kill()

    def require(self, paths: list[str]) -> None:
        if paths:
            known = self.raw(method="GET", path="/openapi.json")["body"]["paths"]
            for path in paths:
                if path not in known:
                    pytest.skip(f"this server has no {path}")

    def filled(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: self.filled(inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [self.filled(inner) for inner in value]
        if isinstance(value, str):
            return re.sub(r"\$\{([^}]+)\}", lambda found: self.named(found[1]), value)
        return value

    def named(self, path: str) -> str:
        name, *rest = path.split(".")
        found: Any = self.jobs[name].id if name in self.jobs else self.kept[name]
        for part in rest:
            found = found[int(part)] if isinstance(found, list) else found[part]
        return str(found)

    def start_worker(self, **arguments: Any) -> None:
        name = arguments["as"]
        env = {"TEST_LEASE": str(arguments.get("lease", 30)), "TEST_DRAIN": str(arguments.get("drain_s", 25))}
        worker = WorkerProcess(self.home, name, HERE / "behaviour_worker.py", self.host.url, env)
        self.workers[name] = worker
        until(
            lambda: any(kind.kind == "test.wrong" for kind in self.client.kinds()),
            30,
            f"the worker has not registered its kinds: {worker.log.read_text()}",
        )

    def signal(self, worker: str, signal: str) -> None:
        self.workers[worker].signal(SIGNALS[signal])

    def worker_ended(self, worker: str, within_s: float) -> dict[str, Any]:
        return {"code": self.workers[worker].ended(within_s)}

    def server(self, do: str) -> None:
        {"kill": self.host.kill, "stop": self.host.stop, "start": self.host.start}[do]()

    def submit(self, **arguments: Any) -> None:
        name = arguments.pop("as")
        self.jobs[name] = self.client.submit(arguments.pop("kind"), arguments.pop("input"), **arguments)

    def wait(self, job: str, timeout_s: float = 60) -> dict[str, Any]:
        return shown(self.jobs[job].wait(timeout_s, check=False))

    def until(self, job: str, matches: dict[str, Any]) -> None:
        wanted = matches

        def is_so() -> bool:
            try:
                globals()["matches"](shown(self.jobs[job].get()), wanted, "")
            except AssertionError:
                return False
            return True

        until(is_so, 30, f"it is {shown(self.jobs[job].get())}")

    def follow(self, **arguments: Any) -> None:
        events: list[Event] = []
        job = self.jobs[arguments["job"]]
        thread = threading.Thread(target=lambda: events.extend(job.stream()), daemon=True)
        thread.start()
        self.streams[arguments["as"]] = (thread, events)

    def followed(self, follow: str) -> dict[str, Any]:
        thread, events = self.streams[follow]
        thread.join(60)
        assert not thread.is_alive(), "the stream has not ended"
        pieces = [event.data.get("text", "") for event in events if event.type == "job.output.delta"]
        return {
            "types": [event.type for event in events],
            "seqs": [event.seq for event in events],
            "text": "".join(pieces),
        }

    def answer(self, job: str, value: Any, step: str | None = None) -> Any:
        try:
            return shown(self.jobs[job].answer(value, step=step))
        except APIError as error:
            return {"refused": error.status}

    def history(self, job: str) -> dict[str, Any]:
        ident = self.jobs[job].id
        now = self.client.jobs.get(ident)
        events = list(self.client.jobs.events(ident, limit=1000))
        attempts = list(self.client.jobs.attempts(ident))
        histories.check(now, events, attempts)
        return {"types": [event.type for event in events], "attempts": [attempt.outcome for attempt in attempts]}

    def effects(self) -> list[str]:
        path = self.home / "effects"
        return path.read_text().splitlines() if path.exists() else []

    def until_effects(self, are: list[str]) -> None:
        until(lambda: self.effects() == are, 30, f"they are {self.effects()}")

    def raw(self, **arguments: Any) -> dict[str, Any]:
        body = None if "body" not in arguments else json.dumps(arguments["body"]).encode()
        headers = {"content-type": "application/json"} | arguments.get("headers", {})
        url = self.host.url + arguments["path"]
        request = urllib.request.Request(url, body, headers, method=arguments["method"])
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                status, said = response.status, response.read()
        except urllib.error.HTTPError as error:
            status, said = error.code, error.read()
        given = {"status": status, "body": json.loads(said) if said else None}
        if "as" in arguments:
            self.kept[arguments["as"]] = given
        return given


SIGNALS = {
    "TERM": signal.SIGTERM,
    "KILL": signal.SIGKILL,
    "STOP": signal.SIGSTOP,
    "CONT": signal.SIGCONT,
}


def shown(job: Any) -> dict[str, Any]:
    said: dict[str, Any] = job.model_dump(mode="json", by_alias=True)
    return said
