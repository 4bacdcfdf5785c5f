"""Settings of LoRA (arXiv 2106.09685) and QLoRA (arXiv 2305.14314)."""

from typing import Literal

from pydantic import Field, PositiveInt

from swift.tuners.target_config import TargetConfig


class LoraConfig(TargetConfig):
    """train: W + lora_alpha / lora_rank * B A, where only A and B train."""

    lora_rank: PositiveInt = Field(8, description="rank of the update; at most a layer's smaller dimension")
    lora_alpha: PositiveInt = Field(16, description="the update is scaled by lora_alpha / lora_rank")
    lora_dropout: float = Field(0.0, ge=0.0, lt=1.0, description="dropout before A while training")
    init_lora_weights: Literal[True, "gaussian", "orthogonal"] = Field(
        True,
        description="how A starts: true is uniform (Kaiming); B is zero, so that training starts at the base",
    )
    use_rslora: bool = Field(False, description="scale by lora_alpha / sqrt(lora_rank) (arXiv 2312.03732)")


class QloraConfig(LoraConfig):
    """train: LoRA beside quantised weights."""

    quantization_bit: Literal[4, 8] = Field(
        4, description="bits of the frozen weights: 4 is NF4 with double quantisation, 8 is LLM.int8()"
    )
