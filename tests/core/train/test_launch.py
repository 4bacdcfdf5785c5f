"""A mistake in the names of the data is found before torch is imported."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import sys
from swift.core.config.run import run_from_dict
from swift.core.errors import DataError
from swift.core.train.launch import train
try:
    train(run_from_dict({"data": {"dataset_name": "no_such_file.json"}}))
except DataError as error:
    print("torch" in sys.modules, error.problem)
"""


def test_a_missing_file_is_found_at_once() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.startswith("False data set 'no_such_file.json'")
