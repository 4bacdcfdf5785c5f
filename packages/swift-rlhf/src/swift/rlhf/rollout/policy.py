"""The policy that trains, in an engine that generates for it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from swift.core.engines import facts_of
from swift.core.models.plain import plain_weights
from swift.core.protocols import Engine
from swift.core.types import GenerationRequest, TokenDelta

ADAPTER = "policy"


class Policy:
    """An engine whose weights follow a model.

    Where both share tensors nothing is copied. Where the engine takes adapters while it runs and the model
    trains plain LoRA, the adapter is sent; else all weights are, with what adapters add.

    Args:
        engine: generates; built over the same base.
        save_adapter: writes the model's adapter into a folder; None: it cannot be sent alone.
    """

    def __init__(self, engine: Engine, save_adapter: Callable[[nn.Module, Path], None] | None) -> None:
        self.engine = engine
        self.save_adapter = save_adapter
        self.adapter: str | None = None

    def follow(self, model: nn.Module) -> None:
        """Generate with the present weights from now on.

        Raises:
            EngineError: the engine does not take them.
            ModelError: they cannot be sent: quantised, or an adapter that is no change of weights.
        """
        facts = facts_of(self.engine)
        if facts.shares_weights:
            self.engine.update_weights()
        elif facts.loads_adapters and self.save_adapter is not None and trains_plain_lora(model):
            with tempfile.TemporaryDirectory(prefix="swift-policy-") as folder:
                self.save_adapter(getattr(model, "module", model), Path(folder))
                self.engine.load_adapter(ADAPTER, Path(folder))
            self.adapter = ADAPTER
        else:
            self.engine.update_weights(plain_weights(model).items())

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[TokenDelta]:
        """As Engine.generate(), with the policy's adapter where there is one."""
        return self.engine.generate([replace(one, adapter=self.adapter) for one in requests])

    def close(self) -> None:
        """Free the engine."""
        self.engine.close()


def trains_plain_lora(model: nn.Module) -> bool:
    """Whether all that trains is products B A beside linear layers, which every server of adapters takes."""
    configs: dict[str, Any] = getattr(getattr(model, "module", model), "peft_config", {})
    return len(configs) == 1 and all(_is_plain(config) for config in configs.values())


def _is_plain(config: Any) -> bool:
    kind = str(getattr(config.peft_type, "value", config.peft_type))
    own = ("use_dora", "modules_to_save", "lora_bias", "layer_replication", "target_parameters")
    return kind == "LORA" and config.bias == "none" and not any(getattr(config, name, None) for name in own)
