"""Sums of losses, the extras that a loss names, and weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.nn import functional

from swift.core.config.named import Weighted, losses_of
from swift.core.errors import ConfigError, PluginError, RegistryError
from swift.core.objectives.components import CausalLMConfig
from swift.core.objectives.losses import Losses
from swift.plugin import register_loss
from swift.plugin.live import LiveParts

pytestmark = pytest.mark.usefixtures("untouched_registries")

N, V = 6, 11


def given() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(N, V, generator=generator, requires_grad=True)
    return logits, torch.randint(V, (N,), generator=generator)


def made(*terms: Any) -> Losses:
    return Losses([Weighted.model_validate(term) for term in terms], LiveParts(), "tokens")


def test_sum_of_losses_is_the_weighted_sum_and_reports_each() -> None:
    @register_loss("spread")
    def spread(inputs: Tensor, targets: Tensor, power: float = 2.0) -> Tensor:
        return inputs.abs().pow(power).mean()

    inputs, targets = given()
    total, metrics = made(
        {"name": "cross_entropy"}, {"name": "spread", "weight": 0.2, "config": {"power": 3.0}}
    )(inputs, targets)
    first = functional.cross_entropy(inputs, targets)
    second = inputs.abs().pow(3).mean()
    assert total.item() == pytest.approx(N * (first + 0.2 * second).item(), rel=1e-6)
    means = {name: float(metric.total) / float(metric.count) for name, metric in metrics.items()}
    assert means == pytest.approx(
        {"loss/cross_entropy": first.item(), "loss/spread": second.item()}, rel=1e-6
    )
    (gradient,) = torch.autograd.grad(total, inputs)
    (expected,) = torch.autograd.grad(N * (first + 0.2 * second), inputs)
    torch.testing.assert_close(gradient, expected)


def test_loss_gets_the_extras_that_it_names_and_no_others() -> None:
    seen: dict[str, Any] = {}

    @register_loss("curious")
    class Curious:
        def __call__(
            self, inputs: Tensor, targets: Tensor, batch: Any, num_items_in_batch: Any, model_outputs: Any
        ) -> Tensor:
            seen.update(batch=batch, num_items_in_batch=num_items_in_batch, model_outputs=model_outputs)
            return functional.cross_entropy(inputs, targets)

    losses = made({"name": "curious"})
    assert losses.accept("model_outputs")
    assert not losses.accept("weights")
    extras: dict[str, Any] = {"batch": {"input_ids": 1}, "num_items_in_batch": 12, "model_outputs": "outputs"}
    losses(*given(), attention_mask="mask", **extras)
    assert seen == extras


def test_weights_reach_losses_that_do_not_know_of_them() -> None:
    @register_loss("one_an_item")
    def one_an_item(inputs: Tensor, targets: Tensor) -> Tensor:
        return functional.cross_entropy(inputs, targets, reduction="none")

    @register_loss("weighs")
    def weighs(inputs: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
        items = functional.cross_entropy(inputs, targets, reduction="none")
        return (items if weights is None else items * weights).mean()

    @register_loss("one_mean")
    def one_mean(inputs: Tensor, targets: Tensor) -> Tensor:
        return functional.cross_entropy(inputs, targets)

    inputs, targets = given()
    weights = torch.linspace(0, 2, N)
    expected = (functional.cross_entropy(inputs, targets, reduction="none") * weights).sum().item()
    for name in ("cross_entropy", "one_an_item", "weighs"):
        total, _ = made({"name": name})(inputs, targets, weights)
        assert total.item() == pytest.approx(expected, rel=1e-6), name
    with pytest.raises(PluginError, match="items have weights"):
        made({"name": "one_mean"})(inputs, targets, weights)


def test_label_smoothing_is_torchs() -> None:
    inputs, targets = given()
    total, _ = made({"name": "label_smoothing", "config": {"epsilon": 0.2}})(inputs, targets)
    expected = functional.cross_entropy(inputs, targets, label_smoothing=0.2, reduction="sum")
    assert total.item() == pytest.approx(expected.item(), rel=1e-6)
    with pytest.raises(PluginError, match=r"epsilon is 1\.5"):
        made({"name": "label_smoothing", "config": {"epsilon": 1.5}})


def test_rank_without_items_has_a_gradient_of_zero() -> None:
    inputs = torch.zeros(0, V, requires_grad=True)
    total, _ = made({"name": "cross_entropy"})(inputs, torch.zeros(0, dtype=torch.int64))
    total.backward()
    assert total.item() == 0.0
    assert inputs.grad is not None


def test_loss_type_in_yaml() -> None:
    assert [term.name for term in losses_of("mine", {"a": 1})] == ["mine"]
    config = CausalLMConfig.model_validate({"loss_type": ["cross_entropy", {"name": "mine", "weight": 0.2}]})
    assert isinstance(config.loss_type, list)
    assert [(term.name, term.weight) for term in config.loss_type] == [("cross_entropy", 1.0), ("mine", 0.2)]
    with pytest.raises(ValidationError, match="own config"):
        CausalLMConfig.model_validate({"loss_type": ["a", "b"], "loss_config": {"x": 1}})
    with pytest.raises(ValidationError, match="does nothing"):
        CausalLMConfig.model_validate({"loss_type": [{"name": "a", "weight": 0}]})
    with pytest.raises(RegistryError, match="unknown loss 'no_such_loss'"):
        made({"name": "no_such_loss"})


@pytest.mark.parametrize(
    ("name", "layout"),
    [
        ("mse", "tokens"),
        ("infonce", "classes"),
        ("listwise", "regression"),
        ("cross_entropy", "regression"),
        ("cross_entropy", "lists"),
        ("label_smoothing", "pairs"),
    ],
)
def test_a_loss_of_another_form_is_refused(name: str, layout: str) -> None:
    with pytest.raises(ConfigError, match=f"'{name}' reads .*gives '{layout}'"):
        Losses([Weighted(name=name)], LiveParts(), layout)


@pytest.mark.parametrize(
    ("name", "config", "layout"),
    [
        ("contrastive", {"margin": "x"}, "pairs"),
        ("infonce", {"temperature": 0}, "candidates"),
    ],
)
def test_arguments_are_tried_before_training(name: str, config: dict[str, Any], layout: str) -> None:
    with pytest.raises(PluginError, match=name):
        Losses([Weighted(name=name, config=config)], LiveParts(), layout)
