"""An objective: two rows collated, counted, and one loss with a gradient."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch

from swift.core.registry import Component
from swift.core.types import Head, LossOutput, Task
from swift.plugin.contract.check import NotApplicable, Rehearsal
from swift.plugin.contract.fault import fault
from swift.plugin.contract.rehearse.call import Made, guarded
from swift.plugin.contract.rehearse.settings import component_settings

GENERATING = ("prompt",)
"""Tasks whose objectives need an engine and rewards."""


def checks(component: Component, config: Mapping[str, Any]) -> Rehearsal:
    """It builds, counts what it learns, and its loss is finite and has a gradient."""
    from swift.plugin.contract.rehearse import tiny

    settings, head = _settled(component, component_settings("objective", component, config))
    made = Made("objective", component, {}, settings, tiny.context(tiny.tokenizer()))
    yield "builds", made.build
    yield "loss", lambda: _loss(made, head)


def task_of(component: Component, part: Any) -> Task:
    """How the objective's rows are encoded.

    Args:
        part: the objective or its class.

    Raises:
        PluginError: it does not say.
    """
    task = dict(component.attributes).get("task") or getattr(part, "task", None)
    if task is None:
        remedy = 'register it as @register_objective("NAME", task="causal_lm")'
        raise fault("objective", component, "does not say its task", remedy)
    return cast("Task", task)


def _settled(component: Component, settings: Any) -> tuple[Any, Head | None]:
    """Its config completed from two rows, and the head that its model needs."""
    from swift.plugin.contract.rehearse import tiny

    target = component.load()
    if not hasattr(target, "settle"):
        return settings, None
    settled = target.settle(settings, tiny.encoded(task_of(component, target)))
    return settled, target.head(settled)


def _call(made: Made, method: str, *args: Any) -> Any:
    return guarded(
        "objective", made.component, f"in {method}()", "correct it", getattr(made.part, method), *args
    )


def _loss(made: Made, head: Head | None) -> str:
    from swift.plugin.contract.rehearse import tiny

    task = task_of(made.component, made.part)
    if task in GENERATING:
        raise NotApplicable(f"objectives of task {task} need an engine and rewards, which only a run has")
    model = tiny.model(head).train()
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
