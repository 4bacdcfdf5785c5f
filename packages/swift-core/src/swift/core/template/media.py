"""How a model family with images, video or audio plugs into the template."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from swift.core.template.render import Rendered
from swift.core.types import Batch, Conversation

if TYPE_CHECKING:
    import torch


@dataclass(slots=True)
class MediaInputs:
    """What a family makes of the media of one conversation.

    Attributes:
        tensors: what the model reads beside the tokens; joined along dimension 0 when collated.
        replacements: what the i-th placeholder in the rendered text becomes.
    """

    tensors: dict[str, torch.Tensor] = field(default_factory=dict)
    replacements: list[str] = field(default_factory=list)


@runtime_checkable
class MediaFamily(Protocol):
    """One family of multimodal models.

    Attributes:
        placeholder: the text that the family's chat template writes for each medium.
    """

    placeholder: str

    def prepare(self, conversation: Conversation) -> MediaInputs:
        """Load and preprocess the media of one conversation, in the order of their placeholders.

        Raises:
            DataError: a file is missing or is not what it should be.
        """
        ...

    def complete(self, batch: Batch) -> Batch:
        """Add what the model derives from tokens and media together (token types, positions) to a batch.

        Raises:
            DataError: tokens and media do not belong together.
        """
        return batch


def has_media(conversation: Conversation) -> bool:
    """Whether a row needs a media family."""
    return bool(conversation.images or conversation.videos or conversation.audios)


def expand(rendered: Rendered, placeholder: str, replacements: list[str]) -> Rendered:
    """Replace the i-th placeholder by the i-th replacement; spans and weights move along.

    Raises:
        ValueError: the counts differ.
    """
    pieces = rendered.text.split(placeholder)
    if len(pieces) - 1 != len(replacements):
        raise ValueError(
            f"the rendered text has {len(pieces) - 1} placeholders {placeholder!r}, "
            f"but there are {len(replacements)} media"
        )
    places: list[tuple[int, int]] = []  # (where a placeholder ends, by how much all that follows moves)
    position, moved = 0, 0
    for piece, replacement in zip(pieces, replacements, strict=False):
        position += len(piece) + len(placeholder)
        moved += len(replacement) - len(placeholder)
        places.append((position, moved))
    text = pieces[0] + "".join(
        replacement + piece for replacement, piece in zip(replacements, pieces[1:], strict=True)
    )

    def shifted(character: int) -> int:
        total = 0
        for end, move in places:
            if end > character:
                break
            total = move
        return character + total

    spans = [(shifted(start), shifted(end)) for start, end in rendered.spans]
    if rendered.weights is None:
        return Rendered(text, spans)
    return Rendered(text, spans, [(shifted(start), shifted(end), by) for start, end, by in rendered.weights])
