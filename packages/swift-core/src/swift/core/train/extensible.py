"""What can be put into the training loop: an optimiser, a schedule, callbacks that know the trainer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from swift.core.train import checkpoint
from swift.core.train.averaged import AveragedTrainer
from swift.core.train.callbacks.contract import Callback
from swift.core.train.callbacks.neftune import Neftune
from swift.core.train.callbacks.together import attach, load_states, own, presenting, save_states

MakeOptimizer = Callable[[nn.Module], Optimizer]
"""From the model that trains, unwrapped, to its optimiser."""

MakeSchedule = Callable[[Optimizer, int, int], LRScheduler]
"""(optimiser, training steps, warm-up steps) -> schedule."""


class ExtensibleTrainer(AveragedTrainer):
    """transformers.Trainer with open places.

    Args:
        make_optimizer, make_schedule: default: those that the training arguments name.
        kwargs: as in transformers.Trainer; callbacks may be swift.core.train.callbacks.contract.Callback.

    Attributes:
        protected_step: whose checkpoint is never deleted.
        final_step: whose checkpoint holds the weights for OUT/final; None: the last one's.
        interrupted: exit status of a run that a callback ended before its end.
    """

    def __init__(
        self,
        *args: Any,
        make_optimizer: MakeOptimizer | None = None,
        make_schedule: MakeSchedule | None = None,
        **kwargs: Any,
    ) -> None:
        self._make_optimizer = make_optimizer
        self._make_schedule = make_schedule
        self.protected_step: int | None = None
        self.final_step: int | None = None
        self.interrupted: int | None = None
        self._presenting = False
        super().__init__(*args, **kwargs)
        attach(self.own_callbacks, self)
        if self.neftune_noise_alpha is not None:
            self.add_callback(Neftune(self.neftune_noise_alpha))
            # transformers' own would count padding and the other samples of a pack.
            self.neftune_noise_alpha: float | None = None

    @property
    def own_callbacks(self) -> list[Callback]:
        """Callbacks that know the trainer."""
        return own(self.callback_handler.callbacks)

    def add_callback(self, callback: Any) -> None:
        """Add a callback after the trainer was made."""
        super().add_callback(callback)
        if isinstance(callback, Callback):
            attach([callback], self)

    def create_optimizer(self, model: nn.Module | None = None) -> Optimizer:
        """The optimiser of make_optimizer, or that of the training arguments."""
        if self.optimizer is None and self._make_optimizer is not None:
            self.optimizer: Any = self._make_optimizer(self.model if model is None else model)
        optimizer: Optimizer = super().create_optimizer(model)
        return optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Optimizer | None = None) -> LRScheduler:
        """The schedule of make_schedule, or that of the training arguments."""
        if self.lr_scheduler is None and self._make_schedule is not None:
            warmup = self.args.get_warmup_steps(num_training_steps)
            self.lr_scheduler: Any = self._make_schedule(
                optimizer or self.optimizer, num_training_steps, warmup
            )
            self._created_lr_scheduler = True
        schedule: LRScheduler = super().create_scheduler(num_training_steps, optimizer)
        return schedule

    def compute_loss_context_manager(self) -> ExitStack:
        """What surrounds forward pass and loss."""
        stack: ExitStack = super().compute_loss_context_manager()
        for callback in self.own_callbacks:
            stack.enter_context(callback.forwarding())
        return stack

    @contextmanager
    def presented(self) -> Iterator[None]:
        """The weights that are measured and end in OUT/final; may be entered again inside itself."""
        if self._presenting:
            yield
            return
        self._presenting = True
        try:
            with self.averaged(), presenting(self.own_callbacks):
                yield
        finally:
            self._presenting = False

    def load_final(self) -> int:
        """Bring the weights for OUT/final into the model; the step whose checkpoint holds them.

        Raises:
            CheckpointError: that checkpoint is no longer whole.
        """
        step = self.state.global_step if self.final_step is None else self.final_step
        if step != self.state.global_step:
            folder = Path(self.args.output_dir) / f"checkpoint-{step}"
            checkpoint.check(folder)
            self.show_averaged()  # what the checkpoint holds is to stay as it is
            self._load_from_checkpoint(str(folder))
        return step

    def _save_checkpoint(self, model: nn.Module, trial: Any = None) -> None:
        super()._save_checkpoint(model, trial)
        if self.args.should_save:
            name = f"checkpoint-{self.state.global_step}"
            save_states(self.own_callbacks, Path(self._get_output_dir(trial)) / name)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        folder = Path(resume_from_checkpoint)
        if not self._load_tuned(folder, model or self.model):
            super()._load_from_checkpoint(resume_from_checkpoint, model)
        load_states(self.own_callbacks, folder)

    def _load_tuned(self, folder: Path, model: nn.Module) -> bool:
        """Whether something else than transformers has read a checkpoint's weights."""
        return False
