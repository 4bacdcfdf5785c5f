"""Images of a prompt: placeholders become as many tokens as the model wants, with tensors and positions.

Shapes: T tokens of the expanded prompt.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any

import torch

from swift.core.errors import DataError, EngineError
from swift.core.template.families import media_family
from swift.core.template.media import MediaFamily
from swift.core.types import Batch, Conversation, GenerationRequest


@dataclass(slots=True, frozen=True, eq=False)
class Media:
    """What the model reads beside the tokens of one prompt.

    Attributes:
        tensors: by the names of the model's arguments.
        positions: int64 [P, 1, T], or None where they simply count.
        shift: what the position of a later token is beyond its number.
        digest: of the images; equal prompts with other images are other prompts.
    """

    tensors: dict[str, torch.Tensor]
    positions: torch.Tensor | None
    shift: int
    digest: bytes

    def inputs(self, length: int, device: torch.device, dtype: torch.dtype) -> Batch:
        """Arguments of the model for the pass that reads the first tokens; floats in its precision."""
        inputs = {
            name: tensor.to(device, dtype) if tensor.is_floating_point() else tensor.to(device)
            for name, tensor in self.tensors.items()
        }
        if self.positions is not None:
            inputs["position_ids"] = self.positions[..., :length].to(device)
        return inputs


class MediaReader:
    """Images for one model.

    Args:
        processor: of the model; with a plain tokenizer, or for a model that reads none, images are refused.
        config: the model's.
    """

    def __init__(self, processor: Any, config: Any) -> None:
        self._tokenizer = getattr(processor, "tokenizer", processor)
        self._model_type = str(getattr(config, "model_type", ""))
        self._family: MediaFamily | None = media_family(processor, self._model_type)

    @property
    def reads(self) -> bool:
        """Whether the model takes images."""
        return self._family is not None

    def read(self, request: GenerationRequest) -> tuple[GenerationRequest, Media]:
        """The request with its placeholders expanded, and what its images are to the model.

        Raises:
            EngineError: the model takes no images.
            DataError: an image cannot be read, or images and placeholders are not equally many.
        """
        if self._family is None:
            raise EngineError(
                f"the request has {len(request.images)} images, and the model ({self._model_type}) is served "
                "without any",
                "send text only, or serve a multimodal model of a family that is installed (swift-mm)",
            )
        made = self._family.prepare(
            Conversation(images=list(request.images), origin=f"request {request.request_id}")
        )
        ids = self._expanded(request.prompt_ids, made.replacements)
        flat = {
            "input_ids": torch.tensor([ids]),
            "cu_seq_lens_q": torch.tensor([0, len(ids)]),
            **made.tensors,
        }
        positions = self._family.complete(flat).get("position_ids")
        # the last three rows are time, height and width; a row before them holds the places
        shift = 0 if positions is None else int(positions[-3:].max()) + 1 - len(ids)
        digest = hashlib.sha256()
        for image in request.images:
            digest.update(hashlib.sha256(image).digest())
        return replace(request, prompt_ids=ids), Media(made.tensors, positions, shift, digest.digest())

    def _expanded(self, ids: tuple[int, ...], replacements: list[str]) -> tuple[int, ...]:
        """The prompt with its i-th placeholder token replaced by the tokens of the i-th replacement."""
        assert self._family is not None
        placeholder = self._tokenizer.convert_tokens_to_ids(self._family.placeholder)
        count = ids.count(placeholder)
        if count != len(replacements):
            raise DataError(
                f"the prompt has {count} placeholders {self._family.placeholder!r}, the request "
                f"{len(replacements)} images",
                "write one placeholder for each image, as the chat template does",
            )
        if ids[-1] == placeholder:
            raise DataError(
                "the prompt ends with an image", "write text behind it, as the chat template does"
            )
        pieces = iter(self._tokenizer(replacements, add_special_tokens=False)["input_ids"])
        expanded: list[int] = []
        for token in ids:
            expanded += next(pieces) if token == placeholder else (token,)
        return tuple(expanded)
