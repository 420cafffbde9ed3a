"""Runs the official SDKs against the built program, with three things behind it: the simulated provider, the wire
fixtures over a socket, and a real model.

    python run.py PROGRAM [--node PATH] [--only FILE] [--match TEST] [--no-model]

It starts the upstreams and the server, then each test program with LONGHAUL_URL and CONTROL_URL in its environment.
`POST $CONTROL_URL/kill` kills the server (SIGKILL) and starts it again on the same port and data; a test asks for that
in the middle of a stream.
"""

import argparse
import http.server
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

import wire_server

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parents[1]


class Longhaul:
    """The program under test, on a port of its own that stays the same over restarts."""

    def __init__(self, program: pathlib.Path, home: pathlib.Path, config: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.program, self.home = program, home
        self.url = f"http://127.0.0.1:{self.port}"
        (home / "longhaul.toml").write_text(config)
        self.process = None
        self.lock = threading.Lock()

    def start(self) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("LONGHAUL")} | {"OPENAI_API_KEY": "unused"}
        log = open(self.home / "server.log", "ab")
        self.process = subprocess.Popen(
            [self.program, "serve", "--config", self.home / "longhaul.toml", "--listen", f"127.0.0.1:{self.port}", "--data-dir", self.home / "data"],
            cwd=self.home, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                with urllib.request.urlopen(f"{self.url}/readyz", timeout=1) as reply:
                    if reply.status == 200:
                        return
            except OSError:
                time.sleep(0.02)
        raise SystemExit(f"the server did not start; it said:\n{self.log()}")

    def kill(self) -> None:
        """`kill -9`, and a new start on the same data."""
        with self.lock:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.start()

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()

    def log(self) -> str:
        return (self.home / "server.log").read_text(errors="replace")[-8000:]


def control(longhaul: Longhaul) -> str:
    """A server that does to the program what a test cannot do from its own process."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            if self.path == "/kill":
                longhaul.kill()
                self.send_response(204)
            else:
                self.send_response(404)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"


def start_model() -> tuple[subprocess.Popen, str] | None:
    """The real model, when its packages are installed."""
    process = subprocess.Popen(
        [sys.executable, HERE / "llama_server.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    line = process.stdout.readline().strip()
    if not line.startswith("listening on "):
        process.kill()
        return None
    return process, line.removeprefix("listening on ")


def configuration(wire: str, model: str | None) -> str:
    text = (HERE / "longhaul.toml").read_text().replace("@WIRE@", wire)
    if model is not None:
        text += (HERE / "longhaul-model.toml").read_text().replace("@MODEL@", model)
    return text


def main() -> int:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("program", type=pathlib.Path)
    arguments.add_argument("--node", default="node")
    arguments.add_argument("--node-modules", type=pathlib.Path, default=ROOT / "target/sdk/node/node_modules")
    arguments.add_argument("--only", help="a part of a file's name")
    arguments.add_argument("--match", help="a part of a test's name")
    arguments.add_argument("--no-model", action="store_true")
    arguments.add_argument("--serve", action="store_true", help="start everything, print the address, wait")
    options = arguments.parse_args()

    wire, wire_url = wire_server.start()
    model = None if options.no_model else start_model()
    if model is None and not options.no_model:
        raise SystemExit("the real model did not start; --no-model leaves it out")
    home = pathlib.Path(tempfile.mkdtemp(prefix="longhaul-sdk-"))
    longhaul = Longhaul(options.program.resolve(), home, configuration(wire_url, model and model[1]))
    failed = []
    try:
        longhaul.start()
        environment = os.environ | {
            "LONGHAUL_URL": longhaul.url,
            "CONTROL_URL": control(longhaul),
            "REAL_MODEL": "1" if model else "",
            "OPENAI_API_KEY": "unused",
            "ANTHROPIC_API_KEY": "unused",
            "PYTHONPATH": str(HERE / "python"),
            "PYTHONWARNINGS": "ignore",
        }
        if options.serve:
            print(longhaul.url, environment["CONTROL_URL"], flush=True)
            sys.stdin.read()
            return 0
        # ES modules are looked up beside the file, so the tests are run from where the packages are.
        node_home = options.node_modules.parent
        match = ["-k", options.match] if options.match else []
        programs = [
            ([sys.executable, "-m", "unittest", "-v", *match, path.stem], path)
            for path in sorted((HERE / "python").glob("test_*.py"))
        ]
        match = [f"--test-name-pattern={options.match}"] if options.match else []
        for path in sorted((HERE / "node").glob("*.test.mjs")):
            copy = node_home / path.name
            copy.write_text(path.read_text())
            programs.append(([options.node, "--test", "--test-reporter=spec", *match, copy], path))
        for command, path in programs:
            if options.only and options.only not in str(path):
                continue
            begin = time.monotonic()
            print(f"--- {path.relative_to(HERE)}", flush=True)
            if subprocess.run(command, env=environment, cwd=home).returncode != 0:
                failed.append(str(path.relative_to(HERE)))
            print(f"--- {path.relative_to(HERE)}: {time.monotonic() - begin:.1f} s", flush=True)
        if failed:
            print(f"FAILED: {', '.join(failed)}\n--- the end of the server's log\n{longhaul.log()}", file=sys.stderr)
    finally:
        longhaul.stop()
        wire.shutdown()
        if model:
            model[0].stdin.close()
            model[0].wait(10)
        subprocess.run(["rm", "-rf", home], check=False)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
