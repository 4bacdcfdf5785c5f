"""Keys of NF4."""

from __future__ import annotations

from pydantic import Field

from swift.infer.quantize.config import QuantizerConfig


class BnbNf4Config(QuantizerConfig):
    """export: bitsandbytes NF4."""

    double_quantization: bool = Field(True, description="quantise the scales as well: 0.4 bits a weight less")
