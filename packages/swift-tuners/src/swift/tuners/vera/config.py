"""Settings of VeRA (arXiv 2310.11454)."""

from pydantic import Field, PositiveInt

from swift.tuners.target_config import TargetConfig


class VeraConfig(TargetConfig):
    """train: W + diag(b) B diag(d) A, where only the vectors b and d train; A and B are random and shared."""

    vera_rank: PositiveInt = Field(
        256, description="rows of the shared random A; far larger than a rank of LoRA, at the same size"
    )
    vera_dropout: float = Field(0.0, ge=0.0, lt=1.0, description="dropout before A while training")
    d_initial: float = Field(0.1, gt=0.0, description="what every entry of d starts with; b starts with 0")
    projection_prng_key: int = Field(
        0, description="seed of A and B; equal for all adapters that stand side by side"
    )
    save_projection: bool = Field(
        True,
        description="save A and B with the adapter; false: draw them anew from the seed, "
        "which needs the same version of torch",
    )
