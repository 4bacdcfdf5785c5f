"""From a rendered conversation to the weight of each of its characters."""

from __future__ import annotations

import re

import numpy as np

from swift.core.errors import ConfigError, DataError
from swift.core.template.loss_scale.check import is_weight
from swift.core.template.loss_scale.pieces import Weights, stretches
from swift.core.template.loss_scale.scales import LossScales
from swift.core.template.render import Rendered, Renderer, RenderError
from swift.core.template.request import Request
from swift.core.template.tools import call_region
from swift.core.types import Message, Task


class Weigher:
    """weight of a character = the turn's own "loss" * product of the strategies' weights.

    Weight 0 means not supervised: such tokens count nowhere.

    Args:
        scales: the strategies.
        closing: pattern of what closes a turn (see spans.closing_pattern).
        placeholder: what the template writes for a medium; never learned.
        task: only causal_lm reads weights other than 0 and 1.

    Raises:
        ConfigError: the task has no use for the strategies.
    """

    def __init__(
        self, scales: LossScales, renderer: Renderer, closing: re.Pattern[str], placeholder: str, task: Task
    ) -> None:
        if scales.parts and task not in ("causal_lm", "preference"):
            raise ConfigError(
                f"data.loss_scale is set, but a {task} sample has no turns that are learned",
                "leave data.loss_scale out",
            )
        if scales.whole and task == "preference":
            raise ConfigError(
                "data.loss_scale 'all' is set for pairs, whose prompt both sides share",
                "leave it out: the prompt cancels out of every pair",
            )
        self.scales = scales
        self.renderer = renderer
        self.tail = re.compile(f"(?:{closing.pattern})+\\Z")
        self.placeholder = placeholder
        self.task = task

    def applies(self, request: Request) -> bool:
        """Whether the row's characters weigh differently from what its spans say."""
        return bool(self.scales.parts) or any(flag not in (0, 1) for flag in request.learn)

    def asked(self, request: Request) -> tuple[float, ...]:
        """The turns whose spans have to be known."""
        if not self.scales.whole:
            return request.learn
        return tuple(message["role"] == "assistant" for message in request.messages)

    def weigh(self, request: Request, rendered: Rendered) -> Rendered:
        """The same text with the weights of its characters.

        Args:
            rendered: has a span for each turn that asked() names, in order.

        Raises:
            DataError: a turn's own weight is not a weight, or the task reads no weights.
            RenderError: the calls of a turn cannot be found.
        """
        if not self.applies(request):
            return rendered
        text = rendered.text
        weights = np.full(len(text), 1.0 if self.scales.whole else 0.0)
        indexes = [index for index, flag in enumerate(self.asked(request)) if flag]
        for index, (start, end) in zip(indexes, rendered.spans, strict=True):
            weights[start:end] = self._turn(request, index, text, start, end)
        for match in re.finditer(re.escape(self.placeholder), text) if self.placeholder else ():
            weights[match.start() : match.end()] = 0.0
        if self.task != "causal_lm" and not np.isin(weights, (0.0, 1.0)).all():
            raise DataError(
                f"{request.conversation.origin}: weights other than 0 and 1 are read by stage sft only",
                "set data.loss_scale to strategies of 0 and 1, such as ignore_thinking, or leave it out",
            )
        return Rendered(text, rendered.spans, [run for run in stretches(weights) if run[2] > 0])

    def _turn(self, request: Request, index: int, text: str, start: int, end: int) -> Weights:
        """[end - start] weights of one turn's characters."""
        own = _own_weight(request, index)
        tail = self.tail.search(text[start:end])
        written = text[start : start + tail.start()] if tail else text[start:end]
        message = self._described(request, index, text)
        weights = self.scales.weights(message, written, request.conversation.origin)
        closing = np.full(end - start - len(written), weights[-1])
        weighed: Weights = np.concatenate([weights[:-1], closing]) * own
        return weighed

    def _described(self, request: Request, index: int, text: str) -> Message:
        """The turn with what strategies read beside its own keys."""
        messages = request.messages
        users = [place for place, each in enumerate(messages) if each["role"] == "user" and "was" not in each]
        return {
            **messages[index],
            "last_round": not users or index > users[-1],
            "call_text": self._call_text(request, index, text),
        }

    def _call_text(self, request: Request, index: int, text: str) -> str:
        message = request.messages[index]
        if "call_text" in message or not message.get("tool_calls") or not self.scales.parts:
            return str(message.get("call_text", ""))
        region = call_region(self.renderer, text, request.messages, index, request.tools)
        if region is None:
            raise RenderError(f"cannot tell where the tool calls of turn {index + 1} stand")
        return text[slice(*region)]


def _own_weight(request: Request, index: int) -> float:
    flag = request.learn[index]
    if not is_weight(flag):
        raise DataError(
            f'{request.conversation.origin}: "loss" of turn {index + 1} is {flag!r}',
            "write true, false, or a finite number of at least 0",
        )
    return float(flag)
