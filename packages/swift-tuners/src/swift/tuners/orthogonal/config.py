"""Settings of OFT (arXiv 2306.07280) and BOFT (arXiv 2311.06243)."""

from pydantic import Field, PositiveInt

from swift.tuners.target_config import TargetConfig


class OftConfig(TargetConfig):
    """train: W R with a block-diagonal orthogonal R = (I + Q)(I - Q)^-1, where the skew Q trains."""

    oft_block_size: PositiveInt = Field(
        32, description="size of R's blocks; it divides the input dimension of every adapted layer"
    )
    oft_dropout: float = Field(
        0.0, ge=0.0, lt=1.0, description="share of the blocks that are the identity while training"
    )
    oft_block_share: bool = Field(False, description="one block for all places of the diagonal")
    oft_cayley_neumann: bool = Field(
        False,
        description="replace the inverse by five terms of its series: faster, and orthogonal only nearly, "
        "so that taking a merged adapter out again leaves an error",
    )


class BoftConfig(TargetConfig):
    """train: W times butterfly factors, each orthogonal and block-diagonal up to a permutation."""

    boft_block_size: PositiveInt = Field(
        4, description="size of the blocks; it divides the input dimension of every adapted layer"
    )
    boft_n_butterfly_factor: PositiveInt = Field(
        1, description="number of factors; more than 1 needs peft's CUDA extension (a GPU and nvcc)"
    )
    boft_dropout: float = Field(
        0.0, ge=0.0, lt=1.0, description="share of the blocks that are the identity while training"
    )
