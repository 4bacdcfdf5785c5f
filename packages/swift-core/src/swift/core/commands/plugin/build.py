"""`swift plugin build`: compile a folder's C++ and CUDA modules."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("build")
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--cache",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where compiled modules are kept.  [default: $SWIFT_PLUGIN_CACHE, or ~/.cache/swift/plugins]",
)
def command(folder: Path, cache: Path | None) -> None:
    """Compile every C++ and CUDA module of DIR to DIR/NAME.so.

    Each source with PYBIND11_MODULE is a module; sources without are linked into each of them. Unchanged
    sources are not compiled again.
    """
    from swift.core.console import say
    from swift.plugin.build import build_folder

    say(f"compiling {folder} (about half a minute for each changed source)")
    built = build_folder(folder, build_root=cache)
    for module in built:
        click.echo(f"{module.path}  ({module.seconds:.1f} s)")
    click.echo("\nin YAML:\nplugins:\n" + "\n".join(f"  - {module.path}" for module in built))
    names = ", ".join(module.name for module in built)
    click.echo(f"\nin the Python files that `plugins:` lists:\nimport {names}")
