"""Short names of well-known models, and what each is called on Hugging Face and on ModelScope."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ModelName:
    """One model on both hubs ("owner/name")."""

    huggingface: str
    modelscope: str


def _qwen(name: str) -> ModelName:
    return ModelName(f"Qwen/{name}", f"Qwen/{name}")


def _llm_research(owner: str, name: str) -> ModelName:
    # ModelScope mirrors the gated families of Meta, Google and Microsoft under one organisation.
    return ModelName(f"{owner}/{name}", f"LLM-Research/{name}")


def _same(name: str) -> ModelName:
    return ModelName(name, name)


MODELS: dict[str, ModelName] = {
    "qwen-7b-chat": ModelName("Qwen/Qwen-7B-Chat", "Qwen/Qwen-7B-Chat"),
    **{
        f"qwen2.5-{size.lower()}{'-instruct' * instruct}": _qwen(f"Qwen2.5-{size}{'-Instruct' * instruct}")
        for size in ("0.5B", "1.5B", "3B", "7B", "14B", "32B", "72B")
        for instruct in (False, True)
    },
    **{
        f"qwen2.5-coder-{size.lower()}-instruct": _qwen(f"Qwen2.5-Coder-{size}-Instruct")
        for size in ("7B", "32B")
    },
    **{
        f"qwen2.5-vl-{size.lower()}-instruct": _qwen(f"Qwen2.5-VL-{size}-Instruct")
        for size in ("3B", "7B", "72B")
    },
    **{
        f"qwen3-{size.lower()}": _qwen(f"Qwen3-{size}")
        for size in ("0.6B", "1.7B", "4B", "8B", "14B", "32B", "30B-A3B", "235B-A22B")
    },
    **{
        f"qwen3-{size.lower()}-base": _qwen(f"Qwen3-{size}-Base")
        for size in ("0.6B", "1.7B", "4B", "8B", "14B")
    },
    "llama-3-8b": _llm_research("meta-llama", "Meta-Llama-3-8B"),
    "llama-3-8b-instruct": _llm_research("meta-llama", "Meta-Llama-3-8B-Instruct"),
    "llama-3-70b-instruct": _llm_research("meta-llama", "Meta-Llama-3-70B-Instruct"),
    "llama-3.1-8b": ModelName("meta-llama/Llama-3.1-8B", "LLM-Research/Meta-Llama-3.1-8B"),
    "llama-3.1-8b-instruct": ModelName(
        "meta-llama/Llama-3.1-8B-Instruct", "LLM-Research/Meta-Llama-3.1-8B-Instruct"
    ),
    "llama-3.2-1b": _llm_research("meta-llama", "Llama-3.2-1B"),
    "llama-3.2-1b-instruct": _llm_research("meta-llama", "Llama-3.2-1B-Instruct"),
    "llama-3.2-3b": _llm_research("meta-llama", "Llama-3.2-3B"),
    "llama-3.2-3b-instruct": _llm_research("meta-llama", "Llama-3.2-3B-Instruct"),
    "llama-3.3-70b-instruct": _llm_research("meta-llama", "Llama-3.3-70B-Instruct"),
    "mistral-7b-instruct": ModelName(
        "mistralai/Mistral-7B-Instruct-v0.3", "LLM-Research/Mistral-7B-Instruct-v0.3"
    ),
    "gemma-2-2b-it": _llm_research("google", "gemma-2-2b-it"),
    "gemma-2-9b-it": _llm_research("google", "gemma-2-9b-it"),
    "gemma-3-1b-it": _llm_research("google", "gemma-3-1b-it"),
    "gemma-3-4b-it": _llm_research("google", "gemma-3-4b-it"),
    "phi-3-mini-4k-instruct": _llm_research("microsoft", "Phi-3-mini-4k-instruct"),
    "phi-4": _llm_research("microsoft", "phi-4"),
    **{
        f"deepseek-r1-distill-{base.lower()}": _same(f"deepseek-ai/DeepSeek-R1-Distill-{base}")
        for base in ("Qwen-1.5B", "Qwen-7B", "Qwen-14B", "Qwen-32B", "Llama-8B", "Llama-70B")
    },
    "internlm2.5-7b-chat": ModelName(
        "internlm/internlm2_5-7b-chat", "Shanghai_AI_Laboratory/internlm2_5-7b-chat"
    ),
    "internlm3-8b-instruct": ModelName(
        "internlm/internlm3-8b-instruct", "Shanghai_AI_Laboratory/internlm3-8b-instruct"
    ),
    "smollm2-135m-instruct": _same("HuggingFaceTB/SmolLM2-135M-Instruct"),
}

_BY_ID = {
    spelling.lower(): model for model in MODELS.values() for spelling in (model.huggingface, model.modelscope)
}


def names() -> list[str]:
    """Every short name, sorted."""
    return sorted(MODELS)


def resolve(name: str) -> ModelName:
    """What a short name or hub id is called on each hub, whatever its case; other ids stay as they are.

    `llama-3-8b-instruct`, `qwen/Qwen-7B-Chat` and `LLM-Research/Meta-Llama-3-8B-Instruct` are all known.
    """
    known = MODELS.get(name.lower()) or _BY_ID.get(name.lower())
    return known or ModelName(name, name)
