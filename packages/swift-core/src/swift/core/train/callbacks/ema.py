"""An exponential moving average of the weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from swift.core.errors import CheckpointError, ConfigError
from swift.core.train.callbacks.contract import Callback

if TYPE_CHECKING:
    from swift.core.train.trainer import Trainer

FOLDER = "ema"


class EMA(Callback):
    """Average what trains: after every `update_every`-th step, average += (1 - decay) * (weights - average).

    The average starts at the weights before the first step and is kept in float32. Evaluation measures, and
    OUT/final holds, the averaged weights; checkpoints hold the trained weights and the average beside them.

    Args:
        decay: share of the average that stays, in (0, 1); 1 / (1 - decay) updates are remembered.
        update_every: steps between two updates.
        device: "cpu" keeps the average in main memory; default: beside the weights.
        final: false: evaluation and OUT/final take the trained weights, and OUT/ema the averaged ones.

    Raises:
        ConfigError: an argument out of its range.
    """

    def __init__(
        self, decay: float = 0.999, update_every: int = 1, device: str | None = None, final: bool = True
    ) -> None:
        if not 0.0 < decay < 1.0 or update_every < 1:
            raise ConfigError(
                f"the callback ema has decay={decay} and update_every={update_every}",
                "decay lies between 0 and 1 (such as 0.999), and update_every is at least 1",
            )
        self.decay = decay
        self.update_every = update_every
        self.device = device
        self.shows_other_weights = final
        self.averages: dict[str, Tensor] = {}

    def attach(self, trainer: Trainer) -> None:
        """Raises ConfigError where no rank has the whole weights."""
        if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
            raise ConfigError(
                "the callback ema needs whole weights on every rank", "use ddp, or leave it out"
            )
        self._trainer = trainer

    def state_dict(self) -> dict[str, Any]:
        """The averages by parameter name."""
        return dict(self.averages)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on averaging.

        Raises:
            CheckpointError: the checkpoint trained other parameters.
        """
        own = dict(self._weights())
        if {name: value.shape for name, value in state.items()} != {k: v.shape for k, v in own.items()}:
            raise CheckpointError(
                f"the checkpoint averages {len(state)} parameters, and other ones ({len(own)}) train here",
                "resume with the model and tuner that wrote it",
            )
        self.averages = {name: self._place(value.to(own[name].device)) for name, value in state.items()}

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start from the weights, unless a checkpoint has brought the averages."""
        self.averages = self.averages or {
            name: self._place(value.detach().to(torch.float32, copy=True)) for name, value in self._weights()
        }

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Move the averages."""
        if state.global_step % self.update_every == 0:
            for name, value in self._weights():
                average = self.averages[name]
                average.lerp_(value.detach().to(average.device, torch.float32), 1.0 - self.decay)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Write OUT/ema where OUT/final is to have the trained weights."""
        if not self.shows_other_weights:
            with self.swapped_in():
                self._trainer.save_model(str(Path(args.output_dir) / FOLDER))

    @contextmanager
    def presenting(self) -> Iterator[None]:
        """The averaged weights in the model, the trained ones back afterwards."""
        if not self.shows_other_weights:
            yield
            return
        with self.swapped_in():
            yield

    @contextmanager
    def swapped_in(self) -> Iterator[None]:
        """The averaged weights in the model; the trained ones come back bit for bit."""
        trained = {name: self._place(value.detach().clone()) for name, value in self._weights()}
        self._write(self.averages)
        try:
            yield
        finally:
            self._write(trained)

    def _weights(self) -> Iterator[tuple[str, nn.Parameter]]:
        for name, value in self._trainer.accelerator.unwrap_model(self._trainer.model).named_parameters():
            if value.requires_grad or name in self.averages:
                yield name, value

    def _place(self, value: Tensor) -> Tensor:
        return value.to(self.device) if self.device is not None else value

    @torch.no_grad()
    def _write(self, values: Mapping[str, Tensor]) -> None:
        for name, parameter in self._weights():
            parameter.copy_(values[name])
