"""Positions of Qwen2-VL's multimodal rotary embedding (arXiv 2409.12191), for several sequences in one row.

A text token's time, height and width are one running number. The tokens of an image that starts at number s
share the time s, and have height s + row and width s + column; the text after it goes on at s + max(rows,
columns).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor


def flat_positions(types_T: Tensor, boundaries: Tensor, grids_thw: Tensor | None, merge_size: int) -> Tensor:
    """int64 [4, 1, T]: the place within the sequence, where attention sees the boundaries, then the three.

    Args:
        types_T: 1 where a token belongs to an image, else 0.
        boundaries: 0 = b_0 < ... < b_N = T; sequence i holds tokens b_i to b_{i+1} - 1.
        grids_thw: [images, 3] patches of each image in time, height and width, in their order in the row.
        merge_size: merge_size x merge_size patches become one token.
    """
    grids = iter(grids_thw.tolist() if grids_thw is not None else ())
    spans = list(itertools.pairwise(boundaries.tolist()))
    places_T = torch.cat([torch.arange(end - start) for start, end in spans])
    positions_3T = torch.cat(
        [sequence_positions(types_T[start:end], grids, merge_size) for start, end in spans], dim=1
    )
    return torch.cat([places_T[None], positions_3T])[:, None]


def sequence_positions(types_T: Tensor, grids: Iterator[list[int]], merge_size: int) -> Tensor:
    """int64 [3, T]: time, height and width of one sequence; takes as many grids as it has images."""
    parts: list[Tensor] = []
    number = place = 0
    while place < len(types_T):
        if types_T[place] == 1:
            time, height, width = next(grids)
            rows, columns = height // merge_size, width // merge_size
            axes = [torch.arange(size) for size in (time, rows, columns)]
            part = torch.stack(torch.meshgrid(*axes, indexing="ij")).reshape(3, -1)
            step = max(rows, columns)
        else:
            ahead = types_T[place:].nonzero()
            step = int(ahead[0]) if len(ahead) else len(types_T) - place
            part = torch.arange(step).expand(3, -1)
        parts.append(part + number)
        number += step
        place += part.shape[1]
    return torch.cat(parts, dim=1)
