"""What an answer has become so far, as content filters let it through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from swift.core.protocols import ContentFilter
from swift.core.types import TokenDelta
from swift.infer.server.answers import Usage
from swift.infer.server.errors import ApiError
from swift.infer.server.filters.chain import Watching
from swift.infer.server.generate import Deltas
from swift.infer.server.schema import Sampled
from swift.infer.server.served import ServedModel


@dataclass(slots=True)
class Heard:
    """One answer.

    Attributes:
        watch: the filters' look at it.
        reason: why it ended; None while it goes on.
        calls: tool calls of an engine that finds them itself.
        usage: (tokens of the prompt, new tokens) of an engine that gives no token ids.
    """

    watch: Watching | None = None
    ids: list[int] = field(default_factory=list)
    reason: str | None = None
    calls: tuple[dict[str, Any], ...] = ()
    usage: tuple[int, int] | None = None
    _parts: list[str] = field(default_factory=list)

    @classmethod
    def under(cls, filters: Sequence[ContentFilter]) -> Heard:
        """An answer that these filters watch."""
        return cls(Watching(filters) if filters else None)

    @property
    def text(self) -> str:
        """What may be shown so far."""
        return "".join(self._parts)

    @property
    def finished(self) -> bool:
        """Nothing more is shown."""
        return self.reason is not None

    def take(self, delta: TokenDelta) -> str:
        """The text to show for a delta."""
        if self.finished:
            return ""
        self.ids += delta.token_ids
        text = delta.text if self.watch is None else self._watched(self.watch, delta)
        self._parts.append(text)
        if delta.finish_reason is not None:
            self.calls, self.usage = delta.tool_calls, delta.usage
            self.reason = self.reason or delta.finish_reason
        return text

    def _watched(self, watch: Watching, delta: TokenDelta) -> str:
        text = watch.push(delta.text)
        if delta.finish_reason is not None and not watch.stopped:
            text += watch.finish()
        if watch.stopped:
            self.reason = "content_filter"
        return text


class Hears(Protocol):
    """One of the answers to a request, which takes its own deltas."""

    @property
    def heard(self) -> Heard:
        """What it has become so far."""
        ...

    def take(self, delta: TokenDelta) -> object:
        """Take a delta."""
        ...


async def hear(deltas: Deltas, answers: Sequence[Hears]) -> None:
    """Give every delta to its answer, until all have ended."""
    async for batch in deltas:
        for index, delta in batch:
            answers[index].take(delta)
        if all_finished(answers):
            return


def all_finished(answers: Sequence[Hears]) -> bool:
    """Whether nothing more of any of them is shown."""
    return all(answer.heard.finished for answer in answers)


def total_usage(prompt_tokens: int, answers: Sequence[Heard]) -> Usage:
    """Tokens of a request with all its answers."""
    told = [answer.usage for answer in answers if answer.usage is not None]
    prompt = max([prompt_tokens, *(usage[0] for usage in told)])
    made = sum(answer.usage[1] if answer.usage is not None else len(answer.ids) for answer in answers)
    return Usage(prompt_tokens=prompt, completion_tokens=made, total_tokens=prompt + made)


def check_shown(served: ServedModel, request: Sampled) -> None:
    """Refuse to show what the engine does not give, or what content filters have not seen.

    Raises:
        ApiError: token ids are asked for, and there are none to show.
        EngineError: the engine has died.
    """
    if (encoder := served.encoder) is not None:
        raise ApiError(
            f"the model {served.name!r} writes no text: use /v1/{encoder.endpoint}",
            param="model",
            code="wrong_task",
        )
    if request.return_token_ids and (served.filters or served.facts.reads == "chat"):
        why = "content filters watch the text" if served.filters else "the engine gives none"
        raise ApiError(f"token ids are not shown: {why}", param="return_token_ids", code="unsupported")
