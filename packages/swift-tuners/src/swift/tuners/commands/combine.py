"""swift tuners combine."""

from __future__ import annotations

from pathlib import Path

import click

METHODS = ("linear", "ties", "dare_linear", "dare_ties", "cat", "svd")


@click.command("combine")
@click.argument(
    "sources", metavar="RUN_OR_ADAPTER_DIR...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option("--output", required=True, type=click.Path(path_type=Path), help="new folder for the adapter")
@click.option("--weights", help="one number for each adapter: 0.5,0.5; default: equal ones, their sum 1")
@click.option(
    "--method",
    type=click.Choice(METHODS),
    default="linear",
    show_default=True,
    help="cat is exact, at the sum of the ranks; svd is the best approximation at one rank",
)
@click.option("--density", type=float, help="share of numbers that ties and dare keep, such as 0.5")
@click.option("--rank", type=int, help="of the result of svd; default: the largest one")
@click.option("--seed", type=int, default=42, show_default=True, help="of what dare prunes")
def command(
    sources: tuple[Path, ...],
    output: Path,
    weights: str | None,
    method: str,
    density: float | None,
    rank: int | None,
    seed: int,
) -> None:
    """Combine LoRA adapters of one base into one adapter in peft's format; needs no base."""
    from swift.tuners.combine import combine_adapters

    shares = numbers(weights) if weights is not None else [1 / len(sources)] * len(sources)
    folder = combine_adapters(
        sources,
        output,
        shares,
        method,
        density=density,
        rank=rank,
        seed=seed,
    )
    click.echo(f"combined adapter: {folder}")


def numbers(text: str) -> list[float]:
    """Numbers that commas separate.

    Raises:
        click.BadParameter: something between two commas is no number.
    """
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise click.BadParameter(f"{error}; write --weights 0.5,0.5", param_hint="--weights") from None
