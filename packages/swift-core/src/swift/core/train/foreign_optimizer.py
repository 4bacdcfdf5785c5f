"""Optimisers from elsewhere: anything that has step(), such as a class bound from C++."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from swift.core.console import say
from swift.core.errors import PluginError
from swift.core.train.foreign_state import find_state_access

CONTRACT = (
    "an optimizer is built from the parameters and its arguments, and has a method step() that takes no "
    "argument and updates them in place from their .grad"
)
_RATE_SETTERS = ("set_lr", "set_learning_rate")
_RATE_ATTRIBUTES = ("lr", "learning_rate")


def adapt_optimizer(created: Any, params: Iterable[nn.Parameter], *, lr: float) -> torch.optim.Optimizer:
    """What a registered optimizer created, as a torch optimizer: as it is, or adapted.

    Args:
        created: returned by the plugin.
        params: the parameters that it was given, in that order.
        lr: the learning rate that it was built with.

    Raises:
        PluginError: it has no step().
    """
    if isinstance(created, torch.optim.Optimizer):
        return created
    if not callable(getattr(created, "step", None)):
        raise PluginError(f"optimizer {_named(created)} has no step()", CONTRACT)
    return ForeignOptimizer(created, params, lr=lr)


class ForeignOptimizer(torch.optim.Optimizer):
    """Makes an object with step() an optimizer that schedules, scalers, clipping and checkpoints can use.

    - Learning rate: written through set_lr(), set_learning_rate() or an attribute `lr` or `learning_rate`.
      Without these the update of each step is scaled, p <- p_old + (lr_t / lr_0)(p_new - p_old), at the cost
      of a copy of the parameters. That is exact where the update is linear in the rate and the state does
      not depend on it: SGD with momentum, decoupled AdamW, Lion; not where momentum accumulates lr * g, nor
      where the optimizer keeps weights of its own (Lookahead, fp32 masters): these need a setter.
    - Gradients: a parameter without one gets zeros before step(), which would find an undefined tensor. So
      weight decay reaches parameters that a step does not use; torch's optimizers leave them alone.
    - State: through state_dict() and load_state_dict(), or __getstate__ and __setstate__ (py::pickle);
      without these checkpoints hold none of it, which is said here once.

    Args:
        foreign: the object; its step() updates params in place.
        params: what it was given, in that order.
        lr: the rate lr_0 that it was built with.

    Raises:
        PluginError: the rate is 0 and there is no way to change it later.
    """

    def __init__(self, foreign: Any, params: Iterable[nn.Parameter], *, lr: float) -> None:
        super().__init__(list(params), {"lr": lr})
        self.foreign = foreign
        self.built_lr = lr
        self.steps = 0
        self._parameters: list[nn.Parameter] = self.param_groups[0]["params"]
        self._before: list[Tensor] = []  # kept: allocating it anew costs more than the step
        self._write_rate, self.rate_channel = find_rate_writer(foreign)
        if self._write_rate is None and lr == 0:
            raise PluginError(
                f"optimizer {_named(foreign)} was built with learning rate 0 and has no set_lr(lr), "
                "so that no schedule can reach it",
                "give it a set_lr(lr), or build it with a rate above 0",
            )
        self._access = find_state_access(foreign)
        say(self.describe())

    def describe(self) -> str:
        """How the schedule and checkpoints reach the object."""
        name = _named(self.foreign)
        told = f"optimizer {name}: the learning-rate schedule reaches it {self.rate_channel}"
        if self._access is None:
            return f"{told}; {self._stateless()}"
        return f"{told}; checkpoints hold its state through {self._access.channel}"

    def _stateless(self) -> str:
        return (
            f"it gives no access to its state ({_named(self.foreign)} has neither state_dict() and "
            "load_state_dict() nor py::pickle), so that checkpoints hold none, and a resumed run starts its "
            "moments anew"
        )

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update at the rate that the schedule has set.

        Raises:
            PluginError: step() asks for arguments.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        with torch.no_grad():
            self._fill_gradients()
            self._step_at(float(self.param_groups[0]["lr"]))
        self.steps += 1
        return loss

    def _fill_gradients(self) -> None:
        for parameter in self._parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)

    def _step_at(self, lr: float) -> None:
        if self._write_rate is not None:
            self._write_rate(self.foreign, lr)
            self._call()
        elif lr == self.built_lr:
            self._call()
        else:
            weights = [parameter.detach() for parameter in self._parameters]
            if not self._before:
                self._before = [torch.empty_like(weight) for weight in weights]
            torch._foreach_copy_(self._before, weights)
            self._call()
            torch._foreach_lerp_(weights, self._before, 1.0 - lr / self.built_lr)

    def _call(self) -> None:
        try:
            self.foreign.step()
        except TypeError as error:
            if "step(): incompatible function arguments" not in str(error):
                raise
            raise PluginError(
                f"step() of optimizer {_named(self.foreign)} takes arguments: {error}",
                f'{CONTRACT}; bind it as .def("step", [](Name& self) {{ self.step(); }})',
            ) from error

    def state_dict(self) -> dict[str, Any]:
        """torch's own entries, and under "foreign" the object's class, its state or why there is none."""
        held: dict[str, Any] = {"class": type(self.foreign).__name__, "steps": self.steps}
        if self._access is None:
            held |= {"state": None, "note": self._stateless()}
        else:
            held["state"] = self._access.save(self.foreign, self._parameters)
        return {**super().state_dict(), "foreign": held}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore state_dict().

        Raises:
            ValueError: another optimizer wrote it.
        """
        held = cast("Mapping[str, Any]", state_dict.get("foreign") or {})
        if held.get("class") != type(self.foreign).__name__:
            raise ValueError(
                f"it holds the state of {held.get('class') or 'a torch optimizer'}, and this run uses "
                f"{type(self.foreign).__name__}"
            )
        super().load_state_dict({key: state_dict[key] for key in ("state", "param_groups")})
        self.steps = held["steps"]
        if held["state"] is not None and self._access is not None:
            self.foreign = self._access.load(self.foreign, held["state"], self._parameters)
        elif self.steps > 0:
            say(
                f"optimizer {_named(self.foreign)} goes on after {self.steps} steps with fresh moments: "
                "the checkpoint holds none of its state"
            )


def find_rate_writer(foreign: Any) -> tuple[Callable[[Any, float], None] | None, str]:
    """How to set an object's learning rate, and the words for it; None where nothing does."""
    for name in _RATE_SETTERS:
        if callable(getattr(foreign, name, None)):
            return (lambda target, lr, name=name: getattr(target, name)(lr)), f"through {name}()"
    for name in _RATE_ATTRIBUTES:
        if _is_writable(foreign, name):
            return (lambda target, lr, name=name: setattr(target, name, lr)), f"through its attribute {name}"
    return None, "by scaling the update of each step (it has no set_lr() and no writable lr)"


def _is_writable(foreign: Any, name: str) -> bool:
    value = getattr(foreign, name, None)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        setattr(foreign, name, value)
    except AttributeError:  # bound with def_readonly, or a property without setter
        return False
    return True


def _named(foreign: Any) -> str:
    return type(foreign).__qualname__
