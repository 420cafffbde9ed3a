"""Where the server is, and how to talk to it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from .errors import ConfigurationError

DEFAULT_URL = "http://127.0.0.1:8080"


@dataclass(frozen=True)
class Settings:
    """Where the server is, and how patiently it is asked."""

    url: str
    api_key: str | None = field(default=None, repr=False)
    max_retries: int = 5
    """How often a request is repeated that could not be answered. Workers do not give up at all."""
    timeout: float = 30.0
    """Seconds that an answer may take, beyond what was asked to be waited for."""

    @classmethod
    def resolve(
        cls,
        url: str | None = None,
        api_key: str | None = None,
        *,
        max_retries: int = 5,
        timeout: float = 30.0,
    ) -> Settings:
        """From arguments, else from ``LONGHAUL_URL`` and ``LONGHAUL_API_KEY``."""
        found = url or os.environ.get("LONGHAUL_URL") or DEFAULT_URL
        if not found.startswith(("http://", "https://")):
            raise ConfigurationError(f"the address {found!r} must begin with http:// or https://")
        key = api_key or os.environ.get("LONGHAUL_API_KEY") or None
        return cls(found.rstrip("/"), key, max_retries, timeout)
