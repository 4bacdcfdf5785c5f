"""POST /v1/completions with token ids in and out, as vLLM's server and ours take them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from swift.core.types import GenerationRequest
from swift.infer.engines.http.dialect import Unsupported
from swift.infer.engines.http.faults import ServerFault
from swift.infer.engines.http.logprobs import token_id
from swift.infer.engines.http.openai_chat import constrained, drawn, extras
from swift.infer.engines.http.pieces import Piece, PieceReader


@dataclass(frozen=True)
class IdsDialect:
    """The completions API with vLLM's extensions return_token_ids and return_tokens_as_token_ids.

    Attributes:
        model: what is asked for where a request names no adapter.
        served: the server's name of an adapter.
    """

    model: str
    served: Callable[[str], str] = str

    def written(self, request: GenerationRequest) -> tuple[str, dict[str, Any]]:
        """A completion request.

        Raises:
            Unsupported: images, for which this API has no place.
        """
        if request.images:
            raise Unsupported("images cannot be sent with token ids to /v1/completions: set infer.sends=chat")
        sampling = request.sampling
        body = {
            "model": self.model if request.adapter is None else self.served(request.adapter),
            "prompt": list(request.prompt_ids),
            "max_tokens": sampling.max_tokens,
            "stream": True,
            "return_token_ids": True,
            **drawn(sampling),
            **extras(sampling),
            **constrained(sampling.constraint, extended=True),
        }
        if sampling.logprobs is not None:
            body |= {"logprobs": sampling.logprobs, "return_tokens_as_token_ids": True}
        return "/completions", body

    def reader(self, request: GenerationRequest) -> PieceReader:
        """Reads piece()s; the server cuts stop strings out itself."""
        return PieceReader(request, piece, cuts=False)


def piece(event: dict[str, Any]) -> Piece:
    """A text_completion object.

    Raises:
        ServerFault: one with text and without its token ids.
    """
    if not event.get("choices"):
        return Piece()
    choice = event["choices"][0]
    ids, text, told = choice.get("token_ids"), choice.get("text") or "", choice.get("logprobs") or {}
    if text and ids is None:
        raise ServerFault("the server gives no token ids", "set infer.sends=chat")
    return Piece(
        ids=tuple(ids or ()),
        text=text,
        finish=choice.get("finish_reason"),
        logprobs=[(value,) for value in told.get("token_logprobs") or ()],
        tops=[
            [(value, token_id(token)) for token, value in (top or {}).items()]
            for top in told.get("top_logprobs") or ()
        ],
    )
