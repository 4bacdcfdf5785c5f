"""Loading the base in few bits."""

from __future__ import annotations

import importlib.util
from typing import Any

from torch import nn

from swift.core.errors import ModelError


def need_bitsandbytes(wanted: str) -> None:
    """Refuse what is not possible without it.

    Raises:
        ModelError: bitsandbytes is not installed.
    """
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ModelError(
            f"{wanted} needs bitsandbytes, which is not installed",
            'pip install "swift-tuners[bitsandbytes]"',
        )


def keep_exact_on_cpu(model: nn.Module) -> None:
    """Leave 4-bit weights as they are when the model is evaluated between two steps.

    On CPUs with bfloat16 arithmetic bitsandbytes repacks them at the first evaluation, with scales rounded to
    bfloat16: training would go on with another base.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False  # type: ignore[assignment]


def bitsandbytes_config(bits: int) -> Any:
    """transformers.BitsAndBytesConfig: NF4 with double quantisation for 4 bits, LLM.int8() for 8.

    The compute precision is left to bitsandbytes, which takes that of the layer's input.

    Raises:
        ModelError: bitsandbytes is not installed.
    """
    need_bitsandbytes(f"quantization_bit: {bits}")
    from transformers import BitsAndBytesConfig

    if bits == 8:
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True)
