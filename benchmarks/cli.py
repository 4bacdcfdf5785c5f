"""CPU time of the command line before it does anything: `swift --help` and `swift sft --help`.

Run it as: python benchmarks/cli.py --runs 15
User and system time of the child processes are added; the median counts, since the first run fills caches.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

BOUND = 0.25  # seconds of CPU
COMMANDS = (("--help",), ("sft", "--help"), ("doctor", "--help"))


def child_seconds() -> float:
    """User and system seconds of every child that has ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def measure(command: list[str], runs: int) -> list[float]:
    """CPU seconds of each run."""
    seconds = []
    for _ in range(runs):
        before = child_seconds()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds.append(child_seconds() - before)
    return seconds


def executable() -> str:
    """`swift` of the environment that runs this script."""
    found = shutil.which("swift", path=str(Path(sys.executable).parent)) or shutil.which("swift")
    if found is None:
        raise SystemExit("no swift command beside this Python or on PATH: run this through `uv run`")
    return found


def main() -> int:
    """Print a table; status 1 when a median is above the bound."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=15)
    runs = parser.parse_args().runs
    slow = False
    bare = statistics.median(measure([sys.executable, "-c", "pass"], runs))
    print(f"{'command':<22} {'median s':>9} {'min s':>7} {'max s':>7}   (Python alone: {bare:.3f})")
    for arguments in COMMANDS:
        seconds = measure([executable(), *arguments], runs)
        median = statistics.median(seconds)
        slow |= median > BOUND
        name = " ".join(("swift", *arguments))
        verdict = f"{'within' if median <= BOUND else 'ABOVE'} {BOUND} s"
        print(f"{name:<22} {median:>9.3f} {min(seconds):>7.3f} {max(seconds):>7.3f}   {verdict}")
    return int(slow)


if __name__ == "__main__":
    sys.exit(main())
