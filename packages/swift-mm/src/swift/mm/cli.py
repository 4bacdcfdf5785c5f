"""The swift-mm command: this package's commands without the rest of the suite."""

from __future__ import annotations

from swift.core.cli import package_group, run_group


def main() -> None:
    """Entry point."""
    run_group(package_group("swift.mm"))
