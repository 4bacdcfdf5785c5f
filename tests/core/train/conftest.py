"""Runs in processes of their own, forked from one server that has imported everything once."""

from __future__ import annotations

import json
import multiprocessing
import random
import resource
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from swift.core.train.worker import run_and_exit

Sections = dict[str, dict[str, Any]]
WORDS = """the quick brown fox jumps over a lazy dog while seven wizards brew strong coffee at dawn
and nobody asks why""".split()


@pytest.fixture(scope="session")
def chat_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 chats of unequal length."""
    draw = random.Random(1)
    path = tmp_path_factory.mktemp("data") / "chats.jsonl"
    rows = []
    for _ in range(48):
        question = " ".join(draw.choices(WORDS, k=draw.randint(2, 9)))
        answer = " ".join(draw.choices(WORDS, k=draw.randint(2, 20)))
        rows.append({"prompt": question, "response": answer})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def sections(chat_file: Path, tmp_path: Path) -> Sections:
    """A small full-parameter run with dropout-free determinism; tests change what they need."""
    return {
        "model": {"model_id": "tiny/qwen3"},
        "data": {"dataset_name": str(chat_file), "max_length": 128},
        "train": {
            "output_dir": str(tmp_path / "run"),
            "per_device_train_batch_size": 4,
            "max_steps": 12,
            "learning_rate": 1e-3,
            "save_steps": 4,
            "save_total_limit": None,
        },
    }


@pytest.fixture(scope="session")
def fork_run() -> Callable[[Sections, Path | None], BaseProcess]:
    """Start a run in another process; file_limit is the largest file in bytes that it may write."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["swift.core.train.worker", "swift.core.train.run", "swift.infer.engines.transformers.engine"]
    )

    def start(
        sections: Sections, resume_from: Path | None = None, file_limit: int | None = None
    ) -> BaseProcess:
        output = Path(sections["train"]["output_dir"])
        output.mkdir(parents=True, exist_ok=True)
        job = output / ".job.json"
        content = {
            "config": sections,
            "folder": None,
            "resume_from": str(resume_from) if resume_from else None,
        }
        job.write_text(json.dumps(content))
        process = context.Process(target=run_and_exit, args=(job,))
        process.start()
        if file_limit is not None and process.pid is not None:  # in time: the child imports before it writes
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (file_limit, file_limit))
        return process

    return start
