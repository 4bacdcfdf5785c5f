"""`swift infer` and `swift-infer infer`."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from swift.infer.commands.options import (
    SAMPLING,
    adapters_option,
    file_option,
    given_run,
    options,
    run_command,
)

if TYPE_CHECKING:
    from swift.core.config.run import RunConfig


def run(words: tuple[str, ...], input: Path | None, output: Path | None, **short: Any) -> None:
    """Answer the rows of a file, or chat in the terminal."""
    if (input is None) != (output is None):
        raise click.UsageError("--input and --output go together")
    if input is not None and output is not None and input.absolute() == output.absolute():
        raise click.UsageError("--input and --output are the same file")
    config = given_run(words, short)
    if input is not None and output is not None:
        answer(config, input, output)
        return
    from swift.infer.load import load_engine
    from swift.infer.terminal.loop import chat

    engine, tokenizer = load_engine(config)
    with contextlib.closing(engine):
        chat(engine, tokenizer, config.infer)


def answer(config: RunConfig, input: Path, output: Path) -> None:
    """Answer the rows of a file; mistakes in the files are found before the model is loaded."""
    from swift.infer.batch import answer_file, staging
    from swift.infer.load import load_engine
    from swift.infer.rows import read_prompts

    rows, unreadable = read_prompts(input, skip=config.data.on_error == "skip")
    staged = staging(output)
    engine, tokenizer = load_engine(config)
    with contextlib.closing(engine):
        try:
            count, refused = answer_file(rows, output, engine, tokenizer, config)
        finally:
            if staged.exists():
                click.echo(f"the answers so far: {staged}", err=True)
    skipped = f", {unreadable + refused} rows skipped" if unreadable + refused else ""
    click.echo(f"{count} {'answer' if count == 1 else 'answers'}{skipped}: {output}")


command = run_command(
    "infer",
    run,
    "Chat with a model in the terminal, or answer the rows of a file.",
    example="infer.top_p=0.9",
    params=[
        *options("model", "adapter"),
        adapters_option(),
        *options("engine", *SAMPLING),
        file_option("input", "rows to answer (JSONL, JSON, CSV, ...)"),
        file_option("output", "where the answers go, as JSONL; replaced at the end"),
    ],
)
