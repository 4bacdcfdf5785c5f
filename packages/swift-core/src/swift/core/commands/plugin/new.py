"""`swift plugin new`: a first plugin that works, with its test."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("new")
@click.argument("kind", metavar="KIND")
@click.argument("name", metavar="NAME")
@click.option("--cpp", is_flag=True, help="Do the work in C++ (loss, metric, optimizer, reward).")
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    help="Where the files go.  [default: the working directory]",
)
def command(kind: str, name: str, cpp: bool, directory: Path) -> None:
    """Write NAME.py, a working plugin of a KIND, and test_NAME.py.

    Kinds: loss, optimizer, scheduler, metric, callback, reward, template, dataset, model, tuner, objective,
    engine, rollout, filter, agent_format, loss_scale, content_filter. Nothing is overwritten.
    """
    from swift.plugin.scaffold.write import write_plugin, yaml_lines

    paths = write_plugin(kind, name, directory, native=cpp)
    for path in paths:
        click.echo(f"wrote {path}")
    sources = " ".join(str(path) for path in paths if not path.name.startswith("test_"))
    tests = " ".join(str(path) for path in paths if path.name.startswith("test_"))
    click.echo(f"\nin YAML:\n{yaml_lines(kind, name, paths)}")
    click.echo(f"\ntry it:\nswift plugin check {sources}\npytest {tests}")
