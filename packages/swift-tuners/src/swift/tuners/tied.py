"""Output layers that share the weight of the input embeddings, beside adapters."""

from __future__ import annotations

from typing import Any

import peft


def name_tied_head(adapted: peft.PeftModel, config: peft.PeftConfig) -> None:
    """Say which layer is tied to the embeddings that a further adapter trains as a whole.

    peft looks for it itself, and finds it only while no other adapter has taken the embeddings' place.
    """
    if not getattr(config, "ensure_weight_tying", False):
        return
    base: Any = adapted.get_base_model()
    head = base.get_output_embeddings()
    settings: Any = config
    settings.modules_to_tie = {name for name, module in base.named_modules() if module is head}
