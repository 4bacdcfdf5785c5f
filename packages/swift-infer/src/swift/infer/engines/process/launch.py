"""From an engine's keys and command line to what is started."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from swift.infer.engines.process.config import ServerProcessConfig
from swift.infer.engines.process.server import Launch


def launch_of(
    name: str,
    config: ServerProcessConfig,
    port: int,
    command: Sequence[str],
    environment: Mapping[str, str] | None = None,
) -> Launch:
    """A server of that engine, which answers 200 at /health once it takes requests."""
    return Launch(
        name=name,
        command=command,
        health=f"http://127.0.0.1:{port}/health",
        environment=environment or {},
        log=Path(config.server_log) if config.server_log else None,
        start_timeout=config.start_timeout,
    )
