"""From a run's configuration to its plan."""

from __future__ import annotations

from typing import cast

from swift.core.config.run import RunConfig
from swift.core.protocols import Strategy
from swift.core.registry import strategies
from swift.core.train.arguments import training_device
from swift.parallel.plan.memory import data_parallel_memory
from swift.parallel.plan.report import render
from swift.parallel.plan.skeleton import skeleton


def plan_run(run: RunConfig) -> str:
    """The plan of a run as text.

    Raises:
        SwiftError: the configuration cannot be run or planned.
    """
    ranks = 1
    if run.device.parallel_method is not None:
        strategy = cast("Strategy", strategies.build(run.device.parallel_method, run.strategy, run.device))
        ranks = strategy.world_size
    device = training_device(run)
    memory = data_parallel_memory(skeleton(run, device), run.optim.optim, ranks)
    where = f"{run.device.parallel_method}, " if run.device.parallel_method else ""
    what = f"{run.loop.stage}, {run.loop.tuner_strategy or 'all parameters'}"
    title = f"{run.model.model_id} ({what}) on {where}{ranks} {device.type} rank{'s' if ranks > 1 else ''}"
    return render(memory, title)
