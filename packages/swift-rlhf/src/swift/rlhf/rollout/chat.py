"""What an environment says, as the tokens that the chat template puts behind the model's own ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from swift.core.errors import PluginError
from swift.core.template.render import Renderer, RenderError
from swift.core.template.spans import closing_pattern
from swift.core.types import Message

_MARK = "\ue0f3\ue0f4"  # private use: no text contains it

Tools = list[dict[str, Any]] | None


class ChatTokens:
    """Turns to token ids, by the tokenizer's own chat template.

    Args:
        tokenizer: that of the model that answers.

    Raises:
        ModelError: on use, when it has no chat template.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.renderer = Renderer(tokenizer)
        self.special = frozenset(tokenizer.all_special_ids)
        self.closing = closing_pattern(tokenizer.all_special_tokens)

    def prompt(self, messages: Sequence[Message], tools: Tools = None) -> list[int]:
        """A conversation up to the model's next turn.

        Raises:
            PluginError: the template refuses these messages.
        """
        return self._tokens(self._render(messages, tools))

    def reply(
        self, before: Sequence[Message], reply: Sequence[Message], last_token: int, tools: Tools = None
    ) -> list[int]:
        """What stands between the model's answer and its next one: the replies with the template's headers.

        The answer itself is not tokenised again: a mark stands in its place. The special token that ended it
        as it was drawn counts as the one by which the template closes a turn.

        Args:
            before: the turns before the answer.
            reply: the turns after it.
            last_token: the last one that the model drew.

        Raises:
            PluginError: the template refuses these messages, or hides where the answer ends.
        """
        text = self._render([*before, {"role": "assistant", "content": _MARK}, *reply], tools)
        if text.count(_MARK) != 1:
            raise PluginError(
                "the chat template does not show the answer once, so nothing can be put behind it",
                "choose another model.chat_template for roll-outs of several turns",
            )
        behind = text.partition(_MARK)[2]
        if last_token not in self.special:
            return self._tokens(behind)
        closed = self.closing.match(behind)
        rest = behind[closed.end() :] if closed else behind
        # behind the token it will stand behind: tokenizers treat the start of a text in their own ways
        anchored = self._tokens(str(self.tokenizer.convert_ids_to_tokens(last_token)) + rest)
        return anchored[1:] if anchored[:1] == [last_token] else self._tokens(rest)

    def _render(self, messages: Sequence[Message], tools: Tools) -> str:
        try:
            return self.renderer.render(messages, tools, generation_prompt=True)
        except RenderError as error:
            roles = ", ".join(str(message.get("role")) for message in messages)
            raise PluginError(
                f"the chat template refuses the turns ({roles}): {error}",
                "reply with roles and contents that the model's chat template takes",
            ) from error

    def _tokens(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])
