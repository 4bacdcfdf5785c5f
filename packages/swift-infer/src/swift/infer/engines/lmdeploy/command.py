"""LMDeploy's command line (0.18.0), always with its PyTorch backend.

Only that backend has adapters, log-probabilities of the model itself and biases on tokens.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from swift.core.engines import EngineSource
from swift.core.errors import EngineError
from swift.infer.engines.lmdeploy.config import LmdeployEngineConfig
from swift.infer.engines.process.adapters import OfferedAdapter
from swift.infer.engines.process.words import option

MODULE = "lmdeploy"
MODEL = "model"  # its name on the server, which only we ask
DTYPES = ("auto", "float16", "bfloat16")


def command(
    source: EngineSource,
    config: LmdeployEngineConfig,
    python: Path,
    port: int,
    adapters: Iterable[OfferedAdapter] = (),
) -> list[str]:
    """The command line, for a source that has passed check()."""
    words = [str(python), "-m", MODULE, "serve", "api_server", source.model, "--model-name", MODEL]
    words += ["--server-name", "127.0.0.1", "--server-port", str(port), "--backend", "pytorch"]
    words += ["--dtype", source.dtype, "--tp", str(config.tensor_parallel_size)]
    words += ["--logprobs-mode", "raw_logprobs", "--log-level", "WARNING"]
    # or the model's own defaults fill in what a request leaves out
    words += ["--generation-config", "lmdeploy"]
    words += option("--session-len", config.max_length or source.max_length)
    words += option("--max-batch-size", config.max_running)
    words += option("--cache-max-entry-count", config.gpu_memory_utilization)
    words += option("--revision", source.revision)
    words += ["--trust-remote-code"] if source.trust_remote_code else []
    paths = [f"{adapter.served}={adapter.folder}" for adapter in adapters]
    words += ["--adapters", *paths] if paths else []
    return [*words, *config.extra_args]


def check(source: EngineSource) -> None:
    """Raises EngineError for what LMDeploy cannot be given."""
    if source.device == "cpu":
        raise EngineError(
            "LMDeploy runs on GPUs only, and device.device is cpu", "choose another infer.engine"
        )
    if source.dtype not in DTYPES:
        raise EngineError(
            f"LMDeploy cannot compute in {source.dtype}", f"set train.dtype to one of {', '.join(DTYPES)}"
        )
