"""What a plugin that takes part in a roll-out is: an environment, or a function that schedules the turns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from swift.core.types import Message


@dataclass(frozen=True)
class Turn:
    """The reply to one answer of the model.

    Attributes:
        messages: turns that the model reads and answers next (tool, user, ...); none when done.
        done: the episode ends with the answer just given.
        reward: added to the sample's reward.
    """

    messages: Sequence[Message] = ()
    done: bool = False
    reward: float = 0.0


class Environment(Protocol):
    """Plays one episode at a time; its class is registered and built with the arguments of rollout_config.

    Environments of different samples are called at the same time, each from one thread at a time. A method
    may be a coroutine. One without reset() is built anew for every episode; close() is called at the end of
    the run where there is one.
    """

    def reset(self, messages: list[Message], columns: Mapping[str, Any]) -> list[Message] | None:
        """Begin an episode.

        Args:
            messages: the row's prompt.
            columns: the row's other columns (answer, ...).

        Returns:
            The turns that open the episode, or None for the row's own.
        """
        ...

    def step(self, completion: str) -> Turn:
        """Reply to the model's answer."""
        ...


Scheduler = Callable[[list[Message], str, int, Mapping[str, Any]], Turn]
"""(messages before the answer, the answer, its number from 0 on, the row's columns) -> Turn."""
