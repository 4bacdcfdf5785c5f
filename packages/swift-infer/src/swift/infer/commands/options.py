"""What the commands share: their words, short options that stand for configuration keys, and the run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from swift.core.config.run import RunConfig

SHORT = {
    "model": ("model.model_id", "model folder, hub id, short name or tiny/NAME"),
    "adapter": ("model.adapter", "adapter folder, or the output folder of a run"),
    "adapters": ("infer.adapters", ""),  # adapters_option
    "engine": ("infer.engine", "who generates"),
    "max-new-tokens": ("infer.max_new_tokens", "longest answer, in tokens"),
    "temperature": ("infer.temperature", "0: greedy"),
    "system": ("infer.system", "system message"),
    "seed": ("infer.seed", "seed of the sampling"),
    "host": ("infer.host", "address to listen on"),
    "port": ("infer.port", "port to listen on; 0: any free one"),
    "served-model-name": ("infer.served_model_name", "model name in the API"),
}
SAMPLING = ("max-new-tokens", "temperature", "system", "seed")


def run_command(
    name: str,
    callback: Callable[..., Any],
    does: str,
    *,
    example: str,
    params: Sequence[click.Parameter],
    epilog: str | None = None,
) -> click.Command:
    """A command that takes [CONFIG] [OVERRIDES]... before its options.

    Args:
        does: what it does, for its help page.
        example: of an override.
    """
    words = click.Argument(["words"], nargs=-1, metavar="[CONFIG] [OVERRIDES]...")
    keys = f"CONFIG is a YAML file; OVERRIDES change or replace its keys, for example {example}."
    return click.Command(
        name, callback=callback, help=f"{does}\n\n{keys}", params=[words, *params], epilog=epilog
    )


def options(*names: str) -> list[click.Parameter]:
    """Click options; each is short for the key it names."""
    return [click.Option([f"--{name}"], help=f"{SHORT[name][1]}  [{SHORT[name][0]}]") for name in names]


def adapters_option() -> click.Option:
    """--adapters NAME=PATH, once for each."""
    return click.Option(
        ["--adapters"],
        multiple=True,
        metavar="NAME=PATH",
        callback=_named_folders,
        help="LoRA adapter beside the model, chosen by a request's model; once for each  [infer.adapters]",
    )


def _named_folders(
    context: click.Context, option: click.Parameter, given: tuple[str, ...]
) -> dict[str, str] | None:
    """Name -> folder; None: the configuration's own."""
    folders: dict[str, str] = {}
    for word in given:
        name, _, folder = word.partition("=")
        if not name or not folder:
            raise click.BadParameter(f"{word!r} is not NAME=PATH", context, option)
        if name in folders:
            raise click.BadParameter(f"{name!r} is given twice", context, option)
        folders[name] = folder
    return folders or None


def file_option(name: str, help: str, *, required: bool = False) -> click.Option:
    """An option that names a file."""
    return click.Option([f"--{name}"], type=click.Path(path_type=Path), required=required, help=help)


def as_overrides(values: dict[str, Any]) -> list[str]:
    """The overrides that the given short options stand for; the value is YAML, or JSON for words and maps."""
    import json

    whole = ("infer.system", "infer.served_model_name", "infer.adapters", "model.model_id", "model.adapter")
    overrides = []
    for name, value in values.items():
        key, _ = SHORT[name.replace("_", "-")]
        if value is not None:
            written = json.dumps(value, ensure_ascii=False) if key in whole else value
            overrides.append(f"{key}={written}")
    return overrides


def given_run(words: tuple[str, ...], short: dict[str, Any], further: Sequence[str] = ()) -> RunConfig:
    """The run that words and options describe, its model and adapter resolved.

    Args:
        short: values of options().
        further: overrides that other options stand for.

    Raises:
        SwiftError: a key that cannot be used, or an adapter that is none.
    """
    from swift.core.commands.train import config_and_overrides
    from swift.infer.load import load_infer_run

    path, overrides = config_and_overrides(words)
    return load_infer_run(path, [*overrides, *as_overrides(short), *further])
