"""swift tuners info."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from swift.tuners.info import AdapterInfo


@click.command("info")
@click.argument("source", metavar="RUN_OR_ADAPTER_DIR", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="print one JSON object")
def command(source: Path, as_json: bool) -> None:
    """Show an adapter's method, rank, targets, size and base."""
    import dataclasses
    import json

    from swift.tuners.info import adapter_info

    found = adapter_info(source)
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(found), default=str, indent=2))
        return
    width = max(len(name) for name, _ in lines(found))
    for name, value in lines(found):
        click.echo(f"{name:<{width}}  {value}")


def lines(found: AdapterInfo) -> list[tuple[str, str]]:
    """What is printed, name by name."""
    rank = "-".join(map(str, sorted({found.rank[0], found.rank[-1]}))) if found.rank else ""
    named = {
        "folder": str(found.folder),
        "method": found.method,
        "base": found.base or "not recorded",
        "task": found.task,
        "rank": rank,
        "alpha": "" if found.alpha is None else f"{found.alpha:g}",
        "layers": f"{found.layers}: {', '.join(found.targets)}".rstrip(": ") if found.layers else "",
        "saved in full": ", ".join(found.whole),
        "settings": ", ".join(f"{key}={value}" for key, value in found.settings.items()),
        "parameters": f"{found.parameters:,}",
        "size": f"{found.size:,} bytes of {', '.join(found.dtypes)}",
    }
    return [(name, value) for name, value in named.items() if value]
