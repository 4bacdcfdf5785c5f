"""An objective: two rows collated, counted, and one loss with a gradient."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch

from swift.core.registry import Component
from swift.core.types import LossOutput, Task
from swift.plugin.contract.check import NotApplicable, Rehearsal
from swift.plugin.contract.rehearse.call import Made, guarded
from swift.plugin.contract.rehearse.settings import component_settings

WITHOUT_GENERATION = ("causal_lm", "text", "preference")
"""Tasks whose objectives need neither an engine nor a model with another head."""


def checks(component: Component, config: Mapping[str, Any]) -> Rehearsal:
    """It builds, counts what it learns, and its loss is finite and has a gradient."""
    from swift.plugin.contract.rehearse import tiny

    settings = component_settings("objective", component, config)
    made = Made("objective", component, {}, settings, tiny.context(tiny.tokenizer()))
    yield "builds", made.build
    yield "loss", lambda: _loss(made)


def task_of(made: Made) -> Task:
    """How the objective's rows are encoded.

    Raises:
        PluginError: it does not say.
    """
    task = dict(made.component.attributes).get("task") or getattr(made.part, "task", None)
    if task is None:
        raise made.fault(
            "does not say its task", 'register it as @register_objective("NAME", task="causal_lm")'
        )
    return cast("Task", task)


def _call(made: Made, method: str, *args: Any) -> Any:
    return guarded(
        "objective", made.component, f"in {method}()", "correct it", getattr(made.part, method), *args
    )


def _loss(made: Made) -> str:
    from swift.plugin.contract.rehearse import tiny

    task = task_of(made)
    if task not in WITHOUT_GENERATION:
        raise NotApplicable(f"objectives of task {task} need a whole run")
    model = tiny.model().train()
    batch = _call(made, "collate", tiny.encoded(task))
    batch = _call(made, "prepare", model, [batch], 0)[0]
    count = torch.as_tensor(_call(made, "count", batch))
    if count.dim() or float(count) <= 0:
        raise made.fault(f"counts {count.tolist()} items in two rows", "count() returns how many it learns")
    output = _call(made, "loss", model, batch, count.float())
    if not isinstance(output, LossOutput):
        raise made.fault(
            f"returned a {type(output).__name__} from loss()", "return swift.core.types.LossOutput"
        )
    if output.loss.dim() or not torch.isfinite(output.loss) or not output.loss.requires_grad:
        raise made.fault(f"has the loss {output.loss}", "a finite scalar with gradient")
    output.loss.backward()  # type: ignore[no-untyped-call]
    return f"{output.loss.item():.4g} over {float(count):g} items, differentiable"
