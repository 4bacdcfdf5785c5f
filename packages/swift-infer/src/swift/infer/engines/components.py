"""The engines, as the registry knows them; loads neither torch nor an engine.

loads=True: the engine reads weights itself and is built as Target(source, tokenizer, config=...) from a
swift.core.engines.EngineSource; else it is built from a live model. elsewhere=True: its model is not ours,
and the source names none.
"""

from __future__ import annotations

from swift.core.config.schema import Config
from swift.core.registry import Component
from swift.infer.engines.lmdeploy.config import LmdeployEngineConfig
from swift.infer.engines.remote.config import RemoteEngineConfig
from swift.infer.engines.sglang.config import SglangEngineConfig
from swift.infer.engines.transformers.config import TransformersEngineConfig
from swift.infer.engines.vllm.config import VllmEngineConfig


def _engine(name: str, made_by: str, config: type[Config], summary: str, **facts: bool) -> Component:
    target = f"swift.infer.engines.{name}.engine:{made_by}"
    return Component(name, target, config, summary, tuple(facts.items()))


transformers = _engine(
    "transformers",
    "TransformersEngine",
    TransformersEngineConfig,
    "embedded: continuous batching over a transformers model, on CPU or GPU",
)
vllm = _engine(
    "vllm", "build_vllm", VllmEngineConfig, "vLLM, in this process or as a server of its own", loads=True
)
sglang = _engine(
    "sglang",
    "SglangEngine",
    SglangEngineConfig,
    "SGLang, a managed server process in its own environment",
    loads=True,
)
lmdeploy = _engine(
    "lmdeploy",
    "LmdeployEngine",
    LmdeployEngineConfig,
    "LMDeploy, a managed server process in its own environment",
    loads=True,
)
remote = _engine(
    "remote",
    "RemoteEngine",
    RemoteEngineConfig,
    "any OpenAI-compatible URL",
    loads=True,
    elsewhere=True,
)
