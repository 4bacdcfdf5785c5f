"""`swift engines` and `swift-infer engines`."""

from __future__ import annotations

import click


def show() -> None:
    """One line for every engine and tool."""
    from rich.console import Console
    from rich.table import Table

    from swift.infer.environments.listing import lines

    table = Table(box=None, pad_edge=False)
    for title in ("engine", "version", "state", "runs in"):
        table.add_column(title, overflow="fold")
    for line in lines():
        table.add_row(line.name, line.version or "-", line.state, line.where)
    Console().print(table)


@click.group("engines", invoke_without_command=True)
@click.pass_context
def command(context: click.Context) -> None:
    """List the engines, or make environments for those that need their own.

    Without a command: each engine, its version, whether it is ready, and where it would run.
    """
    if context.invoked_subcommand is None:
        show()


@command.command()
@click.argument("name")
@click.option(
    "--with", "added", multiple=True, metavar="REQUIREMENT", help="a further requirement; may be repeated"
)
def install(name: str, added: tuple[str, ...]) -> None:
    """Make the environment of an engine, in the cache or in $SWIFT_ENVIRONMENTS."""
    from swift.infer.environments.create import install as make
    from swift.infer.environments.place import folder_of

    record = make(name, added, say=click.echo)
    size = f"{record.size / 1e9:.2f} GB" if record.size >= 1e9 else f"{record.size / 1e6:.0f} MB"
    click.echo(f"{name} {record.version}: {size} in {folder_of(name)}")


@command.command()
@click.argument("name")
def remove(name: str) -> None:
    """Delete the environment of an engine."""
    from swift.infer.environments.create import remove as delete

    click.echo(f"{name}: deleted" if delete(name) else f"{name}: nothing to delete")
