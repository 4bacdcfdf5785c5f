"""The optimiser: one of transformers by its name, or a registered one.

A registered optimiser is a class or factory `(params, **arguments)`: params is the flat list of the tensors
that train, which is what a constructor in C++ takes as std::vector<torch::Tensor>. It also gets

* `lr` and `weight_decay`, those of train:, where it names them or takes **arguments, and
  train.optim_config does not set them;
* `model`, the model that trains, only where it names it: for parameter groups of its own.

What it returns is a torch.optim.Optimizer, or any object whose step() updates the tensors in place.
A class may have `check_run(run, settings)`, called with the configuration and train.optim_config before
anything is loaded: it refuses a run that it would get wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import transformers
from torch import Tensor, nn
from torch.optim import Optimizer
from transformers.trainer_optimizer import is_optimizer_factory
from transformers.training_args import OptimizerNames, ParallelMode

from swift.core.config.schema import OptimConfig
from swift.core.console import say
from swift.core.errors import ConfigError, PluginError
from swift.core.registry import Component, optimizers
from swift.core.train.plain_state import check_plain_state
from swift.plugin.parts import build_component, check_arguments, parameters_of, takes

if TYPE_CHECKING:
    from swift.core.config.run import RunConfig

Make = tuple[Callable[..., Optimizer], dict[str, Any]]
_OWN_KEYS = {"lr": "learning_rate", "weight_decay": "weight_decay"}
_SETTINGS = {
    "learning_rate": "lr",
    "weight_decay": "weight_decay",
    "adam_beta1": None,
    "adam_beta2": None,
    "adam_epsilon": None,
}
"""Keys of train: and the argument by which a registered optimiser gets them."""


def build_optimizer(
    component: Component, model: nn.Module, config: OptimConfig, learning_rate: float
) -> Optimizer:
    """The optimiser that a component registered, over everything that trains.

    Args:
        learning_rate: peak of the schedule.

    Raises:
        PluginError: the arguments do not fit, it fails, or it returns nothing that optimises these tensors.
    """
    params = [parameter for parameter in model.parameters() if parameter.requires_grad]
    arguments = _arguments(component, config, learning_rate, model)
    created = build_component("optimizer", component, arguments, params)
    if not isinstance(created, Optimizer):
        if not callable(getattr(created, "step", None)):
            raise PluginError(
                f"{component.described('optimizer')} made a {type(created).__name__}, which has no step()",
                "return a torch.optim.Optimizer, or an object whose step() updates params in place",
            )
        from swift.core.train.foreign_optimizer import adapt_optimizer

        return adapt_optimizer(created, params, lr=float(arguments.get("lr", learning_rate)))
    _check_tensors(component, created, params)
    check_plain_state("optimizer", component, created.state_dict())
    return created


def check_optimizer(config: OptimConfig, learning_rate: float) -> None:
    """Refuse before anything is loaded what the chosen optimiser does not take, or what is not installed.

    Raises:
        ConfigError: a package is missing, an argument is unknown, or a setting has no effect.
        PluginError: a registered optimiser does not take its arguments.
    """
    if config.optim in optimizers:
        component = optimizers.get(config.optim)
        _check_all_count(component, config)
        arguments = _arguments(component, config, learning_rate, nn.Module())
        check_arguments("optimizer", component, component.load(), arguments, ([],))
        return
    transformers_optimizer(config, learning_rate)


def check_optimizer_fits(run: RunConfig) -> None:
    """Let a registered optimiser refuse the run it is to be part of.

    Raises:
        ConfigError: it does.
    """
    if run.optim.optim in optimizers:
        check = getattr(optimizers.get(run.optim.optim).load(), "check_run", None)
        if check is not None:
            check(run, run.optim.optim_config)


def _check_all_count(component: Component, config: OptimConfig) -> None:
    """No setting of train: that differs from its default is without effect."""
    fields = OptimConfig.model_fields
    changed = {key for key in _SETTINGS if getattr(config, key) != fields[key].default}
    for key in sorted(changed):
        argument = _SETTINGS[key]
        if argument is None or not takes(component.load(), argument):
            raise ConfigError(
                f"train.{key} is set, and {component.described('optimizer')} does not read it",
                "leave it out"
                + (f", or give the optimiser an argument {argument}" if argument else "")
                + "; its own arguments go into train.optim_config",
            )


def transformers_optimizer(config: OptimConfig, learning_rate: float) -> Make:
    """Class and arguments of an optimiser of transformers, train.optim_config included.

    Raises:
        ConfigError: its package is not installed, or train.optim_config does not fit it.
    """
    # Not TrainingArguments: making them joins the ranks, and this is asked before anything is loaded.
    settings = SimpleNamespace(
        optim=OptimizerNames(config.optim),
        optim_args=None,
        optim_target_modules=None,
        parallel_mode=ParallelMode.NOT_DISTRIBUTED,
        gradient_accumulation_steps=1,
        learning_rate=learning_rate,
        weight_decay=config.weight_decay,
        warmup_steps=config.warmup_steps,
        adam_beta1=config.adam_beta1,
        adam_beta2=config.adam_beta2,
        adam_epsilon=config.adam_epsilon,
    )
    try:
        made, arguments = transformers.Trainer.get_optimizer_cls_and_kwargs(settings, nn.Linear(1, 1))
    except (ImportError, ValueError) as error:
        raise ConfigError(
            f"train.optim={config.optim} cannot be used here: {error}",
            "install what it needs, or choose another optimiser",
        ) from error
    if config.optim_config:
        _check_transformers_arguments(config, made, arguments)
    return made, {**arguments, **config.optim_config}


def _check_transformers_arguments(config: OptimConfig, made: Any, arguments: Mapping[str, Any]) -> None:
    for key, own in _OWN_KEYS.items():
        if key in config.optim_config:
            raise ConfigError(
                f"train.optim_config sets {key!r} of {config.optim}", f"set train.{own} instead"
            )
    parameters = parameters_of(made) or {}
    if is_optimizer_factory(made) or {"params", "optimizer_dict", "model"} & arguments.keys():
        raise ConfigError(f"train.optim={config.optim} takes no train.optim_config", "leave it out")
    unknown = [key for key in config.optim_config if not takes(made, key)]
    if unknown:
        known = ", ".join(name for name in parameters if name not in ("params", *_OWN_KEYS))
        raise ConfigError(
            f"train.optim_config: {config.optim} has no argument {unknown[0]!r}", f"its arguments: {known}"
        )


def _arguments(
    component: Component, config: OptimConfig, learning_rate: float, model: nn.Module
) -> dict[str, Any]:
    target = component.load()
    ours = {"lr": learning_rate, "weight_decay": config.weight_decay}
    given: dict[str, Any] = {name: value for name, value in ours.items() if takes(target, name)}
    if "model" in (parameters_of(target) or ()):
        given["model"] = model
    return {**given, **config.optim_config}


def _check_tensors(component: Component, optimizer: Optimizer, params: Sequence[Tensor]) -> None:
    """It must move tensors that train, and only those; says how many it leaves alone."""
    wanted = {id(parameter) for parameter in params}
    moved = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    if not moved or moved - wanted:
        raise PluginError(
            f"{component.described('optimizer')} holds {len(moved - wanted)} tensors that do not train and "
            f"{len(moved & wanted)} of the {len(wanted)} that do",
            "give the optimiser the tensors of params themselves, not copies",
        )
    if wanted - moved:
        say(f"{len(wanted - moved)} of {len(wanted)} tensors are not among what {component.name!r} optimises")
