"""Several content filters on one answer."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from swift.core.errors import RAISED_BY_PLUGINS, in_one_line
from swift.core.protocols import AnswerWatch, ContentFilter
from swift.core.types import Message, Review
from swift.infer.server.errors import ApiError

logger = logging.getLogger(__name__)


class Watching(AnswerWatch):
    """Each filter sees what the one before it gives out.

    Attributes:
        stopped: one of them has ended the answer.
    """

    def __init__(self, filters: Sequence[ContentFilter]) -> None:
        self.stopped = False
        try:
            self._watches = [each.watch() for each in filters]
        except RAISED_BY_PLUGINS as error:
            raise failed(error) from error

    def push(self, text: str) -> str:
        """What all of them give out of a further piece.

        Raises:
            ApiError: one of them failed; nothing goes past it unseen.
        """
        return self._through(text, 0)

    def finish(self) -> str:
        """What they held back.

        Raises:
            ApiError: one of them failed.
        """
        rest = ""
        for number, watch in enumerate(self._watches):
            try:
                held = watch.finish()
            except RAISED_BY_PLUGINS as error:
                raise failed(error) from error
            if held and not self.stopped:
                rest += self._through(held, number + 1)
        return rest

    def _through(self, text: str, first: int) -> str:
        for number, watch in enumerate(self._watches[first:], first):
            if self.stopped and number == first:
                return ""
            try:
                text = watch.push(text)
            except RAISED_BY_PLUGINS as error:
                raise failed(error) from error
            self.stopped = self.stopped or watch.stopped
        return text


async def reviewed(
    filters: Sequence[ContentFilter], messages: Sequence[Message], answer: str
) -> Review | None:
    """What the filters say of a finished answer: their notes, and the last replacement.

    Raises:
        ApiError: one of them failed.
    """
    notes: list[str] = []
    replacement: str | None = None
    for each in filters:
        try:
            review = await each.review(messages, answer)
        except RAISED_BY_PLUGINS as error:
            raise failed(error) from error
        if review is not None:
            notes += [review.note] if review.note else []
            if review.replacement is not None:
                answer = replacement = review.replacement
    return Review("; ".join(notes), replacement) if notes or replacement is not None else None


def failed(error: BaseException) -> ApiError:
    """The answer where a filter itself fails."""
    logger.error("a content filter failed: %s", in_one_line(error), exc_info=error)
    return ApiError("a content filter failed", status=500, code="content_filter_failed")
