"""swift tuners: what there is, what an adapter holds, adapters combined."""

from __future__ import annotations

import click

from swift.tuners.commands import combine, info, listing


@click.group("tuners")
def command() -> None:
    """List methods, inspect adapters, combine them."""


for subcommand in (combine.command, info.command, listing.command):
    command.add_command(subcommand)
