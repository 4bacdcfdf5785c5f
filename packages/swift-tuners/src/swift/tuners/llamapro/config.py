"""Settings of LLaMA Pro (arXiv 2401.02415)."""

from __future__ import annotations

from typing import Self

from pydantic import Field, PositiveInt, model_validator

from swift.core.config.schema import Config


class LlamaproConfig(Config):
    """train: new blocks between the old ones, which stay as they are."""

    num_new_blocks: PositiveInt = Field(4, description="blocks that are added, and alone train")
    num_groups: PositiveInt | None = Field(
        None,
        description="groups of old blocks, of sizes as equal as can be; each is followed by copies of its "
        "last block. Default: one for each new block",
    )

    @model_validator(mode="after")
    def _even(self) -> Self:
        if self.num_groups is not None and self.num_new_blocks % self.num_groups:
            raise ValueError(
                f"num_new_blocks {self.num_new_blocks} cannot be shared out evenly to num_groups "
                f"{self.num_groups}: make it a multiple"
            )
        return self
