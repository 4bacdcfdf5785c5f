"""SGLang's command line (0.5.23)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from swift.core.engines import EngineSource
from swift.infer.engines.process.adapters import LEAST_RANK, OfferedAdapter, rank_of
from swift.infer.engines.process.words import option
from swift.infer.engines.sglang.config import SglangEngineConfig

MODULE = "sglang.launch_server"
ENVIRONMENT = {"SGLANG_RETURN_ORIGINAL_LOGPROB": "true"}
"""Log-probabilities before the division by the temperature, as everywhere else here."""


def command(
    source: EngineSource,
    config: SglangEngineConfig,
    python: Path,
    port: int,
    adapters: Iterable[OfferedAdapter] = (),
    rank: int = LEAST_RANK,
) -> list[str]:
    """The command line.

    Args:
        adapters: on offer from the start.
        rank: greatest one of those that may come.
    """
    words = [str(python), "-m", MODULE, "--model-path", source.model, "--host", "127.0.0.1"]
    words += ["--port", str(port), "--dtype", source.dtype, "--random-seed", str(source.seed)]
    words += ["--tensor-parallel-size", str(config.tensor_parallel_size)]
    words += ["--incremental-streaming-output", "--log-level-http", "warning"]
    words += option("--device", None if source.device == "auto" else source.device)
    words += option("--context-length", config.max_length or source.max_length)
    words += option("--max-running-requests", config.max_running)
    words += option("--mem-fraction-static", config.gpu_memory_utilization)
    words += option("--tokenizer-path", source.tokenizer or None)
    words += option("--revision", source.revision)
    words += option("--chat-template", source.chat_template)
    words += ["--trust-remote-code"] if source.trust_remote_code else []
    words += ["--enable-deterministic-inference"] if config.deterministic else []
    return [*words, *_lora(config, adapters, rank), *config.extra_args]


def room_for_adapters(source: EngineSource, config: SglangEngineConfig) -> int:
    """How many adapters one batch may use."""
    return len(source.adapters) if config.max_loras is None else config.max_loras


def room_for_rank(source: EngineSource, config: SglangEngineConfig) -> int:
    """The greatest rank of an adapter.

    Raises:
        EngineError: an adapter without a readable configuration.
    """
    return config.max_lora_rank or max([LEAST_RANK, *map(rank_of, source.adapters.values())])


def _lora(config: SglangEngineConfig, adapters: Iterable[OfferedAdapter], rank: int) -> list[str]:
    if not config.max_loras:
        return []
    # one more than asked for: SGLang counts requests without an adapter as one
    words = [
        "--enable-lora",
        "--max-loras-per-batch",
        str(config.max_loras + 1),
        "--max-lora-rank",
        str(rank),
    ]
    words += ["--lora-target-modules", "all"]  # or adapters that come later would have to fit the first ones
    paths = [f"{adapter.served}={adapter.folder}" for adapter in adapters]
    return [*words, "--lora-paths", *paths] if paths else words
