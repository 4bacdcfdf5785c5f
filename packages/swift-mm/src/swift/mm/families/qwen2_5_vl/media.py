"""Images of one conversation as Qwen2-VL and Qwen2.5-VL read them: patches, grids and pad tokens."""

from __future__ import annotations

from typing import Any

import torch

from swift.core.errors import DataError
from swift.core.template.media import MediaFamily, MediaInputs
from swift.core.types import Batch, Conversation
from swift.mm.families.qwen2_5_vl.positions import flat_positions
from swift.mm.media.image import load_image


class Qwen25VLMedia(MediaFamily):
    """Every image becomes t * h * w / merge^2 pad tokens in the place of one.

    Args:
        processor: Qwen2_5_VLProcessor or Qwen2VLProcessor.
        max_pixels: larger images are scaled down to this area; None leaves the processor's own limit. It is
            set on the processor, so that it is saved with the model.
    """

    def __init__(self, processor: Any, max_pixels: int | None = None) -> None:
        self.images = processor.image_processor
        self.placeholder: str = processor.image_token
        self.image_token_id: int = processor.image_token_id
        if max_pixels is not None:
            self.images.size = {**dict(self.images.size), "longest_edge": max_pixels}

    def prepare(self, conversation: Conversation) -> MediaInputs:
        """pixel_values float32 [patches, 3 * 2 * 14 * 14] and image_grid_thw int64 [images, 3].

        Raises:
            DataError: an image cannot be loaded or is too narrow; or there is video or audio.
        """
        if conversation.videos or conversation.audios:
            kind = "video" if conversation.videos else "audio"
            raise DataError(
                f"{conversation.origin}: the row has {kind}, and this package reads only images so far",
                "remove the column, or set data.on_error=skip",
            )
        loaded = [load_image(source, conversation.origin) for source in conversation.images]
        try:
            tensors = self.images(images=loaded, return_tensors="pt")
        except ValueError as error:  # an aspect ratio above 200
            raise DataError(f"{conversation.origin}: an image does not fit the model: {error}") from error
        grids = tensors["image_grid_thw"]
        return MediaInputs(
            tensors={"pixel_values": tensors["pixel_values"], "image_grid_thw": grids},
            replacements=[self.placeholder * count for count in self.token_counts(grids)],
        )

    def token_counts(self, grids_thw: torch.Tensor) -> list[int]:
        """Tokens of each image: its patches, merge_size x merge_size of which become one."""
        counts: list[int] = (grids_thw.prod(-1) // self.images.merge_size**2).tolist()
        return counts

    def complete(self, batch: Batch) -> Batch:
        """Add what says where images stand: token types [B, T], or for flat batches positions [4, 1, T].

        Raises:
            DataError: the text itself holds image tokens that no image belongs to.
        """
        grids = batch.get("image_grid_thw")
        types = (batch["input_ids"] == self.image_token_id).long()
        expected = sum(self.token_counts(grids)) if grids is not None else 0
        if int(types.sum()) != expected:
            raise DataError(
                f"a batch has {int(types.sum())} image tokens, but its images have {expected}",
                f"remove {self.placeholder!r} from the texts: it stands only where an image does",
            )
        if "cu_seq_lens_q" in batch:
            positions = flat_positions(types[0], batch["cu_seq_lens_q"], grids, self.images.merge_size)
            return {**batch, "position_ids": positions}
        return batch if grids is None else {**batch, "mm_token_type_ids": types}
