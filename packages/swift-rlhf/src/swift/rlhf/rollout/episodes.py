"""Roll-outs of several turns: the model answers, its environment replies, until the episode ends.

All samples advance together, one engine call a turn. What the model drew stays as it was drawn; replies are
rendered by the chat template and tokenised once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from swift.core.errors import PluginError
from swift.core.types import GenerationRequest, Message, SamplingParams
from swift.rlhf.rollout.chat import ChatTokens, Tools
from swift.rlhf.rollout.environments import Environments, Player
from swift.rlhf.rollout.generate import Completion, Generates, generate
from swift.rlhf.rollout.turn import Turn

Seed = Callable[[int, int], int]
"""(number of the sample, turn) -> seed of that answer."""

THREADS = 32  # environments that are called at the same time: they often wait for a tool


@dataclass
class Sample:
    """A prompt with what came after it.

    Attributes:
        prompt_ids: tokens before the first answer.
        messages: turns before the last answer.
        turns: number of answers.
        reward: sum of the environment's rewards.
    """

    prompt_ids: list[int]
    messages: list[Message]
    completion: Completion = field(default_factory=Completion)
    turns: int = 1
    reward: float = 0.0


@dataclass(frozen=True)
class Limits:
    """Where an episode ends at the latest.

    Attributes:
        turns: answers.
        drawn: tokens of all its answers together.
        added: tokens behind its prompt, replies included; None for any number.
        context: tokens of prompt and all; None for any number.
    """

    turns: int
    drawn: int
    added: int | None = None
    context: int | None = None

    def room(self, sample: Sample, reply: int = 0) -> int:
        """Tokens that the next answer may have behind a reply of so many; 0 or less: none."""
        completion = sample.completion
        added = len(completion.token_ids) + reply
        rooms = [self.drawn - sum(completion.drawn)]
        if self.added is not None:
            rooms.append(self.added - added)
        if self.context is not None:
            rooms.append(self.context - len(sample.prompt_ids) - added)
        return min(rooms)


@dataclass
class Episode:
    """A sample that is being played."""

    number: int
    sample: Sample
    player: Player
    tools: Tools = None

    def answered(self, answer: Completion) -> None:
        """Go on with what the model drew."""
        completion = self.sample.completion
        completion.add(answer.token_ids, drawn=True)
        completion.text, completion.complete = answer.text, answer.complete

    def replied(self, reply: Turn, chat: ChatTokens, limits: Limits) -> bool:
        """Take the environment's reply; whether the model is to answer again."""
        sample, completion = self.sample, self.sample.completion
        sample.reward += reply.reward
        if reply.done or not completion.complete:
            return False
        completion.complete = False  # from here on a limit ends it, unless another answer does
        if sample.turns == limits.turns:
            return False
        tokens = self._tokens(reply, chat)
        if limits.room(sample, len(tokens)) < 1:
            return False
        sample.messages = [
            *sample.messages,
            {"role": "assistant", "content": completion.text},
            *reply.messages,
        ]
        completion.add(tokens, drawn=False)
        sample.turns += 1
        return True

    def _tokens(self, reply: Turn, chat: ChatTokens) -> list[int]:
        last = self.sample.completion.token_ids[-1]
        try:
            return chat.reply(self.sample.messages, reply.messages, last, self.tools)
        except PluginError as error:
            named = self.player.component.described("rollout")
            raise PluginError(f"{named}: {error.problem}", error.remedy) from error


class Episodes:
    """Plays the episodes of a step.

    Args:
        environments: who replies.
        tokenizer: the model's.
        limits: where episodes end; the context is the caller's to add.

    Raises:
        ModelError: the tokenizer has no chat template.
    """

    def __init__(self, environments: Environments, tokenizer: Any, limits: Limits) -> None:
        self.environments = environments
        self.chat = ChatTokens(tokenizer)
        self.chat.renderer.source()
        self.limits = limits

    def play(
        self,
        engine: Generates,
        samples: Sequence[Sample],
        columns: Sequence[Mapping[str, Any]],
        sampling: SamplingParams,
        seed: Seed,
        context: int | None = None,
    ) -> list[Sample]:
        """Play each sample from its prompt to its end.

        Args:
            samples: prompts with nothing behind them.
            columns: of each sample's row.
            sampling: max_tokens counts all answers of a sample together.
            context: tokens that the model takes.

        Raises:
            PluginError: an environment fails or breaks its contract.
            EngineError: a request failed or never finished.
        """
        limits = replace(self.limits, context=context)
        while True:
            fresh = [replace(sample, completion=Completion()) for sample in samples]
            failure: PluginError | None = None
            try:
                self._play(engine, fresh, columns, sampling, seed, limits)
            except PluginError as error:
                failure = error
            if self.environments.settle(failure):
                return fresh

    def _play(
        self,
        engine: Generates,
        samples: Sequence[Sample],
        columns: Sequence[Mapping[str, Any]],
        sampling: SamplingParams,
        seed: Seed,
        limits: Limits,
    ) -> None:
        players = self.environments.take(len(samples))
        episodes = [
            Episode(number, sample, player, row.get("tools"))
            for number, (sample, player, row) in enumerate(zip(samples, players, columns, strict=True))
        ]
        _together(lambda pair: self._open(*pair), list(zip(episodes, columns, strict=True)))
        running = episodes
        while running:
            requests = [self._request(episode, sampling, seed, limits) for episode in running]
            for episode, answer in zip(running, generate(engine, requests), strict=True):
                episode.answered(answer)
            replies = _together(lambda one: one.player.step(one.sample.completion.text), running)
            running = [
                episode
                for episode, reply in zip(running, replies, strict=True)
                if episode.replied(reply, self.chat, limits)
            ]

    def close(self) -> None:
        """Close the environments."""
        self.environments.close()

    def _open(self, episode: Episode, columns: Mapping[str, Any]) -> None:
        sample = episode.sample
        opening = episode.player.reset(sample.messages, columns)
        if opening is not sample.messages:
            sample.messages = opening
            sample.prompt_ids = self.chat.prompt(opening, episode.tools)

    def _request(
        self, episode: Episode, sampling: SamplingParams, seed: Seed, limits: Limits
    ) -> GenerationRequest:
        sample = episode.sample
        first = sample.turns == 1
        return GenerationRequest(
            request_id=str(episode.number),
            prompt_ids=(*sample.prompt_ids, *sample.completion.token_ids),
            sampling=replace(
                sampling,
                max_tokens=sampling.max_tokens if first else limits.room(sample),
                seed=seed(episode.number, sample.turns - 1),
            ),
        )


def _together(call: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
    """The results of all items, computed in threads."""
    with ThreadPoolExecutor(max_workers=max(1, min(len(items), THREADS))) as pool:
        return list(pool.map(call, items))
