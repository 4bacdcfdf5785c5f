"""`swift sample` and `swift-infer sample`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from swift.infer.commands.options import as_overrides, options

SHORT = {
    "method": "infer.sample_method",
    "n": "infer.answers_per_prompt",
    "threshold": "infer.reward_threshold",
}


def run(words: tuple[str, ...], input: Path, output: Path, reward: tuple[str, ...], **given: Any) -> None:
    """Write training data."""
    if input.absolute() == output.absolute():
        raise click.UsageError("--input and --output are the same file")
    from swift.core.commands.train import config_and_overrides
    from swift.infer.load import load_infer_run
    from swift.infer.sample.run import sample

    path, overrides = config_and_overrides(words)
    short = [f"{key}={given.pop(name)}" for name, key in SHORT.items() if given[name] is not None]
    for name in SHORT:
        given.pop(name, None)
    named = [f"infer.reward_funcs={json.dumps(list(reward))}"] if reward else []
    config = load_infer_run(path, [*overrides, *short, *named, *as_overrides(given)])
    counts = sample(config, input, output)
    for what, count in sorted(counts.items()):
        click.echo(f"{count:8} {what}")
    click.echo(f"{output}")


command = click.Command(
    "sample",
    callback=run,
    help="Write training data out of a model's answers to the prompts of a file: the best of several, those "
    "above a bar, pairs of good and bad ones, or all of a teacher's. A stopped run goes on.\n\n"
    "CONFIG is a YAML file; OVERRIDES change or replace its keys, for example infer.temperature=1.",
    params=[
        click.Argument(["words"], nargs=-1, metavar="[CONFIG] [OVERRIDES]..."),
        *options("model", "adapter", "engine", "max-new-tokens", "temperature", "system", "seed"),
        click.Option(
            ["--input"],
            type=click.Path(path_type=Path),
            required=True,
            help="prompts (JSONL, JSON, CSV, ...)",
        ),
        click.Option(
            ["--output"],
            type=click.Path(path_type=Path),
            required=True,
            help="rows that swift sft or rlhf reads",
        ),
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
