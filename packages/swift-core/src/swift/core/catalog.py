"""Which distribution brings which component, for the error when it is not installed.

A contract test holds this table equal to the entry points that the packages declare.
"""

from __future__ import annotations

PROVIDERS: dict[str, dict[str, str]] = {
    "objective": {"dpo": "swift-rlhf", "grpo": "swift-rlhf"},
    "tuner": {"full": "swift-tuners", "lora": "swift-tuners", "qlora": "swift-tuners"},
    "strategy": {"ddp": "swift-parallel"},
    "engine": {"transformers": "swift-infer"},
    "tiny model": {"qwen2.5-vl": "swift-mm"},
    "media family": {"qwen2_5_vl": "swift-mm"},
    "reward": {"exact_match": "swift-rlhf"},
    "command": {
        "merge": "swift-tuners",
        "plan": "swift-parallel",
        "media-check": "swift-mm",
        "rlhf": "swift-rlhf",
        "infer": "swift-infer",
        "serve": "swift-infer",
    },
}


def provider(kind: str, name: str) -> str | None:
    """The distribution that offers a component, or None when none of ours does."""
    return PROVIDERS.get(kind, {}).get(name)
