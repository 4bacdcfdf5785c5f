"""swift tuners: what there is, what an adapter holds, adapters combined."""

from __future__ import annotations

import click


@click.group("tuners")
def command() -> None:
    """List methods, inspect adapters, combine them."""
