"""Which distribution brings which component, for the error when it is not installed.

A contract test holds this table equal to the entry points that the packages declare.
"""

from __future__ import annotations

_TUNERS = (
    "adalora", "adapter", "boft", "dora", "eva", "fourierft", "freeze", "full", "ia3", "lisa",
    "llamapro", "loftq", "longlora", "lora", "lora+", "lora-ga", "oft", "olora", "pissa", "prefix",
    "prompt", "qlora", "reft", "rslora", "vera",
)  # fmt: skip
_ENGINES = ("lmdeploy", "remote", "sglang", "transformers", "vllm")
_QUANTIZERS = ("awq", "bnb-int8", "bnb-nf4", "fp8", "gguf", "gptq", "int8")
_OPTIMIZERS = (
    "adam-mini", "apollo", "galore", "muon", "q-galore", "schedule-free",
)  # fmt: skip

PROVIDERS: dict[str, dict[str, str]] = {
    "objective": {"dpo": "swift-rlhf", "grpo": "swift-rlhf"},
    "tuner": dict.fromkeys(_TUNERS, "swift-tuners"),
    "optimizer": dict.fromkeys(_OPTIMIZERS, "swift-tuners"),
    "strategy": {"ddp": "swift-parallel"},
    "engine": dict.fromkeys(_ENGINES, "swift-infer"),
    "quantizer": dict.fromkeys(_QUANTIZERS, "swift-infer"),
    "content filter": {"sensitive_words": "swift-infer"},
    "tiny model": {"qwen2.5-vl": "swift-mm"},
    "media family": {"qwen2_5_vl": "swift-mm"},
    "reward": {"exact_match": "swift-rlhf"},
    "callback": {"benchmark": "swift-infer"},
    "command": {
        "merge": "swift-tuners",
        "tuners": "swift-tuners",
        "plan": "swift-parallel",
        "media-check": "swift-mm",
        "rlhf": "swift-rlhf",
        "app": "swift-infer",
        "engines": "swift-infer",
        "eval": "swift-infer",
        "export": "swift-infer",
        "infer": "swift-infer",
        "sample": "swift-infer",
        "serve": "swift-infer",
    },
}


def provider(kind: str, name: str) -> str | None:
    """The distribution that offers a component, or None when none of ours does."""
    return PROVIDERS.get(kind, {}).get(name)
