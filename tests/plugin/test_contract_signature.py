"""Whether a part can be called as its contract says, seen from its signature."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import nn

from swift.core.errors import PluginError
from swift.core.registry import REGISTRIES, Component
from swift.plugin.contract import CONTRACTS, accepted_extras, check_signature


def component(target: Any, **attributes: Any) -> Component:
    return Component("mine", target, attributes=tuple(attributes.items()), place="/mine.py:7")


def refusal(kind: str, target: Any, part: Any = None, config: Mapping[str, Any] | None = None) -> PluginError:
    with pytest.raises(PluginError) as caught:
        check_signature(kind, component(target), part, config)
    assert "mine" in caught.value.problem
    assert "contract:" in caught.value.problem
    assert caught.value.remedy
    return caught.value


class Module(nn.Module):
    def __init__(self, gamma: float = 1.0) -> None:
        super().__init__()

    def forward(self, inputs: Any, targets: Any, weights: Any, scale: float = 1.0) -> None:
        return


class Callable_:
    def __call__(self, inputs: Any, targets: Any) -> None:
        return


class Static:
    @staticmethod
    def forward(inputs: Any, targets: Any) -> None:
        return


class Empty:
    pass


def plain(inputs: Any, targets: Any) -> None:
    return


def any_arguments(*args: Any) -> None:
    return


def with_argument(logits: Any, labels: Any, gamma: float) -> None:
    return


FITTING: list[Any] = [plain, any_arguments, Module, Callable_, Static, with_argument, operator.sub, torch.dot]


@pytest.mark.parametrize("target", FITTING)
def test_losses_that_fit(target: Any) -> None:
    check_signature("loss", component(target))


@pytest.mark.parametrize("part", [Module(), Callable_(), functools.partial(with_argument, gamma=1.0)])
def test_built_losses_that_fit(part: Any) -> None:
    check_signature("loss", component(type(part)), part, {"gamma": 1.0})


def one(inputs: Any) -> None:
    return


def by_name(*, inputs: Any, targets: Any) -> None:
    return


class Lonely(nn.Module):
    def forward(self, inputs: Any) -> None:
        return


class Demanding(nn.Module):
    def forward(self, inputs: Any, targets: Any, teacher: Any) -> None:
        return


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        (one, "has no place for 'targets'"),
        (by_name, "has no place for 'inputs' and 'targets'"),
        (Lonely, "has no place for 'targets'"),
        (Demanding, "asks for 'teacher', which nothing gives it"),
        (Empty, "a class without __call__ or forward"),
    ],
)
def test_losses_that_do_not_fit(target: Any, reason: str) -> None:
    assert reason in refusal("loss", target).problem


def test_the_place_stands_first() -> None:
    assert refusal("loss", one).problem.startswith("loss 'mine' (/mine.py:7) has the signature (inputs: ")


def test_an_argument_that_the_configuration_does_not_give() -> None:
    check_signature("loss", component(with_argument), config={"gamma": 2.0})
    assert "asks for 'gamma'" in refusal("loss", with_argument, config={}).problem


def test_a_package_is_named_by_its_code() -> None:
    with pytest.raises(PluginError, match=r"loss 'mine' \(.*test_contract_signature\.py:\d+\)"):
        check_signature("loss", Component("mine", one))


def no_columns(prompts: Any, completions: Any) -> None:
    return


def named_columns(prompts: Any, completions: Any, answer: Any, **columns: Any) -> None:
    return


def completions_only(completions: Any, **columns: Any) -> None:
    return


def test_rewards() -> None:
    check_signature("reward", component(named_columns))
    assert "has no **columns" in refusal("reward", no_columns).problem
    assert "has no place for 'completions'" in refusal("reward", completions_only).problem


@pytest.mark.parametrize(
    ("kind", "target", "reason"),
    [
        ("metric", one, "no place for 'references'"),
        ("filter", lambda: None, "no place for 'row'"),
        ("optimizer", lambda: None, "no place for 'params'"),
        ("scheduler", lambda: None, "no place for 'optimizer'"),
        ("objective", lambda config: None, "no place for 'context'"),
        ("engine", lambda model: None, "no place for 'tokenizer'"),
        ("engine", lambda model, tokenizer: None, "does not take 'config'"),
        ("tuner", lambda: None, "no place for 'config'"),
        ("callback", Empty, "without on_init_end()"),
        ("rollout", Empty, "is a class without __call__ or forward"),
        ("agent format", Empty, "without system()"),
        ("content filter", Empty, "without check()"),
        ("template", lambda: None, "no place for 'tokenizer'"),
        ("model", lambda: None, "no place for 'config'"),
        ("loss scale", lambda message: None, "no place for 'text'"),
    ],
)
def test_other_kinds_that_do_not_fit(kind: str, target: Callable[..., Any], reason: str) -> None:
    assert reason in refusal(kind, target).problem


def test_a_built_part_without_its_methods() -> None:
    error = refusal("tuner", lambda config: None, part=Empty())
    assert "is a Empty without load_options()" in error.problem
    assert "merge" in error.remedy


def test_a_built_loss_that_cannot_be_called() -> None:
    assert "cannot be called" in refusal("loss", plain, part=0.5).problem


def test_accepted_extras() -> None:
    class Declared:
        accepts = ("batch",)

        def __call__(self, *args: Any, **extras: Any) -> None:
            return

    assert accepted_extras(Module()) == ("weights",)
    assert accepted_extras(plain) == ()
    assert accepted_extras(Declared()) == ("batch",)
    assert accepted_extras(torch.dot) == ()


def test_every_kind_of_plugin_has_a_contract() -> None:
    import swift.plugin

    kinds = {name.removeprefix("register_").replace("_", " ") for name in swift.plugin.__all__}
    assert kinds == set(CONTRACTS) <= set(REGISTRIES)
    for contract in CONTRACTS.values():
        assert "NAME" in contract.setting
        assert contract.called or contract.built or contract.methods or contract.kind == "dataset"
