"""The environments of a run: built from what a plugin registered, called and checked."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Any

from swift.core.console import say
from swift.core.errors import PluginError, SwiftError
from swift.core.registry import Component, rollouts
from swift.core.types import Message
from swift.plugin.contract import check_signature
from swift.plugin.live import LiveParts
from swift.plugin.parts import build_component
from swift.rlhf.awaited import awaited
from swift.rlhf.rollout.turn import Scheduler, Turn

STEP = (
    "step(completion) returns a swift.rlhf.rollout.Turn: with done=True, or with the messages "
    "({role, content}) that the model answers next; its reward is a finite number"
)
RESET = "reset(messages, columns) returns the opening messages ({role, content}), or None for the row's own"


class Scheduled:
    """A function that schedules turns, as an environment."""

    def __init__(self, schedule: Scheduler) -> None:
        self.schedule = schedule
        self.reset([], {})

    def reset(self, messages: list[Message], columns: Mapping[str, Any]) -> None:
        """Begin with the row's own turns."""
        self.messages, self.columns, self.turn = list(messages), columns, 0

    def step(self, completion: str) -> Any:
        """What the function says."""
        reply = awaited(self.schedule(list(self.messages), completion, self.turn, self.columns))
        self.turn += 1
        if isinstance(reply, Turn):
            self.messages += [{"role": "assistant", "content": completion}, *reply.messages]
        return reply


class Player:
    """One environment in use; what it raises or returns wrongly is an error that names its place."""

    def __init__(self, component: Component, environment: Any) -> None:
        self.component = component
        self.environment = environment

    def reset(self, messages: list[Message], columns: Mapping[str, Any]) -> list[Message]:
        """The turns that open the episode.

        Raises:
            PluginError: it fails or breaks the contract.
        """
        if not hasattr(self.environment, "reset"):
            return messages
        opening = self._call("reset", list(messages), columns)
        if opening is None:
            return messages
        if not opening or not _are_messages(opening):
            raise self._broken(f"reset() returned {opening!r}", RESET)
        return list(opening)

    def step(self, completion: str) -> Turn:
        """The reply to an answer.

        Raises:
            PluginError: it fails or breaks the contract.
        """
        reply = self._call("step", completion)
        if not isinstance(reply, Turn):
            raise self._broken(f"step() returned {type(reply).__name__}, not a Turn", STEP)
        if not isinstance(reply.reward, int | float) or not math.isfinite(reply.reward):
            raise self._broken(f"step() gave the reward {reply.reward!r}", STEP)
        if not _are_messages(reply.messages):
            raise self._broken(f"step() replied {reply.messages!r}, which are not messages", STEP)
        if not reply.done and not reply.messages:
            raise self._broken("step() neither ended the episode nor replied", STEP)
        return reply

    def _call(self, method: str, *args: Any) -> Any:
        try:
            return awaited(getattr(self.environment, method)(*args))
        except SwiftError as error:
            raise self._broken(error.problem, error.remedy) from error
        except Exception as error:
            raise self._broken(f"{method}() failed: {type(error).__name__}: {error}", STEP) from error

    def _broken(self, problem: str, rule: str) -> PluginError:
        return PluginError(f"{self.component.described('rollout')}: {problem}", rule)


class Environments:
    """One environment for each sample that is played at a time; made when needed, then used again.

    A reloaded plugin takes their place from the next step on; where its first step fails, they come back.

    Args:
        name: of a registered rollout.
        config: its arguments.
        parts: where plugins may swap it.

    Raises:
        RegistryError: unknown name.
        PluginError: it cannot be built, or is not what a rollout has to be.
    """

    registry = rollouts

    def __init__(self, name: str, config: Mapping[str, Any], parts: LiveParts | None = None) -> None:
        parts = parts or LiveParts()
        self.config = dict(config)
        self.any_rank = parts.any_rank
        self.component = rollouts.get(name)
        self._players = self.rebuild(self.component)
        self._former: tuple[Component, list[Player]] | None = None
        parts.in_use.append(self)

    def rebuild(self, component: Component) -> list[Player]:
        """The first environment of a component.

        Raises:
            PluginError: it cannot be built, or is not what a rollout has to be.
        """
        return [build_player(component, self.config)]

    def swap(self, component: Component, part: list[Player]) -> None:
        """Use another component from the next step on, on trial."""
        self._former = (self.component, self._players)
        self.component, self._players = component, part

    def take(self, count: int) -> list[Player]:
        """So many environments, each ready to begin an episode."""
        kept = [player for player in self._players if hasattr(player.environment, "reset")]
        more = [build_player(self.component, self.config) for _ in range(count - len(kept))]
        self._players = kept + more
        return self._players[:count]

    def settle(self, failure: PluginError | None) -> bool:
        """Whether a step stands; if not, the former environments are back, and it is to be played again.

        Raises:
            PluginError: it failed, and there are none.
        """
        if self._former is None:
            if failure is not None:
                raise failure
            return True
        stands = not self.any_rank(failure is not None)
        if stands:
            former, self._former = self._former[1], None
            _close(former)
            return True
        said = failure or "it failed on another rank"
        say(f"the new {self.component.described('rollout')} failed, the former one stays: {said}")
        (self.component, self._players), self._former = self._former, None
        rollouts.replace(self.component)
        return False

    def close(self) -> None:
        """Close those that can be closed."""
        _close(self._players)


def build_player(component: Component, config: Mapping[str, Any]) -> Player:
    """An environment with its arguments.

    Raises:
        PluginError: it cannot be built, or is not what a rollout has to be.
    """
    if component.trust == "sandboxed":
        raise PluginError(
            f"{component.described('rollout')} is sandboxed, which an environment cannot be",
            "trust it ({path: ..., trust: trusted}), and let it do what is risky in a process of its own",
        )
    check_signature("rollout", component, config=config)
    part = build_component("rollout", component, config)
    return Player(component, part if inspect.isclass(component.load()) else Scheduled(part))


def _close(players: Sequence[Player]) -> None:
    for player in players:
        if hasattr(player.environment, "close"):
            player.environment.close()


def _are_messages(value: Any) -> bool:
    return isinstance(value, Sequence) and all(
        isinstance(message, Mapping) and isinstance(message.get("role"), str) and "content" in message
        for message in value
    )
