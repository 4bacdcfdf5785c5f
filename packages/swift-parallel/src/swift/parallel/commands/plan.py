"""swift plan."""

from __future__ import annotations

import click


@click.command("plan")
@click.argument("words", metavar="[CONFIG] [OVERRIDES]...", nargs=-1)
def command(words: tuple[str, ...]) -> None:
    """What a run needs per rank: parameters, weights, gradients, optimiser state.

    CONFIG is the YAML file of the run; OVERRIDES change its keys (section.key=value). Nothing but the model's
    configuration is read, so a model larger than this machine can be planned.
    """
    from swift.core.commands.train import config_and_overrides
    from swift.core.config.run import load_run

    config, overrides = config_and_overrides(words)
    run = load_run(config, overrides)

    from swift.parallel.plan.run import plan_run

    click.echo(plan_run(run))
