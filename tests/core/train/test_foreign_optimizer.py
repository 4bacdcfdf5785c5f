"""An object that has nothing but step() trains like a torch optimizer does."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from swift.core.errors import PluginError
from swift.core.train.foreign_optimizer import ForeignOptimizer, adapt_optimizer


class Momentum:
    """SGD with momentum in torch's form, where the state does not depend on the rate."""

    def __init__(self, params: Sequence[Tensor], rate: float) -> None:
        self.params = list(params)
        self.rate = rate
        self.velocity = [torch.zeros_like(param) for param in self.params]

    def step(self) -> None:
        for param, velocity in zip(self.params, self.velocity, strict=True):
            assert param.grad is not None
            velocity.mul_(0.9).add_(param.grad)
            param.sub_(velocity, alpha=self.rate)


class Settable(Momentum):
    def set_lr(self, lr: float) -> None:
        self.rate = lr


class WithAttribute(Momentum):
    @property
    def lr(self) -> float:
        return self.rate

    @lr.setter
    def lr(self, lr: float) -> None:
        self.rate = lr


class ReadOnly(Momentum):
    @property
    def lr(self) -> float:
        return self.rate


class WithStateDict(Momentum):
    def state_dict(self) -> dict[str, Any]:
        return {"velocity": self.velocity}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.velocity = [each.clone() for each in state["velocity"]]


class Pickled(Momentum):
    def __getstate__(self) -> tuple[Any, ...]:
        return (self.params, self.velocity, self.rate)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.params, self.velocity, self.rate = list(state[0]), list(state[1]), state[2]


def parameters() -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((3, 4), (4,))]


def train(
    make: Callable[[list[nn.Parameter]], torch.optim.Optimizer], steps: int = 20
) -> tuple[torch.optim.Optimizer, list[nn.Parameter]]:
    params = parameters()
    optimizer = make(params)
    go_on(optimizer, params, steps)
    return optimizer, params


def go_on(optimizer: torch.optim.Optimizer, params: list[nn.Parameter], steps: int, start: int = 0) -> None:
    for step in range(start, start + steps):
        optimizer.param_groups[0]["lr"] = 0.1 * (1 - step / 30)
        optimizer.zero_grad()
        sum(((param - 1) ** 2).sum() * (1 + index) for index, param in enumerate(params)).backward()  # type: ignore[union-attr]
        torch.nn.utils.clip_grad_norm_(params, 1.0)
        optimizer.step()


