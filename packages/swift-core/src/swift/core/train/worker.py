"""One rank of a launched run: `python -m swift.core.train.worker JOB.json`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from swift.core.config.run import run_from_dict
from swift.core.console import quiet_loggers
from swift.core.errors import EXIT_INTERRUPTED, SwiftError
from swift.core.train.launch import train_here


def main(path: Path) -> int:
    """Train as the rank that the environment names (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_*)."""
    quiet_loggers()
    job = json.loads(path.read_text(encoding="utf-8"))
    folder = Path(job["folder"]) if job["folder"] else None
    try:
        run = run_from_dict(job["config"], folder)
        return train_here(run, Path(job["resume_from"]) if job["resume_from"] else None)
    except SwiftError as error:
        print(
            f"error: {error}", file=sys.stderr, flush=True
        )  # every rank: the launcher quotes one that failed
        return error.exit_code
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def run_and_exit(path: Path) -> None:
    """main() as the whole life of a process."""
    sys.exit(main(path))


if __name__ == "__main__":
    run_and_exit(Path(sys.argv[1]))
