"""Settings of LoRA (arXiv 2106.09685) and of its variants."""

from typing import Literal, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from swift.core.config.schema import Names
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
    fused_lora: bool | None = Field(
        None,
        description="compute W x and its update at once (swift-kernels), in less time and memory; "
        "default: where swift-kernels is installed",
    )
    use_dora: bool = Field(
        False, description="train a magnitude per output beside A and B (arXiv 2402.09353)"
    )
    lora_bias: bool = Field(False, description="a bias beside B, where the layer has one")
    loraplus_lr_ratio: PositiveFloat | None = Field(
        None, description="learning rate of B divided by that of A (arXiv 2402.12354)"
    )
    loraplus_lr_embedding: PositiveFloat = Field(
        1e-6, description="learning rate of adapters on embeddings, where loraplus_lr_ratio is set"
    )
    target_parameters: Names = Field(
        default_factory=list,
        description="weights that are no layers, by the end of their name (mlp.experts.down_proj): experts",
    )
    exclude_modules: Names = Field(default_factory=list, description="layers that get no adapter after all")
    layers_to_transform: list[NonNegativeInt] | None = Field(
        None, description="numbers of the blocks that get adapters; default: all"
    )
    rank_pattern: dict[str, PositiveInt] = Field(
        default_factory=dict, description="other ranks by the end of a layer's name"
    )
    alpha_pattern: dict[str, PositiveInt] = Field(
        default_factory=dict, description="other lora_alpha by the end of a layer's name"
    )


class RsloraConfig(LoraConfig):
    """train: LoRA scaled by lora_alpha / sqrt(lora_rank)."""

    use_rslora: bool = Field(True, description="scale by lora_alpha / sqrt(lora_rank) (arXiv 2312.03732)")


class LoraPlusConfig(LoraConfig):
    """train: LoRA whose B learns at a rate of its own."""

    loraplus_lr_ratio: PositiveFloat | None = Field(
        16.0, description="learning rate of B divided by that of A (arXiv 2402.12354)"
    )


class DoraConfig(LoraConfig):
    """train: m * (W + s B A) / |W + s B A|, where m, A and B train."""

    use_dora: bool = Field(True, description="train a magnitude per output beside A and B (arXiv 2402.09353)")


class QloraConfig(LoraConfig):
    """train: LoRA beside quantised weights."""

    quantization_bit: Literal[4, 8] = Field(
        4, description="bits of the frozen weights: 4 is NF4 with double quantisation, 8 is LLM.int8()"
    )


class StartConfig(LoraConfig):
    """train: W + s (B A - B0 A0), where A0 and B0 are what A and B start from."""

    @model_validator(mode="after")
    def _start_is_low_rank(self) -> Self:
        if self.use_dora or self.lora_bias or self.target_parameters:
            raise ValueError(
                "use_dora, lora_bias and target_parameters do not go with a start that is not zero"
            )
        return self


class PissaConfig(StartConfig):
    """train: LoRA from the principal singular vectors of W."""

    pissa_niter: NonNegativeInt | None = Field(
        16, description="subspace iterations of a fast approximate SVD; null: the exact one"
    )


class OloraConfig(StartConfig):
    """train: LoRA from the QR decomposition of W."""


class LoraGaConfig(StartConfig):
    """train: LoRA from the singular vectors of the first batches' gradient."""

    lora_ga_batches: PositiveInt = Field(8, description="batches whose mean gradient counts")
    lora_ga_direction: Literal["ArBr", "A2rBr", "ArB2r", "random"] = Field(
        "ArB2r", description="which of the first 2 r singular vectors go to A and which to B"
    )
    lora_ga_scale: Literal["stable", "gd", "unit"] = Field(
        "stable", description="size of the start: stable by lora_ga_gamma, gd as one step of gradient descent"
    )
    lora_ga_gamma: PositiveInt = Field(16, description="the larger, the smaller a stable start")


class LoftqConfig(StartConfig):
    """train: LoRA beside quantised weights, from what quantisation loses."""

    loftq_bits: Literal[4, 8] = Field(4, description="bits of the frozen weights: 4 is NF4, 8 is LLM.int8()")
    loftq_iter: PositiveInt = Field(
        1, description="rounds of quantising W - s B A and decomposing what is lost"
    )


class EvaConfig(LoraConfig):
    """train: LoRA whose A starts at the principal directions of the layers' inputs."""

    eva_batches: PositiveInt = Field(8, description="batches whose activations count")
    eva_rho: float = Field(
        2.0, ge=1.0, description="a layer may get up to eva_rho * lora_rank; 1.0: every layer gets lora_rank"
    )
    eva_tau: float = Field(
        0.99, gt=0.0, lt=1.0, description="cosine similarity at which a direction is settled"
    )
