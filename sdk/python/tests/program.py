"""The built program under test, and workers beside it: in this process, or in processes of their own."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from longhaul import Longhaul, Worker

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]


def longhaul() -> Path:
    """The program that ``LONGHAUL_BIN`` names, else the one of the last build."""
    named = os.environ.get("LONGHAUL_BIN")
    path = Path(named) if named else ROOT / "target" / "debug" / "longhaul"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there: run `cargo build -p longhaul`, or set LONGHAUL_BIN")
    return path


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def until(what: Callable[[], Any], seconds: float, why: str) -> Any:
    """What is true in the end; asks again and again for so long."""
    end = time.monotonic() + seconds
    while True:
        found = what()
        if found:
            return found
        assert time.monotonic() < end, f"after {seconds} s: {why}"
        time.sleep(0.02)


class Server:
    """A server on a port that it keeps, with data of its own."""

    def __init__(self, home: Path, arguments: list[str] | None = None, env: dict[str, str] | None = None) -> None:
        self.home = home
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._arguments = arguments or []
        self._env = env or {}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Server:
        env = {name: value for name, value in os.environ.items() if not name.startswith("LONGHAUL")} | self._env
        command = [
            str(longhaul()),
            "serve",
            "--listen",
            f"127.0.0.1:{self.port}",
            "--data-dir",
            str(self.home / "data"),
        ]
        with (self.home / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, *self._arguments], stdout=subprocess.PIPE, stderr=log, cwd=self.home, env=env
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline().decode()
        assert line.startswith("listening on"), f"the server did not start: {(self.home / 'server.log').read_text()}"
        return self

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._close()

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(45)
            except subprocess.TimeoutExpired:
                self._process.kill()
                raise
            self._close()

    def _close(self) -> None:
        if self._process is not None and self._process.stdout is not None:
            self._process.stdout.close()
        self._process = None


class WorkerProcess:
    """A Python program that runs a worker."""

    def __init__(self, home: Path, name: str, program: Path, url: str, env: dict[str, str] | None = None) -> None:
        self.log = home / f"worker-{name}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(program)],
                stdout=log,
                stderr=log,
                env=os.environ | {"LONGHAUL_URL": url, "LONGHAUL_EFFECTS": str(home / "effects")} | (env or {}),
            )

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def ended(self, within: float) -> int:
        return self.process.wait(within)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait()


@contextmanager
def serving(worker: Worker, lh: Longhaul) -> Iterator[None]:
    """Runs a worker in a thread of its own until the block is left."""
    thread = threading.Thread(target=lambda: asyncio.run(worker.serve()))
    thread.start()
    try:
        names = set(worker.tasks)
        until(lambda: names <= {kind.kind for kind in lh.kinds()}, 20, "the kinds are not registered")
        yield
    finally:
        worker.stop()
        thread.join(40)
        assert not thread.is_alive(), "the worker has not stopped"
