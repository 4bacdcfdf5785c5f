"""Loading the base in few bits."""

from __future__ import annotations

import importlib.util
from typing import Any

from swift.core.errors import ModelError


def bitsandbytes_config(bits: int) -> Any:
    """transformers.BitsAndBytesConfig: NF4 with double quantisation for 4 bits, LLM.int8() for 8.

    The compute precision is left to bitsandbytes, which takes that of the layer's input.

    Raises:
        ModelError: bitsandbytes is not installed.
    """
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ModelError(
            f"quantization_bit: {bits} needs bitsandbytes, which is not installed",
            'pip install "swift-tuners[bitsandbytes]"',
        )
    from transformers import BitsAndBytesConfig

    if bits == 8:
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True)
