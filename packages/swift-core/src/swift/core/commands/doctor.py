"""`swift doctor`."""

import click


@click.command(
    "doctor", help="Show what is installed, which devices and engines work, and how to get what is missing."
)
def command() -> None:
    from swift.core.doctor import diagnose, render

    click.echo(render(diagnose()))
