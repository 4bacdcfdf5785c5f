"""`swift sample` and `swift-infer sample`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from swift.infer.commands.options import SAMPLING, file_option, given_run, options, run_command

SHORT = {
    "method": "infer.sample_method",
    "n": "infer.answers_per_prompt",
    "threshold": "infer.reward_threshold",
}


def run(words: tuple[str, ...], input: Path, output: Path, reward: tuple[str, ...], **given: Any) -> None:
    """Write training data."""
    if input.absolute() == output.absolute():
        raise click.UsageError("--input and --output are the same file")
    chosen = {key: given.pop(name) for name, key in SHORT.items()}
    further = [f"{key}={value}" for key, value in chosen.items() if value is not None]
    if reward:
        further.append(f"infer.reward_funcs={json.dumps(list(reward))}")
    config = given_run(words, given, further)
    from swift.infer.sample.run import sample

    counts = sample(config, input, output)
    for what, count in sorted(counts.items()):
        click.echo(f"{count:8} {what}")
    click.echo(f"{output}")


command = run_command(
    "sample",
    run,
    "Write training data out of a model's answers to the prompts of a file: the best of several, those "
    "above a bar, pairs of good and bad ones, or all of a teacher's. A stopped run goes on.",
    example="infer.temperature=1",
    params=[
        *options("model", "adapter", "engine", *SAMPLING),
        file_option("input", "prompts (JSONL, JSON, CSV, ...)", required=True),
        file_option("output", "rows that swift sft or rlhf reads", required=True),
        click.Option(
            ["--method"],
            type=click.Choice(["best_of_n", "rejection", "pairs", "distill"]),
            help="[infer.sample_method]",
        ),
        click.Option(
            ["-n", "n"], type=click.IntRange(1), help="answers a prompt  [infer.answers_per_prompt]"
        ),
        click.Option(["--reward"], multiple=True, help="registered reward  [infer.reward_funcs]"),
        click.Option(["--threshold"], type=float, help="least reward  [infer.reward_threshold]"),
    ],
)
