"""The keys of every method that goes beside or into chosen layers."""

from pydantic import Field

from swift.core.config.schema import Config, Names

ALL_LINEAR = "all-linear"


class TargetConfig(Config):
    """train: which layers a method adapts."""

    target_modules: Names = Field(
        default_factory=lambda: [ALL_LINEAR],
        description="layers by the end of their name (q_proj), or all-linear: all linear layers but the head",
    )
    modules_to_save: Names = Field(
        default_factory=list, description="layers that train in full and are saved with the adapter"
    )
