"""Runs llm-compressor in its own environment: weights and token ids go in by files, a folder comes out."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections import deque
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from swift.core.errors import ModelError
from swift.infer.quantize.job import Job

TAIL = 20
"""Lines of its output that an error shows."""


def run_llmcompressor(job: Job, method: str, config: BaseModel) -> None:
    """Quantise with llm-compressor, into the job's folder.

    Raises:
        EngineError: it is not installed.
        ModelError: it failed; the end of its output is part of the message.
    """
    from swift.infer.environments import python_of, variables

    python = python_of("llmcompressor")
    with tempfile.TemporaryDirectory(dir=job.folder.parent, prefix=".llmcompressor.") as work:
        source = Path(work) / "model"
        job.model.save_pretrained(source)
        job.processor.save_pretrained(source)
        task = {
            "method": method,
            "model": str(source),
            "output": str(job.folder),
            "rows": [row.tolist() for row in job.rows],
            "device": str(job.device),
            **config.model_dump(),
        }
        asked = Path(work) / "task.json"
        asked.write_text(json.dumps(task), encoding="utf-8")
        worker = Path(__file__).with_name("worker.py")
        _run([str(python), "-P", str(worker), str(asked)], variables(), job)  # -P: our folder is not its path


def _run(command: list[str], environment: dict[str, str], job: Job) -> None:
    tail: deque[str] = deque(maxlen=TAIL)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            tail.append(line.rstrip())
            progress = _progress(line)
            if progress is not None:
                job.say(f"llm-compressor: {progress}")
    if process.returncode != 0:
        raise ModelError(
            f"llm-compressor ended with status {process.returncode}:\n" + "\n".join(tail),
            "see its own message above; export.backend=own quantises without it",
        )


def _progress(line: str) -> Any:
    """What the worker says of itself: JSON lines with the key progress."""
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value.get("progress") if isinstance(value, dict) else None
