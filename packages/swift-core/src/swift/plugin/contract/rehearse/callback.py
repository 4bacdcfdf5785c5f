"""A callback in a short made-up training."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from typing import Any

from swift.core.registry import Component
from swift.plugin.contract.check import NotApplicable, Rehearsal
from swift.plugin.contract.rehearse.call import Made, guarded

STEPS = 2


def checks(component: Component, config: Mapping[str, Any]) -> Rehearsal:
    """It builds, and every event of a run leaves it standing."""
    made = Made("callback", component, config)
    yield "builds", made.build
    yield "events", lambda: _run(made)


def _run(made: Made) -> str:
    if _attaches(made.part):
        raise NotApplicable("it attaches to a trainer, which only a run has")
    from transformers import TrainerControl, TrainerState, TrainingArguments

    from swift.plugin.contract.rehearse.optimizer import tiny_module

    with tempfile.TemporaryDirectory() as folder:
        args = TrainingArguments(output_dir=folder, report_to="none", use_cpu=True, max_steps=STEPS)
        state = TrainerState(max_steps=STEPS, num_train_epochs=1)
        module, control = tiny_module(), TrainerControl()
        events = _events()
        for event in events:
            state.global_step += event == "on_step_begin"
            given: dict[str, Any] = {"model": module, "processing_class": None, "optimizer": None}
            given |= {"logs": {"loss": 1.0}} if event == "on_log" else {}
            given |= {"metrics": {"eval_loss": 1.0}} if event == "on_evaluate" else {}
            result = guarded(
                "callback",
                made.component,
                f"in {event}()",
                "correct that method; it is called as (args, state, control, **kwargs)",
                getattr(made.part, event),
                args,
                state,
                control,
                **given,
            )
            if result is not None and not isinstance(result, TrainerControl):
                raise made.fault(
                    f"returned a {type(result).__name__} from {event}()", "return control, or nothing"
                )
    return f"{len(events)} events of {STEPS} steps"


def _attaches(part: Any) -> bool:
    from swift.core.train.callbacks.contract import Callback

    return isinstance(part, Callback) and type(part).attach is not Callback.attach


def _events() -> list[str]:
    step = ["on_step_begin", "on_pre_optimizer_step", "on_optimizer_step", "on_step_end", "on_log"]
    start, end = ["on_init_end", "on_train_begin", "on_epoch_begin"], ["on_epoch_end", "on_train_end"]
    return [*start, *step * STEPS, "on_evaluate", "on_save", *end]
