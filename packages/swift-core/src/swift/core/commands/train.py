"""`swift sft`, `swift pt` and every other command that trains: one factory, different stages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

OVERRIDES_HELP = "Any key can be set as section.key=value, for example train.max_steps=20."


def training_command(name: str, summary: str, stage: str | None) -> click.Command:
    """A command that trains.

    Args:
        stage: what train.stage is when the configuration does not say; None makes it required.
    """

    def run(config: Path | None, overrides: tuple[str, ...], help_config: bool) -> int:
        if help_config:
            from swift.core.config.help import config_help
            from swift.core.config.run import load_run_plugins

            load_run_plugins(config, overrides)
            click.echo(config_help())
            return 0
        return train(config, overrides, stage)

    epilog = f"{OVERRIDES_HELP} All keys: swift {name} --help-config."
    return click.Command(
        name,
        callback=run,
        help=f"{summary}\n\nCONFIG is a YAML file; OVERRIDES change or replace its keys.",
        epilog=epilog,
        params=[
            click.Argument(
                ["config"],
                metavar="[CONFIG] [OVERRIDES]...",
                required=False,
                callback=_split_config,
                expose_value=False,
                nargs=-1,
            ),
            click.Option(
                ["--help-config", "help_config"],
                is_flag=True,
                help="Explain every configuration key, those of CONFIG's plugins too.",
            ),
        ],
    )


def _split_config(ctx: click.Context, parameter: click.Parameter, words: tuple[str, ...]) -> None:
    """The first word without "=" is the YAML file, everything else an override."""
    ctx.params["config"], ctx.params["overrides"] = config_and_overrides(words)


def config_and_overrides(words: tuple[str, ...]) -> tuple[Path | None, tuple[str, ...]]:
    """Split `[CONFIG] [section.key=value ...]`.

    Raises:
        click.UsageError: a second word that is not an override.
    """
    if words and "=" not in words[0]:
        first, words = Path(words[0]), words[1:]
    else:
        first = None
    for word in words:
        if "=" not in word:
            raise click.UsageError(f"{word!r} is not of the form section.key=value ({OVERRIDES_HELP})")
    return first, words


def train(config: Path | None, overrides: tuple[str, ...], stage: str | None) -> int:
    """Check the configuration, then load what training needs."""
    from swift.core.config.run import load_run
    from swift.core.errors import ConfigError

    defaults: dict[str, Any] = {"train.stage": stage} if stage else {}
    run = load_run(config, overrides, defaults)
    if stage is None and "stage" not in run.loop.model_fields_set:
        raise ConfigError("train.stage is not set", "say what to optimise, for example train.stage=dpo")
    if not run.data.dataset_name:
        raise ConfigError(
            "data.dataset_name is not set",
            "name a file, a registered data set or a hub id: data.dataset_name=PATH",
        )
    from swift.core.train.launch import train as launch

    return launch(run)
