"""POST /v1/completions with token ids in and out, as vLLM's server and ours take them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from swift.core.types import GenerationRequest, TokenDelta
from swift.infer.engines.http.dialect import FINISH, Reader, Unsupported
from swift.infer.engines.http.faults import ServerFault
from swift.infer.engines.http.logprobs import by_id, likeliest
from swift.infer.engines.http.openai_chat import constrained, drawn, extras


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

    def reader(self, request: GenerationRequest) -> IdsReader:
        """Reads text_completion objects."""
        return IdsReader(request)


class IdsReader(Reader):
    """What an answer has become so far."""

    def __init__(self, request: GenerationRequest) -> None:
        self._id, self._asked = request.request_id, request.sampling.logprobs
        self._finish: str | None = None

    def read(self, event: dict[str, Any]) -> TokenDelta | None:
        """Tokens, text and log-probabilities of one piece.

        Raises:
            ServerFault: a piece without the token ids or log-probabilities that were asked for.
        """
        if not event.get("choices"):
            return None
        choice = event["choices"][0]
        self._finish = choice.get("finish_reason") or self._finish
        ids, text = choice.get("token_ids"), choice.get("text") or ""
        if text and ids is None:
            raise ServerFault("the server gives no token ids", "set infer.sends=chat")
        if not ids and not text:
            return None
        logprobs, tops = self._logprobs(choice.get("logprobs"), len(ids or ()))
        return TokenDelta(self._id, tuple(ids or ()), text, logprobs, tops)

    def end(self) -> TokenDelta | None:
        """Why the answer ended."""
        if self._finish is None:
            return None
        return TokenDelta(self._id, finish_reason=FINISH.get(self._finish, "stop"))

    def _logprobs(
        self, told: dict[str, Any] | None, count: int
    ) -> tuple[tuple[float, ...] | None, tuple[dict[int, float], ...] | None]:
        if self._asked is None:
            return None, None
        values = tuple((told or {}).get("token_logprobs") or ())
        if len(values) != count:
            raise ServerFault(f"the server gives {len(values)} log-probabilities for {count} tokens")
        if not self._asked:
            return values, None
        tops = (told or {}).get("top_logprobs") or ()
        return values, tuple(likeliest(by_id(top or {}), self._asked) for top in tops)
