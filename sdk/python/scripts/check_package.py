"""Builds the package, installs it into an environment of its own, and runs its README's first example there.

The example is what a reader copies: the first two Python blocks of the README, under the names in their first lines.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
PACKAGE = HERE.parent
sys.path.insert(0, str(PACKAGE / "tests"))


def main() -> int:
    from program import Server

    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(home), str(PACKAGE)]
        subprocess.run(build, check=True, stdout=subprocess.DEVNULL)
        (wheel,) = home.glob("*.whl")
        venv.create(home / "clean", with_pip=True)
        python = home / "clean" / "bin" / "python"
        subprocess.run(
            [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", str(wheel)], check=True
        )
        for block in re.findall(r"```python\n(# (\w+\.py)\n.*?)```", (PACKAGE / "README.md").read_text(), re.DOTALL)[
            :2
        ]:
            (home / block[1]).write_text(block[0])
        server = Server(home).start()
        env = os.environ | {"LONGHAUL_URL": server.url}
        env.pop("PYTHONPATH", None)
        worker = subprocess.Popen([str(python), "worker.py"], cwd=home, env=env, stderr=subprocess.DEVNULL)
        try:
            said = client(python, home, env)
        finally:
            worker.terminate()
            worker.wait(30)
            server.stop()
    if "{'be': 2, 'not': 1, 'or': 1, 'to': 2}" not in said:
        print(f"the first example of the README said:\n{said}", file=sys.stderr)
        return 1
    print(f"{wheel.name}: built, installed, and its first example runs")
    return 0


def client(python: Path, home: Path, env: dict[str, str]) -> str:
    """Runs the client, as soon as the worker's kind is known."""
    for _ in range(50):
        done = subprocess.run(
            [str(python), "client.py"], cwd=home, env=env, capture_output=True, text=True, timeout=60, check=False
        )
        if done.returncode == 0 or "unknown_kind" not in done.stderr:
            break
        time.sleep(0.2)
    return done.stdout + done.stderr


if __name__ == "__main__":
    sys.exit(main())
