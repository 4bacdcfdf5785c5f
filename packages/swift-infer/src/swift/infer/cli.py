"""The executable `swift-infer`: the commands of this package."""

from __future__ import annotations

from swift.core.cli import package_group, run_group


def main() -> None:
    """Entry point."""
    run_group(package_group("swift.infer"))
