"""The engines, as the registry knows them; loads neither torch nor an engine.

loads=True: the engine reads weights itself and is built as Target(source, tokenizer, config=...) from a
swift.core.engines.EngineSource; else it is built from a live model. elsewhere=True: its model is not ours,
and the source names none.
"""

from __future__ import annotations

from swift.core.registry import Component
from swift.infer.engines.lmdeploy.config import LmdeployEngineConfig
from swift.infer.engines.remote.config import RemoteEngineConfig
from swift.infer.engines.sglang.config import SglangEngineConfig
from swift.infer.engines.transformers.config import TransformersEngineConfig
from swift.infer.engines.vllm.config import VllmEngineConfig

transformers = Component(
    name="transformers",
    target="swift.infer.engines.transformers.engine:TransformersEngine",
    config=TransformersEngineConfig,
    summary="embedded: continuous batching over a transformers model, on CPU or GPU",
)
vllm = Component(
    name="vllm",
    target="swift.infer.engines.vllm.engine:build_vllm",
    config=VllmEngineConfig,
    summary="vLLM, in this process or as a server of its own",
    attributes=(("loads", True),),
)
sglang = Component(
    name="sglang",
    target="swift.infer.engines.sglang.engine:SglangEngine",
    config=SglangEngineConfig,
    summary="SGLang, a managed server process in its own environment",
    attributes=(("loads", True),),
)
lmdeploy = Component(
    name="lmdeploy",
    target="swift.infer.engines.lmdeploy.engine:LmdeployEngine",
    config=LmdeployEngineConfig,
    summary="LMDeploy, a managed server process in its own environment",
    attributes=(("loads", True),),
)
remote = Component(
    name="remote",
    target="swift.infer.engines.remote.engine:RemoteEngine",
    config=RemoteEngineConfig,
    summary="any OpenAI-compatible URL",
    attributes=(("loads", True), ("elsewhere", True)),
)
