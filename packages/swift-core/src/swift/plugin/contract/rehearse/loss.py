"""A loss on synthetic logits. Shapes: N items."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from swift.core.errors import PluginError
from swift.core.registry import Component
from swift.plugin.contract.check import NotApplicable, Rehearsal
from swift.plugin.contract.fault import fault
from swift.plugin.contract.kinds import FORMS, LAYOUT_SETTINGS, LAYOUTS
from swift.plugin.contract.loss_value import check_loss_value, show
from swift.plugin.contract.rehearse.call import Made, guarded
from swift.plugin.contract.rehearse.loss_inputs import LossInputs, loss_inputs
from swift.plugin.contract.signature import accepted_extras, check_signature


def layouts_of(component: Component) -> tuple[str, ...]:
    """The layouts that a loss may be made for: the form that it was registered with, or any that has none."""
    form = dict(component.attributes).get("form")
    if form is None:
        return tuple(layout for layout in LAYOUTS if layout not in FORMS)
    if form not in FORMS:
        raise fault("loss", component, f"is registered with form={form!r}", f"one of {', '.join(FORMS)}")
    return (str(form),)


def rehearse_loss(
    loss: Any,
    component: Component,
    layout: str,
    *,
    classes: int = 4,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> bool:
    """Call a loss on synthetic values as training will; random state is left as it was.

    Args:
        loss: the built part; one that keeps state should be built for this alone.
        layout: one of kinds.LAYOUTS: what the task gives it.

    Returns:
        False where nothing can be said: it reads something of batch or model_outputs that is not made up.

    Raises:
        PluginError: the signature does not fit, it fails, or it returns what cannot be learned from; with
            its place, what it returned, the contract and the remedy.
    """
    check_signature("loss", component, loss, {})
    try:
        _rehearse(loss, component, loss_inputs(layout, classes=classes, dtype=dtype, device=device))
    except NotApplicable:
        return False
    except PluginError as error:
        if error.__cause__ is None:
            raise  # it takes these values, and returns something wrong
        others = [
            other for other in layouts_of(component) if other != layout and _fits(loss, component, other)
        ]
        if not others:
            raise
        fitting = " or ".join(f"with {LAYOUT_SETTINGS[other]} ({LAYOUTS[other]})" for other in others)
        raise PluginError(
            f"{error.problem}\n  here it gets {LAYOUTS[layout]}", f"it works {fitting}"
        ) from error.__cause__
    return True


def _fits(loss: Any, component: Component, layout: str) -> bool:
    try:
        _rehearse(loss, component, loss_inputs(layout))
    except (PluginError, NotApplicable):
        return False
    return True


def _rehearse(loss: Any, component: Component, given: LossInputs) -> None:
    before = given.inputs.detach().clone(), given.targets.clone()
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        first = _call(loss, component, given)
        check_loss_value(component, first, given.inputs)
        _check_gradient(component, first, given)
        second = _call(loss, component, given)
        if "weights" in accepted_extras(loss):  # without data.loss_scale there are none
            check_loss_value(component, _call(loss, component, _unweighted(given)), given.inputs)
    for name, old, new in zip(("inputs", "targets"), before, (given.inputs, given.targets), strict=True):
        if not torch.equal(old, new.detach()):
            raise fault(
                "loss", component, f"changes its {name} in place", f"work on a copy: {name} = {name}.clone()"
            )
    if _is_deterministic(loss, component) and not torch.equal(first, second):
        raise fault(
            "loss",
            component,
            f"returned {show(first)} and then {show(second)} for the same inputs",
            "remove what is random or kept between calls; where that is meant, "
            "set the attribute deterministic = False on it",
        )


def _call(loss: Any, component: Component, given: LossInputs) -> Any:
    extras = {name: given.extras[name] for name in accepted_extras(loss)}
    shapes = ", ".join(
        f"{name} {list(value.shape)} of {value.dtype}"
        for name, value in (("inputs", given.inputs), ("targets", given.targets))
    )
    if extras.get("weights", given) is None:
        shapes += ", weights=None"
    try:
        return guarded(
            "loss",
            component,
            f"on {shapes}",
            "make it take these",
            loss,
            given.inputs,
            given.targets,
            **extras,
        )
    except PluginError as error:
        if (
            isinstance(error.__cause__, KeyError | AttributeError)
            and {"batch", "model_outputs"} & extras.keys()
        ):
            raise NotApplicable(f"it reads {error.__cause__} of the run's own batch or outputs") from error
        raise


def _unweighted(given: LossInputs) -> LossInputs:
    return replace(given, extras={**given.extras, "weights": None})


def _check_gradient(component: Component, value: Tensor, given: LossInputs) -> None:
    found = guarded(
        "loss",
        component,
        "in its backward pass",
        "correct its backward pass",
        torch.autograd.grad,
        value.float().sum(),
        given.leaves,
        retain_graph=True,
        allow_unused=True,
    )
    gradients = [gradient for gradient in found if gradient is not None]
    if not all(torch.isfinite(gradient).all() for gradient in gradients):
        raise fault(
            "loss", component, "has a gradient that is not finite", "avoid square roots and logarithms at 0"
        )
    if not any(gradient.any() for gradient in gradients):
        raise fault(
            "loss",
            component,
            "has no gradient with respect to the model's outputs, or one that is zero everywhere",
            "compute it from inputs, without comparisons, rounding and argmax",
        )


def _is_deterministic(loss: Any, component: Component) -> bool:
    return bool(getattr(loss, "deterministic", dict(component.attributes).get("deterministic", True)))


def checks(component: Component, config: Mapping[str, Any]) -> Rehearsal:
    """It builds; it fits at least one layout; in bfloat16 and on a GPU too."""
    made = Made("loss", component, config)
    yield "builds", made.build
    results = {layout: _outcome(component, config, layout) for layout in layouts_of(component)}
    fitting = [layout for layout, error in results.items() if error is None]
    if len({str(error) for error in results.values()}) == 1 and not fitting:
        yield "on inputs of any kind", functools.partial(_report, *next(iter(results.items())), False)
        return
    for layout, error in results.items():
        yield f"on {layout.replace('_', '-')}", functools.partial(_report, layout, error, bool(fitting))
    for layout in fitting[:1]:
        rehearse = functools.partial(_fresh, component, config, layout)
        yield "in bfloat16", functools.partial(rehearse, dtype=torch.bfloat16)
        yield "on a GPU", functools.partial(_on_gpu, rehearse)


def _fresh(component: Component, config: Mapping[str, Any], layout: str, **options: Any) -> None:
    """Rehearse a loss that has seen nothing else."""
    made = Made("loss", component, config)
    made.build()
    rehearse_loss(made.part, component, layout, **options)


def _outcome(component: Component, config: Mapping[str, Any], layout: str) -> Exception | None:
    made = Made("loss", component, config)
    made.build()
    try:
        _rehearse(made.part, component, loss_inputs(layout))
    except (PluginError, NotApplicable) as error:
        return error
    return None


def _report(layout: str, error: Exception | None, fits_another: bool) -> str:
    if error is None:
        return f"{LAYOUTS[layout]}: finite, differentiable, deterministic"
    if fits_another and isinstance(error, PluginError):
        raise NotApplicable(error.problem.partition("\n")[0])
    raise error


def _on_gpu(rehearse: Callable[..., None]) -> None:
    if not torch.cuda.is_available():
        raise NotApplicable("there is no GPU here")
    rehearse(device="cuda")
