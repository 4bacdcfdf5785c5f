"""Settings of (IA)^3 (arXiv 2205.05638)."""

from pydantic import Field

from swift.core.config.schema import Names
from swift.tuners.target_config import TargetConfig


class Ia3Config(TargetConfig):
    """train: keys, values and feed-forward activations, each times a trained vector that starts with ones."""

    target_modules: Names = Field(
        default_factory=list,
        description="layers by the end of their name; default: those that make keys and values, and the last "
        "one of each feed-forward block, found by their place in the model",
    )
    feedforward_modules: Names = Field(
        default_factory=list,
        description="which of target_modules are scaled at their input instead of their output; "
        "default: those that lie in a feed-forward block",
    )
