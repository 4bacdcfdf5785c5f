"""swift merge."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("merge")
@click.argument("source", metavar="RUN_OR_ADAPTER_DIR", type=click.Path(path_type=Path))
@click.option(
    "--output", required=True, type=click.Path(path_type=Path), help="new folder for the merged model"
)
@click.option("--model", "model_id", help="base model; default: the one that the adapter names")
@click.option(
    "--dtype",
    type=click.Choice(["auto", "float32", "bfloat16", "float16"]),
    default="auto",
    show_default=True,
    help="precision of the merged weights",
)
@click.option("--max-shard-size", default="5GB", show_default=True, help="largest weight file")
def command(source: Path, output: Path, model_id: str | None, dtype: str, max_shard_size: str) -> None:
    """Merge an adapter into its base model: a plain model folder that needs no adapter."""
    from swift.tuners.adapters import adapter_head, find_adapter
    from swift.tuners.merge import merge_adapter, merge_notes

    folder = merge_adapter(source, output, model_id, dtype, max_shard_size)
    adapter = find_adapter(source)
    click.echo(f"merged model: {folder}")
    for note in merge_notes(adapter, model_id):
        click.echo(note)
    if adapter_head(adapter) is None:
        click.echo(f"chat with it: swift infer --model {folder}")
