"""What swift-infer offers to the registries; loads neither torch nor an engine."""

from __future__ import annotations

from swift.core.registry import Component
from swift.infer.engines.transformers.config import TransformersEngineConfig

transformers = Component(
    name="transformers",
    target="swift.infer.engines.transformers.engine:TransformersEngine",
    config=TransformersEngineConfig,
    summary="embedded: continuous batching over a transformers model, on CPU or GPU",
)
