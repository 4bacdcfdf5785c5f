"""Keys of LLM.int8()."""

from __future__ import annotations

from pydantic import Field

from swift.infer.quantize.config import QuantizerConfig


class BnbInt8Config(QuantizerConfig):
    """export: bitsandbytes LLM.int8()."""

    outlier_threshold: float = Field(
        6.0, ge=0, description="inputs beyond it are computed in full precision; 0: none"
    )
