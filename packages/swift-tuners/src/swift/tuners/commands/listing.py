"""swift tuners list."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

    from swift.tuners.catalogue import Method

COLUMNS = ("name", "kind", "trains", "paper", "source", "needs")


@click.command("list")
@click.option("--json", "as_json", is_flag=True, help="print a JSON array")
@click.option("--kind", type=click.Choice(["tuner", "optimizer", "callback", "setting"]), help="only these")
def command(as_json: bool, kind: str | None) -> None:
    """List the methods: what each trains, its paper, who implements it, what it needs.

    A tuner is chosen by train.tuner_strategy, an optimizer by train.optim; --json has the key of each.
    """
    import dataclasses
    import json

    from swift.tuners.catalogue import methods

    found = [method for method in methods() if kind in (None, method.kind)]
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(method) for method in found], indent=2))
        return
    for line in table(found):
        click.echo(line)


def table(found: Sequence[Method]) -> list[str]:
    """Aligned columns under their names."""
    rows = [COLUMNS, *(tuple(str(getattr(method, column)) for column in COLUMNS) for method in found)]
    widths = [max(len(row[index]) for row in rows) for index in range(len(COLUMNS))]
    return [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
