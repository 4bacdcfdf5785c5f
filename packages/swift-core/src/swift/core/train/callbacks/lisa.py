"""Layerwise importance sampled AdamW (arXiv 2403.17919): full-parameter training, a few layers at a time."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.optim import Optimizer

from swift.core.errors import ConfigError, ModelError
from swift.core.models.layers import decoder_layers
from swift.core.train.callbacks.contract import Callback

if TYPE_CHECKING:
    from swift.core.train.trainer import Trainer


class LISA(Callback):
    """Draw `active_layers` layers that train every `interval` steps; all outside of the layers always trains.

    The draw depends on the seed and the step alone, so that a resumed run draws the same layers. The
    optimiser's state of a layer that is frozen is freed, and starts anew when the layer is drawn again: that
    is what saves memory. With keep_state it stays, and memory grows towards that of ordinary training.

    Args:
        active_layers: layers that train at a time (gamma of the paper).
        interval: steps between two draws (K of the paper).
        layers: path of the list of layers in the model, such as "model.layers"; default: the text trunk's.
        keep_state: keep the optimiser's state of frozen layers.

    Raises:
        ConfigError: an argument out of its range.
    """

    def __init__(
        self,
        active_layers: int = 2,
        interval: int = 20,
        layers: str | None = None,
        keep_state: bool = False,
    ) -> None:
        if active_layers < 1 or interval < 1:
            raise ConfigError(
                f"the callback lisa has active_layers={active_layers} and interval={interval}",
                "both are at least 1",
            )
        if not isinstance(layers, str | None):
            raise ConfigError(
                f"the callback lisa has layers={layers!r}",
                'layers is a path in the model, such as "model.layers"; active_layers says how many train',
            )
        self.active_layers = active_layers
        self.interval = interval
        self.path = layers
        self.keep_state = keep_state
        self.active: tuple[int, ...] = ()
        self._period = -1

    def attach(self, trainer: Trainer) -> None:
        """Find the layers.

        Raises:
            ConfigError: not every parameter trains, there are too few layers, or weights are sharded.
        """
        if sum(isinstance(callback, LISA) for callback in trainer.own_callbacks) > 1:
            raise ConfigError(
                "the callback lisa is there twice: train.tuner_strategy lisa brings it",
                "leave it out of train.callbacks",
            )
        frozen = sum(not value.requires_grad for value in trainer.model.parameters())
        if frozen:
            raise ConfigError(
                f"the callback lisa needs a model that trains as a whole, and {frozen} tensors are frozen",
                "set train.tuner_strategy=full, or leave the callback out",
            )
        if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
            raise ConfigError(
                "the callback lisa needs whole layers on every rank", "use ddp, or leave it out"
            )
        self.layers = find_layers(trainer.model, self.path)
        if self.active_layers >= len(self.layers):
            raise ConfigError(
                f"the callback lisa has active_layers={self.active_layers} of {len(self.layers)} layers",
                "draw fewer of them, or leave the callback out",
            )
        self._seed = trainer.args.seed
        if trainer.args.world_size > 1:
            trainer.accelerator.ddp_handler.find_unused_parameters = True  # frozen layers have no gradient

    def on_step_begin(
        self, args: Any, state: Any, control: Any, optimizer: Optimizer | None = None, **kwargs: Any
    ) -> None:
        """Draw when it is time; a resumed run draws at its first step."""
        period = state.global_step // self.interval
        if period == self._period:
            return
        self._period = period
        self.active = draw(self._seed, period, len(self.layers), self.active_layers)
        for number, layer in enumerate(self.layers):
            layer.requires_grad_(number in self.active)
            if number not in self.active:
                self._freeze(layer, optimizer)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Leave the model as it was found."""
        self.layers.requires_grad_(True)

    def _freeze(self, layer: nn.Module, optimizer: Optimizer | None) -> None:
        for parameter in layer.parameters():
            parameter.grad = None
            if optimizer is not None and not self.keep_state:
                optimizer.state.pop(parameter, None)


def draw(seed: int, period: int, number_of_layers: int, active: int) -> tuple[int, ...]:
    """Layers that train in a period: `active` different ones of 0 .. number_of_layers - 1, uniformly."""
    return tuple(sorted(random.Random(f"lisa {seed} {period}").sample(range(number_of_layers), active)))


def find_layers(model: nn.Module, path: str | None = None) -> nn.ModuleList:
    """The list of layers at a path, or the model's trunk.

    Raises:
        ConfigError: there is none.
    """
    try:
        return decoder_layers(model, path)[1]
    except ModelError as error:
        raise ConfigError(f"the callback lisa finds no layers: {error.problem}", error.remedy) from None
