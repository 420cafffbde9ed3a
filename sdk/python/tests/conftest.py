from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from longhaul import Longhaul
from program import Server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path).start()
    yield server
    server.stop()


@pytest.fixture
def lh(server: Server) -> Iterator[Longhaul]:
    with Longhaul(server.url) as client:
        yield client
