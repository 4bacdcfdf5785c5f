"""export: what is written."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from swift.core.config.base import Config


class ExportConfig(Config):
    """export: a plain or quantised model folder."""

    output_dir: str | None = Field(None, description="where the model goes")
    max_shard_size: str = Field("5GB", description="largest weight file")
    method: str | None = Field(
        None, description="quantisation: gptq, awq, fp8, int8, bnb-nf4, bnb-int8, gguf; default: none"
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="precision of what is not quantised; auto: the model's own"
    )
    perplexity_samples: int = Field(
        64, ge=0, description="held-out rows by which the model is measured before and after; 0: it is not"
    )
