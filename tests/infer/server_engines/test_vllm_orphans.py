"""vLLM in process, whose process is killed: nothing of it may live on, holding a device's memory.

It starts vLLM (a minute of two cores), so it runs with SWIFT_TEST_VLLM_SERVER=1 only.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

pytestmark = pytest.mark.skipif(
    not os.environ.get("SWIFT_TEST_VLLM_SERVER") or importlib.util.find_spec("vllm") is None,
    reason="starts vLLM: set SWIFT_TEST_VLLM_SERVER=1 where vLLM is installed",
)

HOLDS_VLLM = """
import sys, time
from transformers import AutoTokenizer
from swift.core.engines import EngineSource
from swift.infer.engines.vllm.config import VllmEngineConfig
from swift.infer.engines.vllm.engine import build_vllm

if __name__ == "__main__":
    source = EngineSource(sys.argv[1], device="cpu")
    engine = build_vllm(source, AutoTokenizer.from_pretrained(sys.argv[1]), VllmEngineConfig(kv_cache_gb=0.5))
    print("started", flush=True)
    time.sleep(600)
"""


def test_a_killed_process_takes_its_vllm_along(tiny_model_dir: Path, tmp_path: Path) -> None:
    program = tmp_path / "holds_vllm.py"
    program.write_text(HOLDS_VLLM, encoding="utf-8")
    with subprocess.Popen(
        [sys.executable, str(program), str(tiny_model_dir)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        try:
            assert any(line == "started\n" for line in holder.stdout)  # others are vLLM's log
            children = psutil.Process(holder.pid).children(recursive=True)
            assert any("VLLM" in " ".join(child.cmdline()) for child in children)
        finally:
            holder.kill()
    gone, alive = psutil.wait_procs(children, timeout=20)
    for process in alive:
        process.kill()
    assert gone and not alive
