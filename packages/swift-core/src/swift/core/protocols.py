"""The six nouns. Everything a run does is a composition of components of these kinds.

A component is found by name in its registry, owns a small pydantic config, and implements one protocol
below. Protocols carry the defaults that most implementations share, so subclassing them is welcome.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from swift.core.errors import EngineError, did_you_mean
from swift.core.types import (
    Batch,
    Conversation,
    Encoded,
    EngineFacts,
    EngineHealth,
    GenerationRequest,
    Head,
    LossOutput,
    Message,
    Predictions,
    Review,
    Task,
    TokenDelta,
)

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import TrainerCallback


@runtime_checkable
class Source(Protocol):
    """Where rows come from: a registered data set yields normalised conversations."""

    def conversations(self) -> Iterable[Conversation]:
        """Rows in a stable order."""
        ...


@runtime_checkable
class Template(Protocol):
    """What the model reads: conversations to tokens and labels."""

    def encode(self, conversations: Sequence[Conversation]) -> list[Encoded]:
        """Render and tokenise a batch of rows; one result a row, in order.

        Raises:
            DataError: a row cannot be encoded; the message names its origin.
        """
        ...


@runtime_checkable
class Objective(Protocol):
    """What is minimised."""

    task: ClassVar[Task]

    @classmethod
    def settle(cls, config: Any, samples: Iterable[Encoded] | None) -> Any:
        """The config completed by what the data says (how many classes), before the model is loaded.

        Args:
            samples: everything that will be trained and measured on; None for a stream.

        Raises:
            DataError: a row that this objective cannot learn from.
            ConfigError: a key that only the user can set.
        """
        return config

    @classmethod
    def head(cls, config: Any) -> Head | None:
        """Which output the model is loaded with, given the settled config; None for next-token logits."""
        return None

    def collate(self, examples: Sequence[Encoded]) -> Batch:
        """Samples to tensors; runs in data workers, so it touches no model."""
        ...

    def prepare(self, model: nn.Module, batches: list[Batch], step: int) -> list[Batch]:
        """Complete the micro-batches of one optimiser step (roll-outs, reference log-probabilities).

        Called once per optimiser step, before any loss, in the same order on every rank.
        """
        return batches

    def count(self, batch: Batch) -> torch.Tensor:
        """Units the loss is a mean over (supervised tokens, pairs, ...); summed over the step's batches."""
        ...

    def loss(self, model: nn.Module, batch: Batch, normalizer: torch.Tensor) -> LossOutput:
        """Sum of this batch's losses divided by normalizer, the step's total count."""
        ...

    def predict(self, model: nn.Module, batch: Batch) -> Predictions | None:
        """What metrics of eval.metrics compare; None where the objective predicts nothing of that kind."""
        return None

    def state_dict(self) -> dict[str, Any]:
        """What resuming needs beyond the model and the optimiser."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore state_dict()."""
        return

    def close(self) -> None:
        """Free what the objective holds (an engine); safe to call twice."""
        return


@runtime_checkable
class Tuner(Protocol):
    """Which parameters move."""

    def load_options(self) -> dict[str, Any]:
        """Keyword arguments for loading the base model (quantisation, ...)."""
        return {}

    def apply(self, model: nn.Module) -> nn.Module:
        """Make exactly the intended parameters trainable; may wrap the model."""
        ...

    def save(self, model: nn.Module, directory: Path) -> None:
        """Write what was trained; load() on the same base restores it."""
        ...

    def load(self, model: nn.Module, directory: Path, *, trainable: bool = False) -> nn.Module:
        """Put saved weights on a freshly loaded base model."""
        ...

    def merge(self, model: nn.Module) -> nn.Module:
        """A plain model that computes the same function."""
        ...

    def restore(self, model: nn.Module, directory: Path) -> bool:
        """Put what save() wrote into the model that apply() returned; False: the trainer reads the files.

        Raises:
            ModelError: they do not fit.
        """
        return False

    def batches_wanted(self) -> int:
        """How many training batches initialize() looks at; 0: it is not called."""
        return 0

    def initialize(
        self, model: nn.Module, batches: Sequence[Batch], loss: Callable[[nn.Module, Batch], torch.Tensor]
    ) -> None:
        """Start from what data says (activations, gradients); before the first step of a run, not on resume.

        Args:
            model: what apply() returned.
            batches: the first ones of training.
            loss: mean loss of a batch [scalar], with gradient.
        """
        return

    def parameter_groups(
        self, model: nn.Module, learning_rate: float, weight_decay: float
    ) -> list[dict[str, Any]] | None:
        """Groups for the optimiser, where not all parameters learn at one rate; None: the trainer's own."""
        return None

    def penalty(self, model: nn.Module) -> torch.Tensor | None:
        """What is added to the loss of each optimiser step [scalar]; None: nothing."""
        return None

    def callbacks(self) -> Sequence[TrainerCallback]:
        """What acts while training goes on."""
        return ()


