"""`swift infer` and `swift-infer infer`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from swift.infer.commands.options import as_overrides, options


def run(words: tuple[str, ...], input: Path | None, output: Path | None, **short: Any) -> None:
    """Answer the rows of a file, or chat in the terminal."""
    if (input is None) != (output is None):
        raise click.UsageError("--input and --output go together")
    from swift.core.commands.train import config_and_overrides
    from swift.infer.load import load_engine, load_infer_run

    path, overrides = config_and_overrides(words)
    config = load_infer_run(path, [*overrides, *as_overrides(short)])
    if input is not None and output is not None:
        from swift.infer.batch import answer_file, read_prompts

        rows = read_prompts(input)  # before the model: mistakes there are cheap to find
        engine, tokenizer = load_engine(config)
        count = answer_file(rows, output, engine, tokenizer, config.infer)
        click.echo(f"{count} answers: {output}")
    else:
        from swift.infer.terminal import chat

        engine, tokenizer = load_engine(config)
        chat(engine, tokenizer, config.infer)
    engine.close()


command = click.Command(
    "infer",
    callback=run,
    help="Chat with a model in the terminal, or answer the rows of a file.\n\n"
    "CONFIG is a YAML file; OVERRIDES change or replace its keys, for example infer.top_p=0.9.",
    params=[
        click.Argument(["words"], nargs=-1, metavar="[CONFIG] [OVERRIDES]..."),
        *options("model", "adapter", "engine", "max-new-tokens", "temperature", "system", "seed"),
        click.Option(
            ["--input"], type=click.Path(path_type=Path), help="rows to answer (JSONL, JSON, CSV, ...)"
        ),
        click.Option(["--output"], type=click.Path(path_type=Path), help="where the answers go, as JSONL"),
    ],
)
