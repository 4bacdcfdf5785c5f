"""From a command to a run: claim the output folder, then train here or on the ranks of a strategy."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import cast

from swift.core.config.run import RunConfig
from swift.core.console import quiet_libraries, say
from swift.core.data.settings import check_settings
from swift.core.data.source import find_source
from swift.core.imports import no_collection
from swift.core.protocols import Strategy
from swift.core.registry import strategies
from swift.plugin.load import rest_sandboxes

WORKER_FILE = ".worker.json"


def train(run: RunConfig) -> int:
    """Run training to its end; the exit status of the command.

    Raises:
        SwiftError: anything the user can mend.
    """
    check_data(run)
    say("loading torch and transformers")
    with no_collection():
        from swift.core.train.record import claim_output

    if run.device.parallel_method is None:
        return train_here(run, claim_output(run))
    strategy = cast("Strategy", strategies.build(run.device.parallel_method, run.strategy, run.device))
    resume_from = claim_output(run)
    output = Path(run.checkpoint.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    worker_file = output / WORKER_FILE
    job = {
        "config": run.to_dict(),
        "folder": str(run.folder) if run.folder else None,
        "resume_from": str(resume_from) if resume_from else None,
    }
    worker_file.write_text(json.dumps(job), encoding="utf-8")
    rest_sandboxes()
    try:
        return strategy.launch([sys.executable, "-m", "swift.core.train.worker", str(worker_file)])
    finally:
        worker_file.unlink(missing_ok=True)


def check_data(run: RunConfig) -> None:
    """Find every data set before torch is imported: a misspelt path is the commonest mistake.

    Raises:
        ConfigError: settings of the data section that contradict each other.
        DataError: a name that means nothing.
        RegistryError: a filter that is not registered.
    """
    check_settings(run.data)
    for name in (*run.data.dataset_name, *run.data.val_dataset_name):
        find_source(name, run.folder, run.model.hub)


def train_here(run: RunConfig, resume_from: Path | None) -> int:
    """Train in this process and say how it ended."""
    with no_collection():
        from swift.core.train.result import report_result
        from swift.core.train.run import train_in_process

    quiet_libraries()
    result = train_in_process(run, resume_from)
    report_result(result)
    return result.signal_status or 0
