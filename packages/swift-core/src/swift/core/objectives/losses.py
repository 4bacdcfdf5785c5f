"""The loss of an objective: one registered loss, or a weighted sum of several.

Shapes: N items (supervised positions, samples), V vocabulary, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from swift.core.config.named import Weighted
from swift.core.errors import PluginError
from swift.core.objectives.components import CROSS_ENTROPY
from swift.core.objectives.loss_form import check_form
from swift.core.objectives.rows import Rows
from swift.core.registry import Component, losses
from swift.core.types import Metric
from swift.plugin.contract.loss_value import check_loss_value
from swift.plugin.contract.rehearse.loss import rehearse_loss
from swift.plugin.contract.signature import accepted_extras
from swift.plugin.live import LiveParts
from swift.plugin.parts import build_component
from swift.plugin.slot import Slot


def cross_entropy(inputs: Tensor, targets: Tensor) -> Tensor:
    """-log softmax(inputs)[targets], one value an item.

    Args:
        inputs: logits [N, V].
        targets: int64 [N].

    Returns:
        float32 [N].
    """
    return functional.cross_entropy(inputs.float(), targets, reduction="none")


class LabelSmoothing:
    """-(1 - epsilon) log p(target) - epsilon mean_v log p(v), one value an item (arXiv 1512.00567, 7).

    Args:
        epsilon: probability mass spread over all classes.
    """

    def __init__(self, epsilon: float = 0.1) -> None:
        if not 0 <= epsilon < 1:
            raise ValueError(f"epsilon is {epsilon}, and must be in [0, 1)")
        self.epsilon = epsilon

    def __call__(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Logits [N, V] and int64 [N] to float32 [N]."""
        return functional.cross_entropy(
            inputs.float(), targets, reduction="none", label_smoothing=self.epsilon
        )


Inputs = Tensor | Rows


@dataclass(frozen=True)
class Term:
    """One loss in use."""

    slot: Slot
    weight: float


class Losses:
    """sum_k weight_k loss_k over the items of a batch.

    Args:
        terms: which losses, with weights and arguments.
        parts: where plugins may swap them.
        layout: what they get, one of swift.plugin.contract.kinds.LAYOUTS; a plugin's loss, or one with
            arguments, is rehearsed on it.

    Raises:
        RegistryError: a name that is not registered.
        ConfigError: a loss registered for another form of inputs.
        PluginError: a loss that cannot be built, or breaks its contract in the rehearsal.
    """

    def __init__(self, terms: Sequence[Weighted], parts: LiveParts, layout: str) -> None:
        for named in terms:
            check_form(losses.get(named.name), layout)
        self.terms = [
            Term(parts.slot(losses, term.name, term.config, check_loss, call_loss), term.weight)
            for term in terms
        ]
        for term in self.terms:
            if term.slot.component.place or term.slot.config:
                rehearse(term.slot, layout)

    def accept(self, extra: str) -> bool:
        """Whether one of the losses in use takes an extra value."""
        return any(extra in accepted_extras(term.slot.part) for term in self.terms)

    @property
    def are_cross_entropy(self) -> bool:
        """Whether the cross-entropy is the only one, so that the head itself can compute it."""
        only = self.terms[0].slot if len(self.terms) == 1 else None
        return only is not None and only.component is CROSS_ENTROPY and not only.config

    def of_values(self, values: Tensor, weights: Tensor | None = None) -> Tensor:
        """Sum of the losses of all items, where they are known already.

        Args:
            values: the only loss [N].
            weights: [N] factor of each item.
        """
        total: Tensor = self.terms[0].weight * (values if weights is None else values * weights).sum()
        return total

    def __call__(
        self, inputs: Inputs, targets: Tensor, weights: Tensor | None = None, **extras: Any
    ) -> tuple[Tensor, dict[str, Metric]]:
        """Sum of the losses of all items.

        Args:
            inputs: [N, V] or [B, C]; rows are gathered where a single loss wants them.
            targets: [N], [B] or [B, C].
            weights: [N] factor of each item.
            extras: further values of EXTRAS, for the losses that name them.

        Returns:
            Scalar with gradient; and, of several losses, each one's mean.

        Raises:
            PluginError: a loss broke its contract and has no fallback.
        """
        if len(self.terms) > 1 and isinstance(inputs, Rows):
            inputs = inputs.gathered()
        sums = [self._sum(term, inputs, targets, {"weights": weights, **extras}) for term in self.terms]
        total = torch.stack([term.weight * value for term, value in zip(self.terms, sums, strict=True)]).sum()
        if len(self.terms) == 1:
            return total, {}
        count = len(inputs)
        return total, {
            f"loss/{term.slot.name}": Metric(value.detach(), count)
            for term, value in zip(self.terms, sums, strict=True)
        }

    def _sum(self, term: Term, inputs: Inputs, targets: Tensor, extras: Mapping[str, Any]) -> Tensor:
        count = len(inputs)
        if count == 0:  # nothing to learn here, but a gradient to share with the other ranks
            term.slot.sit_out()
            return _like(inputs).float().sum() * 0.0
        value: Tensor = term.slot(inputs, targets, extras).float()
        return value.sum() if value.dim() else value * count


def rehearse(slot: Slot, layout: str) -> None:
    """Run an instance of a loss made for this alone on synthetic values."""
    component = slot.component
    rehearse_loss(build_component("loss", component, slot.config), component, layout)


def call_loss(loss: Any, inputs: Inputs, targets: Tensor, extras: Mapping[str, Any]) -> Tensor:
    """Call a loss with the extras that it names; weights that it does not name are applied to its values.

    Rows are gathered anew for each loss, so that one that takes the place of a plugin reads nothing that the
    plugin could write to.

    Raises:
        PluginError: there are weights, and the loss neither takes them nor returns one value an item.
    """
    accepted = accepted_extras(loss)
    if isinstance(inputs, Rows):
        inputs = inputs.gathered_for(loss)
    value: Tensor = loss(inputs, targets, **{name: extras.get(name) for name in accepted})
    weights = extras.get("weights")
    if weights is None or "weights" in accepted or not isinstance(value, Tensor):
        return value
    if value.dim() == 0:
        raise PluginError(
            "items have weights (data.loss_scale), but the loss returns one mean and does not take them",
            "return one value an item [N], or name a parameter `weights`",
        )
    weighted: Tensor = value * weights
    return weighted


def check_loss(component: Component, value: Any, arguments: tuple[Any, ...], first: bool) -> None:
    """The contract of a result; on a GPU it is asked only once whether it is finite, since that waits.

    Raises:
        PluginError: it cannot be minimised.
    """
    inputs = _like(arguments[0])
    check_loss_value(component, value, inputs, finite=first or inputs.device.type == "cpu")


def _like(inputs: Inputs) -> Tensor:
    return inputs.alike() if isinstance(inputs, Rows) else inputs
