"""Texts to tokens, by the very template that training has for the task."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from swift.core.errors import DataError
from swift.core.template.agent.format import user_turn
from swift.core.template.chat import ChatTemplate
from swift.core.types import Conversation, Encoded, Message
from swift.infer.encode.record import EncodeSettings

Ids = tuple[int, ...]
ENOUGH = 2**31 - 1  # too long a text is an error of its own, never cut


class TextReader:
    """What a task makes of texts; may be called from several threads.

    Args:
        max_length: most tokens of a text, or of a query with one document; None: no limit.
    """

    def __init__(self, tokenizer: Any, settings: EncodeSettings, max_length: int | None) -> None:
        self.max_length = max_length
        self.vocabulary = len(tokenizer)
        self._template = ChatTemplate(tokenizer, max_length=ENOUGH, task=settings.task)
        self._guard = threading.Lock()

    def texts(self, texts: Sequence[str]) -> list[Ids]:
        """Tokens of each text.

        Raises:
            DataError: one is too long, empty, or no text that UTF-8 can write.
        """
        # a row of training is a text and those that it is compared with
        return self._tokens(texts[0], texts[1:] or texts[:1])[: len(texts)]

    def pairs(self, query: str, documents: Sequence[str]) -> list[Ids]:
        """Tokens of the query with each document.

        Raises:
            DataError: as texts().
        """
        return self._tokens(query, documents)

    def known(self, ids: Sequence[int], number: int) -> Ids:
        """Token ids that a client chose.

        Raises:
            DataError: too many, none, or one that is not the tokenizer's.
        """
        strange = next((token for token in ids if not 0 <= token < self.vocabulary), None)
        if strange is not None:
            raise DataError(f"token id {strange} is outside the vocabulary of {self.vocabulary}")
        return self._fitting(tuple(ids), number)

    def _tokens(self, first: str, others: Sequence[str]) -> list[Ids]:
        for text in (first, *others):
            _check(text)
        turns = [[_turn(text)] for text in others]
        row = Conversation(messages=[_turn(first)], positives=turns, origin="the request")
        with self._guard:
            sample = self._template.encode([row])[0]
        samples: list[Encoded] = [sample, *sample.others]
        return [self._fitting(tuple(one.input_ids.tolist()), number) for number, one in enumerate(samples)]

    def _fitting(self, ids: Ids, number: int) -> Ids:
        if not ids:
            raise DataError(f"text {number} holds no token", "leave it out")
        if self.max_length is not None and len(ids) > self.max_length:
            raise DataError(
                f"text {number} has {len(ids)} tokens, and this model reads {self.max_length}", "cut it"
            )
        return ids


def _turn(text: str) -> Message:
    return user_turn(text)


def _check(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"a text holds {text[error.start]!r}, half of a surrogate pair") from error
