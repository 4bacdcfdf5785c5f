"""OFT and BOFT through peft: frozen weights, rotated by a trained orthogonal matrix."""

from __future__ import annotations

from typing import Any

import peft
from torch import nn

from swift.core.errors import ModelError
from swift.tuners.orthogonal.blocks import check_block_size
from swift.tuners.orthogonal.config import BoftConfig, OftConfig
from swift.tuners.peft_tuner import DEFAULT, PeftTuner


class OftTuner(PeftTuner):
    """A block-diagonal rotation of each layer's input (arXiv 2306.07280)."""

    config_class = OftConfig

    def peft_config(self, model: nn.Module, common: dict[str, Any]) -> peft.PeftConfig:
        """The settings of OFT.

        Raises:
            ModelError: the blocks do not fill a layer's input.
        """
        config = self.config
        check_block_size(model, common["target_modules"], config.oft_block_size, "oft_block_size")
        return peft.OFTConfig(
            **common,
            r=0,  # the number of blocks follows from their size
            oft_block_size=config.oft_block_size,
            module_dropout=config.oft_dropout,
            block_share=config.oft_block_share,
            use_cayley_neumann=config.oft_cayley_neumann,
        )


class BoftTuner(PeftTuner):
    """Butterfly factors (arXiv 2311.06243)."""

    config_class = BoftConfig

    def peft_config(self, model: nn.Module, common: dict[str, Any]) -> peft.PeftConfig:
        """The settings of BOFT.

        Raises:
            ModelError: the blocks do not fill a layer's input.
        """
        config = self.config
        check_block_size(model, common["target_modules"], config.boft_block_size, "boft_block_size")
        return peft.BOFTConfig(
            **common,
            boft_block_size=config.boft_block_size,
            boft_n_butterfly_factor=config.boft_n_butterfly_factor,
            boft_dropout=config.boft_dropout,
        )

    def apply(self, model: nn.Module, adapter_name: str = DEFAULT) -> nn.Module:
        """Freeze the model and add the factors.

        Raises:
            ModelError: a target or the blocks do not fit; or there are several factors without peft's CUDA
                extension, where peft would leave all but one out.
        """
        adapted: Any = super().apply(model, adapter_name)
        wanted = self.config.boft_n_butterfly_factor
        factors = next(
            value.shape[0]
            for name, value in adapted.named_parameters()
            if name.endswith(f"boft_R.{adapter_name}")
        )
        if factors != wanted:
            adapted.unload() if len(adapted.peft_config) == 1 else adapted.delete_adapter(adapter_name)
            raise ModelError(
                f"boft_n_butterfly_factor is {wanted}, and peft lacks its CUDA extension for more than 1",
                "set train.boft_n_butterfly_factor=1, or run where there are a GPU, nvcc and ninja",
            )
        return adapted  # type: ignore[no-any-return]
