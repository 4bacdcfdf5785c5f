"""`swift infer` and `swift-infer infer`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from swift.infer.commands.options import as_overrides, options

if TYPE_CHECKING:
    from swift.core.config.run import RunConfig


def run(words: tuple[str, ...], input: Path | None, output: Path | None, **short: Any) -> None:
    """Answer the rows of a file, or chat in the terminal."""
    if (input is None) != (output is None):
        raise click.UsageError("--input and --output go together")
    if input is not None and output is not None and input.absolute() == output.absolute():
        raise click.UsageError("--input and --output are the same file")
    from swift.core.commands.train import config_and_overrides
    from swift.infer.load import load_engine, load_infer_run

    path, overrides = config_and_overrides(words)
    config = load_infer_run(path, [*overrides, *as_overrides(short)])
    if input is not None and output is not None:
        answer(config, input, output)
        return
    from swift.infer.terminal.loop import chat

    engine, tokenizer = load_engine(config)
    chat(engine, tokenizer, config.infer)
    engine.close()


def answer(config: RunConfig, input: Path, output: Path) -> None:
    """Answer the rows of a file; mistakes in the files are found before the model is loaded."""
    from swift.infer.batch import answer_file, read_prompts, staging
    from swift.infer.load import load_engine

    rows, unreadable = read_prompts(input, skip=config.data.on_error == "skip")
    staged = staging(output)
    engine, tokenizer = load_engine(config)
    try:
        count, refused = answer_file(rows, output, engine, tokenizer, config)
    finally:
        if staged.exists():
            click.echo(f"the answers so far: {staged}", err=True)
    engine.close()
    skipped = f", {unreadable + refused} rows skipped" if unreadable + refused else ""
    click.echo(f"{count} {'answer' if count == 1 else 'answers'}{skipped}: {output}")


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
        click.Option(
            ["--output"],
            type=click.Path(path_type=Path),
            help="where the answers go, as JSONL; replaced at the end",
        ),
    ],
)
