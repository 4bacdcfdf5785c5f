"""Settings of every test: no network, few threads, caches in a folder that goes away, a process a core."""

from __future__ import annotations

import multiprocessing.util
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

# Read by libraries while they are imported, so set before any of them is; child processes inherit them.
_caches: tempfile.TemporaryDirectory[str] | None = None
if "PYTEST_XDIST_WORKER" not in os.environ:  # a worker has them from the process that started it
    _caches = tempfile.TemporaryDirectory(prefix="swift-tests-", ignore_cleanup_errors=True)
    os.environ |= {
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "HF_HOME": _caches.name,
        "TOKENIZERS_PARALLELISM": "false",
        "SWIFT_PLUGIN_CACHE": f"{_caches.name}/plugins",  # one compilation for all tests
    }
    os.environ.setdefault("OMP_NUM_THREADS", "1")

ASK_VLLM = ("tests/infer/contract/", "tests/rlhf/test_policy.py", "tests/tuners/test_vllm.py")
MOST_WORKERS = 4  # each imports torch and holds engines and models of its own


def pytest_unconfigure(config: pytest.Config) -> None:
    """Delete the caches."""
    if _caches is not None:
        _caches.cleanup()


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """A process a core for the whole suite; none for a part of it, which starts sooner without."""
    part = config.option.file_or_dir or config.option.keyword or config.option.lf
    cores = len(os.sched_getaffinity(0))
    return 0 if part or cores < 2 else min(cores, MOST_WORKERS)


class ByFile(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """A file stays in one process, for its fixtures; so does all that asks vLLM, for its engine."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "vllm" if file.startswith(ASK_VLLM) else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:
    """What is dealt out to the processes."""
    return ByFile(config, log)


@pytest.fixture(scope="session", autouse=True)
def short_socket_paths() -> None:
    """multiprocessing keeps the folder it takes first; those of tests are too long for its sockets."""
    multiprocessing.util.get_temp_dir()


@pytest.fixture(scope="session")
def tiny_model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the weights, configuration and tokenizer of tiny/qwen3."""
    import torch

    from swift.core.config.schema import ModelConfig
    from swift.core.models.load import load_model, load_processor, save_model

    folder = tmp_path_factory.mktemp("tiny-qwen3")
    config = ModelConfig()
    save_model(load_model(config, dtype=torch.float32, device="cpu"), load_processor(config), folder)
    return folder


@pytest.fixture(scope="session")
def vllm_engine(tiny_model_dir: Path) -> Iterator[Any]:
    """vLLM over that folder, with room for two adapters; one for all tests: it takes a minute to start."""
    pytest.importorskip("vllm")
    from transformers import AutoTokenizer

    from swift.core.engines import EngineSource
    from swift.infer.engines.vllm.config import VllmEngineConfig
    from swift.infer.engines.vllm.engine import build_vllm

    config = VllmEngineConfig(kv_cache_gb=0.5, max_loras=2, max_lora_rank=8)
    engine = build_vllm(
        EngineSource(str(tiny_model_dir), device="cpu"), AutoTokenizer.from_pretrained(tiny_model_dir), config
    )
    yield engine
    engine.close()
    engine.close()
    assert not engine.health().ready


@pytest.fixture
def untouched_registries() -> Iterator[None]:
    """Leave every registry as it was, no plugin loaded and no process of one behind."""
    from swift.core.registry import REGISTRIES
    from swift.plugin import load

    before = {kind: known.registered() for kind, known in REGISTRIES.items()}
    loaded = dict(load._loaded)
    yield
    load.rest_sandboxes()
    for kind, known in REGISTRIES.items():
        known.restore(before[kind])
    load._loaded.clear()
    load._loaded.update(loaded)
