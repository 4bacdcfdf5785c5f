"""What a chat is at a moment."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from swift.core.config.schema import InferConfig
from swift.core.engines import facts_of
from swift.core.protocols import Engine
from swift.core.types import GenerationRequest, Message
from swift.infer.prompts import chat_request


@dataclass(slots=True)
class ChatState:
    """The turns so far, and how the next answer is asked for.

    Attributes:
        tokenizer: None where the engine has one of its own.
        config: sampling and system message.
        adapter: that answers; None: the model itself.
        images: encoded files of the next turn.
        asked: requests so far; each draws with a seed of its own.
    """

    engine: Engine
    tokenizer: Any
    config: InferConfig
    adapter: str | None = None
    messages: list[Message] = field(default_factory=list)
    shown: list[bytes] = field(default_factory=list)
    images: list[bytes] = field(default_factory=list)
    asked: int = 0

    def reset(self) -> None:
        """Forget the turns; adapter and parameters stay."""
        self.messages, self.shown, self.images = [], [], []

    def undo(self) -> bool:
        """Forget the last question and its answer; whether there was one."""
        if not self.messages:
            return False
        while self.messages.pop()["role"] != "user":
            pass
        left = sum(len(_image_parts(turn)) for turn in self.messages)
        self.shown = self.shown[:left]
        return True

    def ask(self, line: str) -> GenerationRequest:
        """The request for a new turn of the person, which becomes part of the chat by keep().

        Raises:
            DataError: the chat template refuses it.
        """
        turns = [*self.messages, self._turn(line)]
        request = chat_request(
            f"chat-{self.asked}",
            turns,
            self.tokenizer,
            self.config,
            number=self.asked,
            adapter=self.adapter,
            images=(*self.shown, *self.images),
            reads=facts_of(self.engine).reads,
        )
        self.asked += 1
        return request

    def keep(self, line: str, answer: str) -> None:
        """Let question and answer be part of the chat."""
        self.messages += [self._turn(line), {"role": "assistant", "content": answer}]
        self.shown += self.images
        self.images = []

    def _turn(self, line: str) -> Message:
        if not self.images:
            return {"role": "user", "content": line}
        images = [{"type": "image"} for _ in self.images]
        return {"role": "user", "content": [*images, {"type": "text", "text": line}]}


def _image_parts(turn: Message) -> list[Any]:
    content = turn["content"]
    return [part for part in content if part["type"] == "image"] if isinstance(content, list) else []
