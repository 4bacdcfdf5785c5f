"""`swift app` and `swift-infer app`."""

from __future__ import annotations

from typing import Any

import click

from swift.infer.commands.options import as_overrides, options


def run(words: tuple[str, ...], url: str | None, api_key_env: str | None, **short: Any) -> None:
    """Show the chat page until SIGTERM or Ctrl-C."""
    from swift.core.commands.train import config_and_overrides
    from swift.core.config.run import load_run
    from swift.infer.load import load_infer_run

    if url is None and api_key_env is not None:
        raise click.UsageError("--api-key-env belongs to --url")
    if url is not None and (short.get("model") or short.get("adapter")):
        raise click.UsageError("--url is a server that has its model: leave --model and --adapter out")
    path, written = config_and_overrides(words)
    overrides = [*written, *as_overrides(short)]
    config = load_run(path, overrides) if url else load_infer_run(path, overrides)
    from swift.infer.server.run import end_on_sigterm, listen

    end_on_sigterm()
    with listen(config.server.host, config.server.port) as listener:
        from swift.infer.app.run import serve_with_page, show_page

        if url is None:
            serve_with_page(config, listener)
        else:
            show_page(url, api_key_env, listener)


command = click.Command(
    "app",
    callback=run,
    help="Chat with a model on a page in the browser; the API is served beside it.\n\n"
    "CONFIG is a YAML file; OVERRIDES change or replace its keys, for example infer.adapters.poet=out/poet.",
    params=[
        click.Argument(["words"], nargs=-1, metavar="[CONFIG] [OVERRIDES]..."),
        click.Option(["--url"], help="page only, for a server that runs elsewhere (OpenAI-compatible)"),
        click.Option(["--api-key-env"], help="environment variable that holds the key of --url"),
        *options("model", "adapter", "engine", "host", "port", "served-model-name"),
        *options("max-new-tokens", "temperature", "system", "seed"),
    ],
)
