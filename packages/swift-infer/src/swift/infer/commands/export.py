"""`swift export` and `swift-infer export`."""

from __future__ import annotations

import json
from typing import Any

import click

from swift.infer.commands.options import as_overrides, options

NONE = "none"


def run(words: tuple[str, ...], method: str | None, output: str | None, **short: Any) -> None:
    """Write a plain or quantised copy of a model."""
    from swift.core.commands.train import config_and_overrides
    from swift.infer.load import load_infer_run

    path, overrides = config_and_overrides(words)
    chosen = [] if method is None else [f"export.method={'null' if method == NONE else method}"]
    if output is not None:
        chosen.append(f"export.output_dir={json.dumps(output)}")
    config = load_infer_run(path, [*overrides, *as_overrides(short), *chosen])
    from swift.infer.quantize.export import export
    from swift.infer.quantize.report import lines

    for line in lines(export(config)):
        click.echo(line)


command = click.Command(
    "export",
    callback=run,
    help="Write a model as a new folder: plain, or quantised; an adapter is merged first.\n\n"
    "The model is measured before and after, on rows that data.val_dataset_name names or that are held out "
    "of data.dataset_name. CONFIG is a YAML file; OVERRIDES change or replace its keys, for example "
    "data.dataset_name=rows.jsonl export.bits=4.",
    params=[
        click.Argument(["words"], nargs=-1, metavar="[CONFIG] [OVERRIDES]..."),
        *options("model", "adapter"),
        click.Option(
            ["--method"],
            help="gptq, awq, fp8, int8, bnb-nf4, bnb-int8, gguf, or none for plain weights  [export.method]",
        ),
        click.Option(["--output"], help="new folder  [export.output_dir]"),
    ],
)
