"""Answers that come as pieces of token ids and text, as every API with ids sends them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from swift.core.types import GenerationRequest, TokenDelta
from swift.infer.engines.http.dialect import FINISH, Reader
from swift.infer.engines.http.logprobs import pairs
from swift.infer.engines.http.stop_strings import StopStrings


@dataclass(frozen=True)
class Piece:
    """What one event says.

    Attributes:
        finish: why the answer ends, in the server's words; None: it goes on.
        logprobs: (log-probability, ...) of each token; None: none are told.
        tops: for each token its likeliest ones as (log-probability, token id, ...).
    """

    ids: tuple[int, ...] = ()
    text: str = ""
    finish: str | None = None
    logprobs: Sequence[Sequence[Any]] | None = None
    tops: Sequence[Sequence[Sequence[Any]]] | None = None


class PieceReader(Reader):
    """What an answer has become so far.

    Args:
        piece: reads an event; raises ServerFault for one that ends the request.
        cuts: stop strings are in the text that the server sends, and are cut out of it here.
    """

    def __init__(
        self, request: GenerationRequest, piece: Callable[[dict[str, Any]], Piece], *, cuts: bool = True
    ) -> None:
        self._id, self._asked, self._piece = request.request_id, request.sampling.logprobs, piece
        self._stops = StopStrings(request.sampling.stop if cuts else ())
        self._finish: str | None = None

    def read(self, event: dict[str, Any]) -> TokenDelta | None:
        """Tokens, text and log-probabilities of one piece.

        Raises:
            ServerFault: the server gave the request up, or log-probabilities are missing.
        """
        piece = self._piece(event)
        self._finish = piece.finish or self._finish
        text = self._stops.push(piece.text)
        self.done = self._stops.found
        if not piece.ids and not text:
            return None
        if self._asked is None:
            return TokenDelta(self._id, piece.ids, text)
        values = pairs(piece.logprobs, piece.tops, len(piece.ids), self._asked)
        return TokenDelta(self._id, piece.ids, text, *values)

    def end(self) -> TokenDelta | None:
        """Why the answer ended, and text that was held back."""
        if self._stops.found:
            return TokenDelta(self._id, finish_reason="stop")
        if self._finish is None:
            return None
        return TokenDelta(self._id, text=self._stops.rest(), finish_reason=FINISH.get(self._finish, "stop"))