def distance(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> float:
    return max((one - two).abs().max().item() for one, two in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("kind", [Momentum, Settable, WithAttribute, ReadOnly])
def test_the_schedule_reaches_the_object(kind: type[Momentum]) -> None:
    _, expected = train(lambda params: torch.optim.SGD(params, lr=0.1, momentum=0.9))
    optimizer, params = train(lambda params: adapt_optimizer(kind(params, 0.1), params, lr=0.1))
    assert distance(params, expected) <= 1e-6
    assert isinstance(optimizer, ForeignOptimizer)
    writes = kind in (Settable, WithAttribute)
    assert (optimizer.foreign.rate != 0.1) == writes, "scaling leaves the object's own rate alone"


def test_a_rate_of_zero_moves_nothing_but_the_state() -> None:
    params = parameters()
    optimizer = adapt_optimizer(Momentum(params, 0.1), params, lr=0.1)
    before = [param.detach().clone() for param in params]
    optimizer.param_groups[0]["lr"] = 0.0
    sum(param.sum() for param in params).backward()  # type: ignore[union-attr]
    optimizer.step()
    assert distance(params, before) == 0.0
    assert isinstance(optimizer, ForeignOptimizer)
    assert optimizer.foreign.velocity[0].abs().sum() > 0


def test_a_parameter_without_gradient_gets_zeros() -> None:
    params = parameters()
    optimizer = adapt_optimizer(Momentum(params, 0.1), params, lr=0.1)
    unused = params[1].detach().clone()
    params[0].sum().backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    assert torch.equal(params[1], unused)
    optimizer.zero_grad()
    assert params[0].grad is None


def test_a_torch_optimizer_stays_what_it_is() -> None:
    params = parameters()
    optimizer = torch.optim.SGD(params, lr=0.1)
    assert adapt_optimizer(optimizer, params, lr=0.1) is optimizer


@pytest.mark.parametrize("created", [None, object(), 3.0])
def test_an_object_without_step_is_refused(created: Any) -> None:
    with pytest.raises(PluginError, match="has no step") as raised:
        adapt_optimizer(created, parameters(), lr=0.1)
    assert "updates them in place" in raised.value.remedy


def test_a_rate_of_zero_that_nothing_can_change_is_refused() -> None:
    params = parameters()
    with pytest.raises(PluginError, match="no schedule can reach it"):
        adapt_optimizer(Momentum(params, 0.0), params, lr=0.0)
    adapt_optimizer(Settable(params, 0.0), params, lr=0.0)


@pytest.mark.parametrize("kind", [WithStateDict, Pickled])
def test_a_checkpoint_continues_exactly(kind: type[Momentum]) -> None:
    whole, expected = train(lambda params: adapt_optimizer(kind(params, 0.1), params, lr=0.1), steps=20)
    half, params = train(lambda params: adapt_optimizer(kind(params, 0.1), params, lr=0.1), steps=10)
    file = io.BytesIO()
    torch.save({"optimizer": half.state_dict(), "params": params}, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=True)
    resumed_params = [nn.Parameter(param.detach()) for param in loaded["params"]]
    resumed = adapt_optimizer(kind(resumed_params, 0.1), resumed_params, lr=0.1)
    resumed.load_state_dict(loaded["optimizer"])
    go_on(resumed, resumed_params, 10, start=10)
    assert distance(resumed_params, expected) == 0.0
    assert isinstance(whole, ForeignOptimizer)
    assert isinstance(resumed, ForeignOptimizer)
    assert resumed.steps == whole.steps == 20


def test_states_hold_no_second_copy_of_the_parameters() -> None:
    optimizer, params = train(lambda params: adapt_optimizer(Pickled(params, 0.1), params, lr=0.1), steps=1)
    saved = optimizer.state_dict()["foreign"]["state"]
    assert saved[0] == [{"swift.parameter": 0}, {"swift.parameter": 1}]
    assert [each.shape for each in saved[1]] == [param.shape for param in params]


def test_what_has_no_state_access_says_so_once(capsys: pytest.CaptureFixture[str]) -> None:
    optimizer, params = train(lambda params: adapt_optimizer(Momentum(params, 0.1), params, lr=0.1), steps=3)
    saved = optimizer.state_dict()
    optimizer.state_dict()
    said = capsys.readouterr().err
    assert said.count("gives no access to its state") == 1
    assert "by scaling the update" in said
    assert "starts its moments anew" in saved["foreign"]["note"]
    fresh = adapt_optimizer(Momentum(params, 0.1), params, lr=0.1)
    capsys.readouterr()
    fresh.load_state_dict(saved)
    assert "goes on after 3 steps with fresh moments" in capsys.readouterr().err


def test_a_state_that_no_checkpoint_can_hold_is_refused() -> None:
    class Odd(Momentum):
        def state_dict(self) -> dict[str, Any]:
            return {"file": io.StringIO()}

        def load_state_dict(self, state: dict[str, Any]) -> None:
            raise AssertionError

    params = parameters()
    with pytest.raises(PluginError, match="holds a StringIO"):
        adapt_optimizer(Odd(params, 0.1), params, lr=0.1).state_dict()


def test_the_state_of_another_optimizer_is_refused() -> None:
    params = parameters()
    optimizer = adapt_optimizer(Momentum(params, 0.1), params, lr=0.1)
    with pytest.raises(ValueError, match="state of a torch optimizer"):
        optimizer.load_state_dict(torch.optim.SGD(params, lr=0.1).state_dict())
    other = adapt_optimizer(Settable(params, 0.1), params, lr=0.1)
    with pytest.raises(ValueError, match="state of Settable"):
        optimizer.load_state_dict(other.state_dict())


def test_a_gradient_scaler_unscales_and_skips() -> None:
    params = parameters()
    optimizer = adapt_optimizer(Momentum(params, 0.1), params, lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    before = [param.detach().clone() for param in params]
    scaler.scale(sum(param.sum() for param in params)).backward()  # type: ignore[arg-type]
    scaler.step(optimizer)
    scaler.update()
    assert distance(params, [param - 0.1 for param in before]) <= 1e-6
    after = [param.detach().clone() for param in params]
    optimizer.zero_grad()
    scaler.scale(sum(param.sum() for param in params) * float("inf")).backward()  # type: ignore[arg-type]
    scaler.step(optimizer)
    scaler.update()
    assert distance(params, after) == 0.0, "an overflow skips the step"
    assert scaler.get_scale() < 1024.0


def test_a_step_with_arguments_names_the_contract() -> None:
    class Bound:
        def step(self) -> None:
            raise TypeError("step(): incompatible function arguments. The following ... are supported")

    params = parameters()
    with pytest.raises(PluginError, match="takes arguments") as raised:
        adapt_optimizer(Bound(), params, lr=0.1).step()
    assert ".def(" in raised.value.remedy
