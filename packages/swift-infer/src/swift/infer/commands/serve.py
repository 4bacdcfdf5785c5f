"""`swift serve` and `swift-infer serve`."""

from __future__ import annotations

from typing import Any

import click

from swift.infer.commands.options import as_overrides, options


def run(words: tuple[str, ...], **short: Any) -> None:
    """Offer a model until SIGTERM or Ctrl-C."""
    from swift.core.commands.train import config_and_overrides
    from swift.infer.load import load_infer_run

    path, overrides = config_and_overrides(words)
    config = load_infer_run(path, [*overrides, *as_overrides(short)])
    from swift.infer.server.run import end_on_sigterm, listen

    end_on_sigterm()
    listener = listen(config.server.host, config.server.port)
    with listener:
        from swift.infer.server.serve import serve

        serve(config, listener)


command = click.Command(
    "serve",
    callback=run,
    help="Serve a model with an OpenAI-compatible API.\n\n"
    "CONFIG is a YAML file; OVERRIDES change or replace its keys, for example infer.max_running=128.",
    params=[
        click.Argument(["words"], nargs=-1, metavar="[CONFIG] [OVERRIDES]..."),
        *options("model", "adapter", "engine", "host", "port", "served-model-name"),
        *options("max-new-tokens", "temperature", "system", "seed"),
    ],
)
