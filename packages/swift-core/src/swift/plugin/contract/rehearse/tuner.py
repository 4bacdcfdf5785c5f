"""A tuner on a tiny model: apply, save, load, merge."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from swift.core.registry import Component
from swift.plugin.contract.check import Rehearsal
from swift.plugin.contract.rehearse.call import Made, guarded
from swift.plugin.contract.rehearse.settings import component_settings


def checks(component: Component, config: Mapping[str, Any]) -> Rehearsal:
    """It builds, something trains, what it saves restores the model; merging, where it can be, is exact."""
    made = Made("tuner", component, {}, component_settings("tuner", component, config))
    yield "builds", made.build
    tuned: list[nn.Module] = []
    yield "applies", lambda: _apply(made, tuned)
    yield "saves and loads", lambda: _restores(made, tuned[0])
    if dict(component.attributes).get("mergeable", True):
        yield "merges", lambda: _merges(made, tuned[0])


def _call(made: Made, method: str, *args: Any, **named: Any) -> Any:
    return guarded(
        "tuner", made.component, f"in {method}()", "correct it", getattr(made.part, method), *args, **named
    )


def _logits(model: nn.Module) -> Tensor:
    from swift.plugin.contract.rehearse import tiny

    model.eval()
    with torch.no_grad():
        logits: Tensor = model(**tiny.token_batch()).logits
    return logits


def _apply(made: Made, tuned: list[nn.Module]) -> str:
    from swift.plugin.contract.rehearse import tiny

    _call(made, "load_options")
    model = _call(made, "apply", tiny.model())
    if not isinstance(model, nn.Module):
        raise made.fault(f"returned a {type(model).__name__} from apply()", "return the model")
    trainable = [each for each in model.parameters() if each.requires_grad]
    if not trainable:
        raise made.fault("leaves nothing trainable", "set requires_grad on what apply() is to train")
    with torch.no_grad():
        for each in trainable:
            each.add_(0.01)  # as training does, so that saving has something to keep
    tuned.append(model)
    return f"{sum(each.numel() for each in trainable):,} parameters train"


def _restores(made: Made, model: nn.Module) -> None:
    from swift.plugin.contract.rehearse import tiny

    with tempfile.TemporaryDirectory() as folder:
        _call(made, "save", model, Path(folder))
        restored = _call(made, "load", tiny.model(), Path(folder))
    difference = float((_logits(model) - _logits(restored)).abs().max())
    if difference > 1e-5:
        raise made.fault(
            f"loads another model than it saved: logits differ by {difference:.3g}",
            "save everything that trains",
        )


def _merges(made: Made, model: nn.Module) -> None:
    before = _logits(model)
    difference = float((before - _logits(_call(made, "merge", model))).abs().max())
    if difference > 1e-3:
        raise made.fault(
            f"merges to another function: logits differ by {difference:.3g}",
            "add the whole change to the weights",
        )
