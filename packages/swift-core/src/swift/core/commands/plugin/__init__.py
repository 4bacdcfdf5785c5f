"""`swift plugin`: write, build, check and list the user's own parts. Subcommands load when they run."""

from __future__ import annotations

import importlib

import click

SUBCOMMANDS = ("build", "check", "list", "new")


class PluginGroup(click.Group):
    """Each subcommand is `command` of the module of its name beside this one."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names, sorted."""
        return list(SUBCOMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one subcommand's module."""
        if cmd_name not in SUBCOMMANDS:
            return None
        command: click.Command = importlib.import_module(f"{__name__}.{cmd_name}").command
        return command


command = PluginGroup("plugin", help="Write, build, check and list plugins: your own parts of a run.")
