"""Losses on synthetic values: what is refused, and how."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from swift.core.errors import PluginError
from swift.core.registry import Component
from swift.plugin.contract.kinds import LAYOUTS
from swift.plugin.contract.rehearse.loss import rehearse_loss
from swift.plugin.contract.rehearse.loss_inputs import loss_inputs

Loss = Callable[..., Any]


def component(**attributes: Any) -> Component:
    return Component("mine", "", attributes=tuple(attributes.items()), place="/mine.py:7")


def cross_entropy(inputs: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(inputs, targets)


def each(inputs: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(inputs, targets, reduction="none")


class FocalLoss(nn.Module):
    """The user's example: for labels that are lists of 0/1."""

    def __init__(self, alpha: float = 1.0, gamma: float = 2.0) -> None:
        super().__init__()
        self.alpha = alpha
        self.gamma = gamma

    def forward(self, inputs: Tensor, targets: Tensor) -> Tensor:
        bce = functional.binary_cross_entropy_with_logits(inputs, targets, reduction="none")
        return (self.alpha * (1 - torch.exp(-bce)) ** self.gamma * bce).mean()


def with_extras(
    inputs: Tensor, targets: Tensor, weights: Tensor | None, attention_mask: Tensor, batch: Any
) -> Tensor:
    losses = functional.cross_entropy(inputs, targets, reduction="none")
    assert batch["input_ids"].shape == attention_mask.shape
    return losses if weights is None else losses * weights


def of_hidden_states(inputs: Tensor, targets: Tensor, model_outputs: Any) -> Any:
    return model_outputs.hidden_states[-1].square().mean()


@pytest.mark.parametrize("loss", [cross_entropy, each, with_extras, of_hidden_states])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_losses_of_tokens(loss: Loss, dtype: torch.dtype) -> None:
    assert rehearse_loss(loss, component(), "tokens", dtype=dtype)


@pytest.mark.parametrize(
    ("loss", "layout"),
    [
        (cross_entropy, "classes"),
        (FocalLoss(), "multi_label"),
        (functional.mse_loss, "regression"),
        (functional.mse_loss, "pairs"),
        (cross_entropy, "candidates"),
        (functional.mse_loss, "lists"),
    ],
)
def test_losses_of_other_layouts(loss: Loss, layout: str) -> None:
    assert rehearse_loss(loss, component(), layout, classes=5)


def detached(inputs: Tensor, targets: Tensor) -> Tensor:
    return cross_entropy(inputs, targets).detach()


def number(inputs: Tensor, targets: Tensor) -> Any:
    return cross_entropy(inputs, targets).item()


def pair(inputs: Tensor, targets: Tensor) -> Any:
    return cross_entropy(inputs, targets), {}


def not_reduced(inputs: Tensor, targets: Tensor) -> Tensor:
    return inputs.square()


def infinite(inputs: Tensor, targets: Tensor) -> Tensor:
    return cross_entropy(inputs, targets) / 0.0


def nan(inputs: Tensor, targets: Tensor) -> Tensor:
    return (inputs - inputs.max() - 1).log().mean()


def count_of_errors(inputs: Tensor, targets: Tensor) -> Tensor:
    return (inputs.argmax(-1) != targets).sum()


def constant(inputs: Tensor, targets: Tensor) -> Tensor:
    return torch.ones((), requires_grad=True) * 2


def flat(inputs: Tensor, targets: Tensor) -> Tensor:
    return (inputs * 0).sum()


def steep(inputs: Tensor, targets: Tensor) -> Tensor:
    return (inputs - inputs.detach()).abs().sqrt().sum()  # 0 with an infinite slope


def random(inputs: Tensor, targets: Tensor) -> Tensor:
    return cross_entropy(inputs, targets) * (1 + torch.rand(()))


def in_place(inputs: Tensor, targets: Tensor) -> Tensor:
    inputs.data.mul_(0.5)
    return cross_entropy(inputs, targets)


def failing(inputs: Tensor, targets: Tensor) -> Tensor:
    raise KeyError("gamma")


