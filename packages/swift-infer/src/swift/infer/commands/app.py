"""`swift app` and `swift-infer app`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from swift.infer.commands.options import (
    SAMPLING,
    adapters_option,
    as_overrides,
    given_run,
    options,
    run_command,
)

if TYPE_CHECKING:
    from swift.core.config.run import RunConfig


def run(words: tuple[str, ...], url: str | None, api_key_env: str | None, **short: Any) -> None:
    """Show the chat page until SIGTERM or Ctrl-C."""
    if url is None and api_key_env is not None:
        raise click.UsageError("--api-key-env belongs to --url")
    if url is not None and any(short.get(name) for name in ("model", "adapter", "adapters")):
        raise click.UsageError("--url is a server that has its model: leave --model and its adapters out")
    config = given_run(words, short) if url is None else modelless_run(words, short)
    from swift.infer.server.run import end_on_sigterm, listen

    end_on_sigterm()
    with listen(config.server.host, config.server.port) as listener:
        from swift.infer.app.run import serve_with_page, show_page

        if url is None:
            serve_with_page(config, listener)
        else:
            show_page(url, api_key_env, listener)


def modelless_run(words: tuple[str, ...], short: dict[str, Any]) -> RunConfig:
    """The run of a page alone: whatever model it names is not looked for."""
    from swift.core.commands.train import config_and_overrides
    from swift.core.config.run import load_run

    path, overrides = config_and_overrides(words)
    return load_run(path, [*overrides, *as_overrides(short)])


command = run_command(
    "app",
    run,
    "Chat with a model on a page in the browser; the API is served beside it.",
    example="infer.max_running=128",
    params=[
        click.Option(["--url"], help="page only, for a server that runs elsewhere (OpenAI-compatible)"),
        click.Option(["--api-key-env"], help="environment variable that holds the key of --url"),
        *options("model", "adapter"),
        adapters_option(),
        *options("engine", "host", "port", "served-model-name", *SAMPLING),
    ],
)
