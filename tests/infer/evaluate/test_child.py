"""The worker process: what it says when it fails, falls silent or dies, and that nothing of it stays."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from swift.core.errors import EngineError
from swift.infer.evaluate.child import Worker


def test_a_failed_order_leaves_the_worker_usable(tmp_path: Path) -> None:
    with Worker(tmp_path / "deep", 60.0) as worker:
        for _ in range(2):
            with pytest.raises(EngineError, match="no order 'nothing'") as raised:
                worker.ask({"do": "nothing"})
            assert str(worker.log) in str(raised.value)
        process = worker._process
        assert process is not None
        os.killpg(process.pid, signal.SIGKILL)
        with pytest.raises(EngineError, match="has ended"):
            worker.ask({"do": "nothing"})
        with pytest.raises(EngineError, match="no order"):  # a new one takes its place
            worker.ask({"do": "nothing"})
    assert process.poll() is not None


def test_silence_is_ended(tmp_path: Path) -> None:
    with Worker(tmp_path, 0.6) as worker:  # the import of EvalScope takes longer, and says nothing
        with pytest.raises(EngineError, match=r"has written nothing for 0\.6 s"):
            worker.ask({"do": "check"})
        assert worker._process is None
