"""A model's forward and backward pass on a few tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from swift.core.config.schema import ModelConfig
from swift.core.models.load import load_tokenizer
from swift.core.models.own import OwnFamily, default_attention, is_architecture
from swift.core.registry import Component
from swift.plugin.contract.check import Rehearsal
from swift.plugin.contract.rehearse.call import Made, guarded, named_by


class Drawn(Made):
    """A class of models, which is built from its config with random weights."""

    def build(self) -> str:
        """Build it as a run does.

        Raises:
            PluginError: it cannot be built, or could not be found again by its saved config.
        """
        settings = ModelConfig(model_id=self.component.name, architecture=dict(self.config))
        family = OwnFamily(self.component, settings, load_tokenizer)
        attention = default_attention(settings, None)
        self._part = family.model_class.from_config(
            family.config, dtype=torch.float32, attn_implementation=attention
        )
        return f"a {type(self._part).__name__}"


def checks(component: Component, config: Mapping[str, Any]) -> Rehearsal:
    """It builds, its logits have a gradient and repeat, and padding changes nothing."""
    from swift.plugin.contract.rehearse import tiny

    offered = {"dtype": torch.float32, "device": "cpu", "seed": 0, "head": None}
    if is_architecture(component.load()):
        made: Made = Drawn("model", component, config)
    else:
        made = Made("model", component, {**named_by(component, offered), **config}, tiny.CONFIG)
    yield "builds", made.build
    yield "logits", lambda: _logits_of(made, tiny.token_batch())
    yield "differentiable", lambda: _differentiable(made, tiny.token_batch())


def _forward(made: Made, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
    output = guarded("model", made.component, "in its forward pass", "correct it", made.part, **batch)
    logits = getattr(output, "logits", None)
    if not isinstance(logits, torch.Tensor):
        raise made.fault(f"returns a {type(output).__name__} without logits", "return an output with .logits")
    if logits.shape[:2] != batch["input_ids"].shape or logits.dim() != 3:
        raise made.fault(
            f"returns logits {list(logits.shape)} for input_ids {list(batch['input_ids'].shape)}",
            "logits are [B, T, V]",
        )
    if not torch.isfinite(logits).all():
        raise made.fault("returns logits that are not finite", "check its initialisation")
    return logits


def _logits_of(made: Made, batch: dict[str, torch.Tensor]) -> str:
    made.part.eval()
    with torch.no_grad():
        first, second = _forward(made, batch), _forward(made, batch)
    if not torch.equal(first, second):
        raise made.fault("returns other logits the second time", "in evaluation mode nothing may be random")
    return f"{list(first.shape)}, finite, deterministic"


def _differentiable(made: Made, batch: dict[str, torch.Tensor]) -> str:
    loss = _forward(made, batch).float().logsumexp(-1).mean()
    if not loss.requires_grad:
        raise made.fault("returns logits without gradient", "remove torch.no_grad() and .detach()")
    loss.backward()  # type: ignore[no-untyped-call]
    touched = [each for each in made.part.parameters() if each.grad is not None]
    if not touched:
        raise made.fault("has no parameter that the logits depend on", "register its weights as parameters")
    made.part.zero_grad()
    return f"{len(touched)} of {sum(1 for _ in made.part.parameters())} parameters have a gradient"
