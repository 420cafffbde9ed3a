"""What the test programs share: where the server is, and how to have it killed."""

import os
import unittest
import urllib.request

URL = os.environ["LONGHAUL_URL"]
CONTROL = os.environ["CONTROL_URL"]

with_real_model = unittest.skipUnless(os.environ.get("REAL_MODEL"), "the real model is left out")


def kill_and_start_again() -> None:
    """`kill -9` on the server, then a start on the same data; returns when it is ready."""
    request = urllib.request.Request(f"{CONTROL}/kill", method="POST")
    urllib.request.urlopen(request, timeout=60).close()
