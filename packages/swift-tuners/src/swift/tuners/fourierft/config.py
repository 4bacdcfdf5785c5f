"""Settings of FourierFT (arXiv 2405.03003)."""

from typing import Literal

from pydantic import Field, PositiveInt

from swift.tuners.target_config import TargetConfig


class FourierftConfig(TargetConfig):
    """train: W + fourier_scaling * Re(IDFT2(F)), where F is sparse and its n_frequency entries train."""

    n_frequency: PositiveInt = Field(
        1000, description="trained entries of F a layer; at most its number of weights"
    )
    fourier_scaling: float = Field(
        150.0, gt=0.0, description="factor of the change; the paper takes 150 for encoders, 300 for LLaMA"
    )
    random_loc_seed: int = Field(777, description="seed of the places of the trained entries")
    fourier_init: Literal["zeros", "normal"] = Field(
        "zeros",
        description="how F starts: zeros leaves the model as it is; normal (the paper) adds noise of "
        "deviation fourier_scaling * sqrt(n_frequency / 2) / number of weights to every weight",
    )
