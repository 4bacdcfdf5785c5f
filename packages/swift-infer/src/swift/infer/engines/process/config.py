"""Keys of every engine that can run as a server process."""

from __future__ import annotations

from pydantic import Field

from swift.core.config.schema import Config


class ServerProcessConfig(Config):
    """infer: how a server process is started."""

    python: str | None = Field(
        default=None,
        description="interpreter that has the engine; default: its environment (swift engines install), "
        "or this one when it has the engine",
    )
    extra_args: list[str] = Field(
        default_factory=list, description="further words of the server's command line, passed as they are"
    )
    server_log: str | None = Field(
        default=None, description="file for the server's output; default: one in the temporary folder"
    )
    start_timeout: float = Field(
        default=600.0, gt=0, description="seconds within which the server must be ready"
    )
    timeout: float = Field(
        default=300.0, gt=0, description="seconds without a byte after which a request is given up"
    )