@runtime_checkable
class Strategy(Protocol):
    """Where the model lives while it trains."""

    @property
    def world_size(self) -> int:
        """Number of training processes."""
        ...

    def training_arguments(self) -> dict[str, Any]:
        """What this strategy sets in transformers.TrainingArguments."""
        return {}

    def launch(self, worker: Sequence[str]) -> int:
        """Run the worker command line once per rank; the exit status of the run.

        A rank that fails stops the others; SIGINT reaches every rank, which then save and end.
        """
        ...


@runtime_checkable
class Engine(Protocol):
    """Who generates."""

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[TokenDelta]:
        """Deltas of all requests, interleaved as they come; ends when every request has finished."""
        ...

    def stream(self, request: GenerationRequest) -> AsyncIterator[TokenDelta]:
        """Deltas of one request; many may run at once. Leaving the loop early aborts the request."""
        ...

    def update_weights(self, weights: Iterable[tuple[str, torch.Tensor]] | None = None) -> None:
        """Take new weights by parameter name; None says that shared tensors changed in place."""
        ...

    def facts(self) -> EngineFacts:
        """What this engine can do; the adapters among it change as they are loaded."""
        return EngineFacts(shares_weights=True)

    def load_adapter(self, name: str, folder: Path) -> None:
        """Offer an adapter under a name from now on; one of that name is replaced.

        Raises:
            EngineError: this engine takes none, or the adapter does not fit its model; nothing changes then.
        """
        raise EngineError(
            f"the engine {type(self).__name__} cannot load adapters", "merge the adapter: swift merge"
        )

    def unload_adapter(self, name: str) -> None:
        """Stop offering an adapter; requests that run with it are finished first, or fail.

        Raises:
            EngineError: no adapter of that name.
        """
        raise EngineError(f"no adapter {name!r} is loaded", did_you_mean(name, self.facts().adapters))

    def health(self) -> EngineHealth:
        """State now; never raises."""
        ...

    def close(self) -> None:
        """Free what the engine holds; safe to call twice."""
        ...


class AnswerWatch(Protocol):
    """One answer under a content filter, as it comes.

    Attributes:
        stopped: the answer ends with what was given out so far.
    """

    stopped: bool = False

    def push(self, text: str) -> str:
        """Add text; what may be shown by now. It may be shorter (held back), masked, or empty."""
        ...

    def finish(self) -> str:
        """The answer is over: what was held back and may be shown."""
        return ""


class ContentFilter(Protocol):
    """What watches over prompts and answers. Called from several threads and for many answers at once."""

    def check(self, text: str) -> str:
        """A text of a prompt: itself, or what takes its place.

        Raises:
            RefusedContent: it is not to be answered.
        """
        return text

    def watch(self) -> AnswerWatch:
        """A fresh look at one answer. However the answer is cut into pieces, the same is to come out."""
        ...

    async def review(self, messages: Sequence[Message], answer: str) -> Review | None:
        """The whole answer, before its end is told; the place for checking facts. None: nothing to say."""
        return None


Reward = Callable[..., Sequence[float]]
"""Plugin protocol of a reward: (prompts, completions, **columns) -> one float per completion.

prompts are message lists, completions texts, columns lists aligned with the completions."""
