"""`swift serve` and `swift-infer serve`."""

from __future__ import annotations

from typing import Any

from swift.infer.commands.options import SAMPLING, adapters_option, given_run, options, run_command


def run(words: tuple[str, ...], **short: Any) -> None:
    """Offer a model until SIGTERM or Ctrl-C."""
    config = given_run(words, short)
    from swift.infer.server.run import end_on_sigterm, listen

    end_on_sigterm()
    listener = listen(config.server.host, config.server.port)
    with listener:
        from swift.infer.server.serve import serve

        serve(config, listener)


command = run_command(
    "serve",
    run,
    "Serve a model with an OpenAI-compatible API.",
    example="infer.max_running=128",
    params=[
        *options("model", "adapter"),
        adapters_option(),
        *options("engine", "host", "port", "served-model-name", *SAMPLING),
    ],
)
