"""The strategies of data.loss_scale, built and multiplied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from swift.core.config.named import Named
from swift.core.errors import RAISED_BY_PLUGINS, PluginError, SwiftError, in_one_line
from swift.core.registry import Component, loss_scales
from swift.core.template.loss_scale.check import spread
from swift.core.template.loss_scale.pieces import LossScale, Weights
from swift.core.types import Message
from swift.plugin.parts import build_component


@dataclass(frozen=True)
class Scale:
    """One strategy.

    Attributes:
        described: how errors call it.
        weigh: the strategy.
        whole: it makes the whole conversation learned, not the assistant's turns alone.
    """

    described: str
    weigh: LossScale
    whole: bool = False

    def weights(self, message: Message, text: str, origin: str) -> Weights:
        """[len(text) + 1] weights of the characters and of what closes the turn.

        Raises:
            PluginError: it fails, or returns what is not a weight.
        """
        try:
            result = self.weigh(message, text)
        except SwiftError:
            raise
        except RAISED_BY_PLUGINS as error:
            raise PluginError(
                f"{self.described} failed on a turn of {origin}: {in_one_line(error)}",
                "correct it; it is called as (message, text) and returns a weight or pieces of the text",
            ) from error
        return spread(result, text, self.described, origin)


@dataclass(frozen=True)
class LossScales:
    """Strategies applied together: a character's weight is the product of theirs."""

    parts: tuple[Scale, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether the whole conversation is learned."""
        return any(part.whole for part in self.parts)

    def weights(self, message: Message, text: str, origin: str) -> Weights:
        """[len(text) + 1] weights of the characters and of what closes the turn."""
        product = np.ones(len(text) + 1)
        for part in self.parts:
            product = product * part.weights(message, text, origin)
        return product


def build_loss_scales(named: Sequence[Named]) -> LossScales:
    """The strategies that data.loss_scale names.

    Raises:
        RegistryError: unknown name.
        ConfigError, PluginError: arguments that a strategy does not take.
    """
    return LossScales(tuple(_scale(loss_scales.get(part.name), part) for part in named))


def _scale(component: Component, part: Named) -> Scale:
    weigh = build_component(loss_scales.kind, component, part.config)
    described = component.described(loss_scales.kind)
    if not callable(weigh):
        raise PluginError(
            f"{described} makes {weigh!r}, which cannot be called",
            "register a function (message, text), or a class with __call__(self, message, text)",
        )
    return Scale(described, weigh, dict(component.attributes).get("scope") == "conversation")
