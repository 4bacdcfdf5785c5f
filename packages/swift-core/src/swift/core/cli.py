"""The `swift` command: a group whose commands come from entry points and load nothing until they run."""

from __future__ import annotations

import atexit
import gc
import sys
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import click

from swift.core.catalog import PROVIDERS
from swift.core.console import no_bars_in_logs, quiet_loggers
from swift.core.errors import EXIT_INTERRUPTED, RegistryError, SwiftError, did_you_mean

GROUP = "swift.commands"


class CommandGroup(click.Group):
    """Commands of the entry point group `swift.commands`, optionally only those of one namespace.

    Command modules import nothing but click at their top, so that listing them stays cheap.
    """

    def __init__(self, namespace: str = "swift", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.namespace = namespace
        self._entries: dict[str, EntryPoint] | None = None

    @property
    def entries(self) -> dict[str, EntryPoint]:
        """Entry points by command name."""
        if self._entries is None:
            offered = entry_points(group=GROUP)
            prefix = self.namespace + "."
            self._entries = {entry.name: entry for entry in offered if entry.value.startswith(prefix)}
        return self._entries

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names, sorted."""
        return sorted(self.entries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command's module."""
        entry = self.entries.get(cmd_name)
        if entry is None:
            return None
        command = self._load(entry)
        if not isinstance(command, click.Command):
            raise RegistryError(f"entry point {entry.value!r} of command {cmd_name!r} is not a click command")
        return command

    @staticmethod
    def _load(entry: EntryPoint) -> Any:
        try:
            return entry.load()
        except (
            ImportError,
            AttributeError,
        ) as error:  # one broken package must not take `swift --help` with it
            reason = str(error)
            return click.Command(
                entry.name, help=f"(cannot be loaded: {reason})", callback=lambda: _refuse(entry.name, reason)
            )

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """An unknown command names the nearest ones, or the package that brings it."""
        name = args[0] if args else ""
        if name and name not in self.entries and not name.startswith("-"):
            package = PROVIDERS["command"].get(name)
            remedy = f"pip install {package} brings it" if package else did_you_mean(name, self.entries)
            raise click.UsageError(f"no command {name!r}: {remedy}", ctx=ctx)
        return super().resolve_command(ctx, args)


def _refuse(name: str, reason: str) -> None:
    raise RegistryError(
        f"command {name!r} cannot be loaded: {reason}", "reinstall the package that offers it"
    )


def package_group(namespace: str, help_text: str = "") -> CommandGroup:
    """The executable of one package: the same commands it offers to `swift`."""
    name = namespace.replace(".", "-")
    return CommandGroup(
        namespace, name=name, help=help_text or f"Commands of {name}; `swift` offers all packages'."
    )


def run_group(group: click.Group) -> None:
    """Run a group as a program: expected errors in one or two lines, Ctrl-C with status 130."""
    quiet_loggers()
    no_bars_in_logs()
    # Python's last collections would look through all that torch and transformers made: seconds, for nothing.
    atexit.register(gc.freeze)
    try:
        status = group.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except SwiftError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.exceptions.Abort):
        click.echo("interrupted", err=True)
        sys.exit(EXIT_INTERRUPTED)
    sys.exit(status if isinstance(status, int) else 0)


def core_main() -> None:
    """Entry point of `swift-core`: the commands of this package alone."""
    run_group(package_group("swift.core"))


def main() -> None:
    """Entry point of `swift`: the commands of every installed package."""
    run_group(
        CommandGroup(
            name="swift",
            help="Train, align, serve, evaluate and shrink large language and multimodal models.\n\n"
            "swift COMMAND --help explains one command; swift doctor shows what this machine can do.",
        )
    )


if __name__ == "__main__":
    main()
