"""vLLM's server as we speak with it: token ids in and out, with images where there are some."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from swift.core.types import GenerationRequest
from swift.infer.engines.http.dialect import Reader, Unsupported, data_url
from swift.infer.engines.http.logprobs import token_id
from swift.infer.engines.http.openai_ids import IdsDialect
from swift.infer.engines.http.pieces import Piece, PieceReader
from swift.infer.engines.vllm.sampling import fields


@dataclass(frozen=True)
class VllmDialect:
    """Text by /v1/completions; images beside token ids by /inference/v1/generate, which alone has both.

    The second path puts an image's tokens into the place of its placeholder in our ids: no chat template of
    the server's comes between.

    Attributes:
        name: the server's name of what a request asks for; None: of the model itself.
        images: the model takes them.
    """

    name: Callable[[str | None], str]
    images: bool = False

    def written(self, request: GenerationRequest) -> tuple[str, dict[str, Any]]:
        """A completion or generate request.

        Raises:
            Unsupported: images for a model that takes none.
        """
        if not request.images:
            path, body = IdsDialect(self.name(None), self.name).written(request)
            return f"/v1{path}", body
        if not self.images:
            raise Unsupported("this model takes no images; send text only")
        sampling = request.sampling
        if sampling.logprobs:  # the drawn token takes one of the places, likely or not
            sampling = replace(sampling, logprobs=sampling.logprobs + 1)
        return "/inference/v1/generate", {
            "model": self.name(request.adapter),
            "token_ids": list(request.prompt_ids),
            "content_parts": [{"type": "image_url", "url": data_url(image)} for image in request.images],
            "sampling_params": fields(sampling),
            "output_mode": "text",
            "stream": True,
        }

    def reader(self, request: GenerationRequest) -> Reader:
        """Reads what either path sends; the server cuts stop strings out itself."""
        if request.images:
            return PieceReader(request, piece, cuts=False)
        return IdsDialect(self.name(None)).reader(request)


def piece(event: dict[str, Any]) -> Piece:
    """An event of /inference/v1/generate in its output mode "text"."""
    if not event.get("choices"):
        return Piece()
    choice = event["choices"][0]
    tokens = (choice.get("logprobs") or {}).get("content") or ()
    return Piece(
        ids=tuple(choice.get("token_ids") or ()),
        text=choice.get("text") or "",
        finish=choice.get("finish_reason"),
        logprobs=[(token["logprob"],) for token in tokens],
        tops=[
            [(top["logprob"], token_id(top["token"])) for top in token.get("top_logprobs") or ()]
            for token in tokens
        ],
    )
