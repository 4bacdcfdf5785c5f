"""The tiny families of this package, known by name before torch is loaded."""

from __future__ import annotations

from swift.core.registry import Component

qwen3 = Component("qwen3", "swift.core.models.tiny.qwen3:family", summary="Qwen3, dense")
qwen3_moe = Component(
    "qwen3-moe", "swift.core.models.tiny.qwen3_moe:family", summary="Qwen3, 4 experts, 2 active"
)
qwen2 = Component("qwen2", "swift.core.models.tiny.qwen2:family", summary="Qwen2 and Qwen2.5, dense")
llama = Component("llama", "swift.core.models.tiny.llama:family", summary="Llama 3.2, dense")
mistral = Component("mistral", "swift.core.models.tiny.mistral:family", summary="Mistral, sliding window")
gemma3 = Component(
    "gemma3", "swift.core.models.tiny.gemma3:family", summary="Gemma 3 text, sliding and full layers"
)
phi3 = Component("phi3", "swift.core.models.tiny.phi3:family", summary="Phi-3, fused projections")
