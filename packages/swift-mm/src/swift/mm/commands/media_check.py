"""swift media-check."""

from __future__ import annotations

import click


@click.command("media-check")
@click.argument("names", metavar="DATA...", nargs=-1, required=True)
@click.option("--limit", type=int, help="look at the first so many rows of each data set only")
def command(names: tuple[str, ...], limit: int | None) -> int:
    """Open every image that these data sets name, and count what is there.

    DATA is a file, a folder or a registered name, as data.dataset_name takes it. Exit status 1 when a
    reference is bad; every bad one is listed with its row.
    """
    from swift.core.config.schema import DataConfig
    from swift.mm.media.check import check_media

    report = check_media(DataConfig.model_validate({"dataset_name": list(names), "max_samples": limit}))
    for problem in report.problems:
        click.echo(f"error: {problem}", err=True)
    click.echo(report.render())
    return 1 if report.problems else 0
