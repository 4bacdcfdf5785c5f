"""`swift export` and `swift-infer export`."""

from __future__ import annotations

import json
from typing import Any

import click

from swift.infer.commands.options import given_run, options, run_command

NONE = "none"


def run(words: tuple[str, ...], method: str | None, output: str | None, **short: Any) -> None:
    """Write a plain or quantised copy of a model."""
    chosen = [] if method is None else [method_key(method)]
    if output is not None:
        chosen.append(f"export.output_dir={json.dumps(output)}")
    config = given_run(words, short, chosen)
    from swift.infer.quantize.export import export
    from swift.infer.quantize.report import lines

    for line in lines(export(config)):
        click.echo(line)


def method_key(method: str) -> str:
    """The override that --method stands for.

    Raises:
        RegistryError: no such method.
    """
    from swift.core.errors import RegistryError, did_you_mean
    from swift.core.registry import quantizers

    if method == NONE:
        return "export.method=null"
    if method not in quantizers:
        raise RegistryError(f"unknown method {method!r}", did_you_mean(method, [NONE, *quantizers.names()]))
    return f"export.method={method}"


command = run_command(
    "export",
    run,
    "Write a model as a new folder: plain, or quantised; an adapter is merged first.\n\n"
    "The model is measured before and after, on rows that data.val_dataset_name names or that are held out "
    "of data.dataset_name.",
    example="data.dataset_name=rows.jsonl export.bits=4",
    params=[
        *options("model", "adapter"),
        click.Option(
            ["--method"],
            help="gptq, awq, fp8, int8, bnb-nf4, bnb-int8, gguf, or none for plain weights  [export.method]",
        ),
        click.Option(["--output"], help="new folder  [export.output_dir]"),
    ],
)