def weights_needed(inputs: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    return each(inputs, targets) * weights.abs()


@pytest.mark.parametrize(
    ("loss", "problem", "remedy"),
    [
        (detached, "returned a detached tensor", "remove .detach()"),
        (number, "returned a float", "not loss.item()"),
        (pair, "returned a tuple", "or a tuple"),
        (not_reduced, r"of shape \[11, 13\] for 11 items", ".mean()"),
        (infinite, "returned inf, which is not finite", "division by 0"),
        (nan, "returned nan, which is not finite", "log_softmax"),
        (count_of_errors, "a tensor of torch.int64", "floating point"),
        (constant, "has no gradient with respect to the model's outputs", "from inputs"),
        (flat, "or one that is zero everywhere", "argmax"),
        (steep, "has a gradient that is not finite", "square roots"),
        (random, "for the same inputs", "deterministic = False"),
        (in_place, "changes its inputs in place", "clone"),
        (failing, "KeyError: 'gamma'", "make it take these"),
        (weights_needed, "weights=None: AttributeError", "make it take these"),
    ],
)
def test_losses_that_break_the_contract(loss: Loss, problem: str, remedy: str) -> None:
    with pytest.raises(PluginError, match=problem) as caught:
        rehearse_loss(loss, component(), "tokens")
    assert caught.value.problem.startswith("loss 'mine' (/mine.py:7) ")
    assert "contract: a loss is called as" in caught.value.problem
    assert remedy in caught.value.remedy


def test_a_loss_of_another_task_says_where_it_works() -> None:
    with pytest.raises(PluginError, match="Target size") as caught:
        rehearse_loss(FocalLoss(), component(), "tokens")
    assert "here it gets token logits [N, V] and targets int64 [N]" in caught.value.problem
    assert "data.task_type=seq_cls and labels as lists of 0/1" in caught.value.remedy


def test_a_loss_that_reads_its_own_columns_cannot_be_rehearsed() -> None:
    def of_a_column(inputs: Tensor, targets: Tensor, batch: Any) -> Any:
        return cross_entropy(inputs, targets) * batch["difficulty"]

    assert rehearse_loss(cross_entropy, component(), "tokens") is True
    assert rehearse_loss(of_a_column, component(), "tokens") is False


@pytest.mark.parametrize("where", ["component", "part"])
def test_a_loss_may_say_that_it_is_random(where: str) -> None:
    class Random:
        def __call__(self, inputs: Tensor, targets: Tensor) -> Tensor:
            return random(inputs, targets)

    loss = Random()
    if where == "part":
        loss.deterministic = False  # type: ignore[attr-defined]
        assert rehearse_loss(loss, component(), "tokens")
    else:
        assert rehearse_loss(loss, component(deterministic=False), "tokens")


def test_random_state_is_left_as_it_was() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    with pytest.raises(PluginError):
        rehearse_loss(random, component(), "tokens")
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_synthetic_values_are_as_the_contract_says(layout: str) -> None:
    given = loss_inputs(layout, classes=5, dtype=torch.bfloat16)
    assert given.inputs.dtype == torch.bfloat16
    assert given.inputs.requires_grad
    assert len(given.inputs) == len(given.targets) == len(given.extras["weights"])
    assert given.extras["num_items_in_batch"] == len(given.inputs)
    whole = layout in ("tokens", "classes", "candidates")
    assert given.targets.dtype == (torch.int64 if whole else torch.float32)
    if whole:
        assert given.targets.min() >= 0 and given.targets.max() < given.inputs.shape[1]
    else:
        assert given.targets.shape == given.inputs.shape
    assert torch.equal(given.targets, loss_inputs(layout, classes=5).targets), "the same at every call"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_loss_on_another_device() -> None:
    def elsewhere(inputs: Tensor, targets: Tensor) -> Tensor:
        return cross_entropy(inputs, targets).cpu()

    rehearse_loss(cross_entropy, component(), "tokens", device="cuda")
    with pytest.raises(PluginError, match="a tensor on cpu for inputs on cuda"):
        rehearse_loss(elsewhere, component(), "tokens", device="cuda")


def test_a_loss_that_changes_its_targets_is_refused() -> None:
    def forgetful(inputs: Tensor, targets: Tensor) -> Tensor:
        return cross_entropy(inputs, targets.fill_(1))

    with pytest.raises(PluginError, match="changes its targets in place"):
        rehearse_loss(forgetful, component(), "tokens")
