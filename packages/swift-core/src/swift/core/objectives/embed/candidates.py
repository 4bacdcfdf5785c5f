"""Which texts of a batch, and of the other ranks' batches, an anchor is compared with.

Shapes: N anchors with a positive each, P texts of this rank, M texts of all ranks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from swift.core.objectives.embed.gather import gather_ids, gather_rows
from swift.core.objectives.loss_form import EXCLUDED
from swift.core.types import Encoded


@dataclass(frozen=True)
class Texts:
    """The compared texts of a batch.

    Attributes:
        vectors: float32 [P, D].
        keys: int64 [P] the same for equal texts.
        owner_keys: int64 [P] keys of their anchors.
        related: bool [P] whether they are positives.
    """

    vectors: Tensor
    keys: Tensor
    owner_keys: Tensor
    related: Tensor


def text_keys(texts: Sequence[Encoded]) -> Tensor:
    """int64 [P], equal for equal token ids (63 bits of BLAKE2b)."""
    digests = [hashlib.blake2b(text.input_ids.tobytes(), digest_size=8).digest() for text in texts]
    return torch.tensor([int.from_bytes(digest, "little") >> 1 for digest in digests], dtype=torch.int64)


def cosines_with_candidates(
    anchors: Tensor, texts: Texts, *, in_batch: bool, across_ranks: bool
) -> tuple[Tensor, Tensor]:
    """Cosines of each anchor with all candidates, and the column of its positive.

    An anchor with several positives gives one row for each. The others of its positives, and texts that equal
    the row's positive, are no negatives: they are excluded.

    Args:
        anchors: [P, D] the anchor of each text.
        in_batch: compare with the texts of other anchors too.
        across_ranks: and with those of other ranks.

    Returns:
        [N, M] with EXCLUDED where a text is no candidate, and int64 [N].
    """
    vectors, first = gather_rows(texts.vectors) if across_ranks else (texts.vectors, 0)
    mine = [texts.keys, texts.owner_keys, texts.related.long()]
    keys, owners, related = (gather_ids(each) if across_ranks else each for each in mine)
    rows = texts.related.nonzero().squeeze(1)
    column = rows + first
    cosines = anchors[rows] @ vectors.T
    same_owner = owners[None, :] == texts.owner_keys[rows][:, None]
    also_right = (same_owner & related.bool()[None, :]) | (keys[None, :] == texts.keys[rows][:, None])
    excluded = also_right if in_batch else also_right | ~same_owner
    itself = torch.arange(len(vectors), device=column.device)[None, :] == column[:, None]
    return cosines.masked_fill(excluded & ~itself, EXCLUDED), column
