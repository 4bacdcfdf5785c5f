"""What a process draws where nobody watches."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

BARS = "from tqdm.auto import tqdm; [None for _ in tqdm(range(3))]"


@pytest.mark.parametrize(
    ("before", "drawn"),
    [("", True), ("from swift.core.console import no_bars_in_logs; no_bars_in_logs(); ", False)],
)
def test_no_bars_are_drawn_into_logs(before: str, drawn: bool) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TQDM_DISABLE"}
    done = subprocess.run(
        [sys.executable, "-c", before + BARS], stderr=subprocess.PIPE, env=environment, timeout=60, check=True
    )
    assert bool(done.stderr) == drawn
