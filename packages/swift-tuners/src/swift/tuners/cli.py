"""The swift-tuners command: this package's commands without the rest of the suite."""

from __future__ import annotations

from importlib.metadata import EntryPoint

from swift.core.cli import GROUP, CommandGroup, run_group

SUBCOMMANDS = {"combine": "combine", "info": "info", "list": "listing"}  # name -> module


class TunersGroup(CommandGroup):
    """What `swift` offers under `swift tuners` stands here beside the other commands."""

    @property
    def entries(self) -> dict[str, EntryPoint]:
        """Entry points by command name."""
        own = {name: entry for name, entry in super().entries.items() if name != "tuners"}
        return own | {
            name: EntryPoint(name, f"swift.tuners.commands.{module}:command", GROUP)
            for name, module in SUBCOMMANDS.items()
        }


def group() -> TunersGroup:
    """The executable's commands."""
    return TunersGroup(
        "swift.tuners",
        name="swift-tuners",
        help="Commands of swift-tuners; `swift` offers all packages'.",
    )


def main() -> None:
    """Entry point."""
    run_group(group())
