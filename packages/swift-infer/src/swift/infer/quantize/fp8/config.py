"""Keys of FP8."""

from __future__ import annotations

from pydantic import Field

from swift.infer.quantize.config import Backend, QuantizerConfig


class Fp8Config(QuantizerConfig):
    """export: FP8 (E4M3), a scale for each row of a weight and each token."""

    backend: Backend = Field(
        "own", description="own, or llmcompressor in its own environment (swift engines install)"
    )
