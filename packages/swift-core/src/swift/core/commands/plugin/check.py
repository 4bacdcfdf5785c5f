"""`swift plugin check`: load plugins and run every part on synthetic values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from swift.plugin.testing import PartReport


@click.command("check")
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option("--sandboxed", is_flag=True, help="Load them as trust: sandboxed does.")
@click.option(
    "--config",
    "configs",
    metavar="[NAME=]{...}",
    multiple=True,
    help="Arguments of a part as JSON, for example my_loss='{\"gamma\": 2}'. Without NAME: of the only one.",
)
def command(files: tuple[str, ...], sandboxed: bool, configs: tuple[str, ...]) -> int:
    """Try plugins without a run.

    FILE is a .py, .cpp, .cu or .so file, or an installed module. Each part that the files register is
    checked: its signature, then its results on synthetic values of the right shapes (finite, differentiable,
    deterministic, right types and devices). Exit status 1 where something fails.
    """
    from swift.core.errors import SwiftError
    from swift.plugin.testing import check_files, load_files

    trust: Any = "sandboxed" if sandboxed else "trusted"
    try:
        names = [component.name for _, component in load_files(files, trust)]
        reports = check_files(files, parse_configs(configs, names), trust)
    except SwiftError as error:
        click.echo(f"failed: {error}")
        return 1
    for report in reports:
        show(report)
    failed = sum(len(report.failures) for report in reports)
    parts = f"{len(reports)} part{'s' if len(reports) != 1 else ''} checked"
    checks = f"{failed} check{'s' if failed != 1 else ''} failed" if failed else "none failed"
    click.echo(f"{parts}, {checks}")
    return 1 if failed else 0


def show(report: PartReport) -> None:
    """One line a check, under the part that it is about."""
    click.echo(report.component.described(report.kind))
    for check in report.checks:
        detail = check.detail.replace("\n", "\n" + " " * 19)
        click.echo(f"  {check.status:<14}  {check.name}{': ' if detail else ''}{detail}")


def parse_configs(configs: tuple[str, ...], names: list[str]) -> dict[str, dict[str, Any]]:
    """Arguments by name, from `NAME={...}` or `{...}`.

    Raises:
        ConfigError: no JSON object, or one without a name where several parts are registered.
    """
    import json

    from swift.core.errors import ConfigError

    result = {}
    for text in configs:
        name, _, rest = ("", "", text) if text.lstrip().startswith("{") else text.partition("=")
        if not name and len(names) != 1:
            raise ConfigError(
                f"--config {text} names no part, and there are {len(names)}",
                f"write NAME={text}; names: {', '.join(names) or 'none'}",
            )
        try:
            value = json.loads(rest)
        except json.JSONDecodeError as error:
            raise ConfigError(f"--config {text} is not JSON: {error}", 'write {"key": value}') from None
        if not isinstance(value, dict):
            raise ConfigError(f"--config {text} is no JSON object", 'write {"key": value}')
        result[name or names[0]] = value
    return result
