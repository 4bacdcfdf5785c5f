"""Hidden states to one vector a text. Shapes: B texts, T tokens, D width."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional


def pool(hidden_BTD: Tensor, mask_BT: Tensor, how: Literal["last", "mean", "cls"]) -> Tensor:
    """The vector of each text, of length 1.

    Args:
        hidden_BTD: of the last layer.
        mask_BT: 1 for tokens, 0 for padding on either side.

    Returns:
        float32 [B, D].
    """
    hidden_BTD = hidden_BTD.float()
    if how == "mean":
        weights_BT1 = mask_BT[..., None].to(hidden_BTD.dtype)
        vectors_BD = (hidden_BTD * weights_BT1).sum(1) / weights_BT1.sum(1)
    else:
        places_T = torch.arange(mask_BT.shape[1], device=mask_BT.device)
        own = mask_BT.bool()
        if how == "last":
            column_B = torch.where(own, places_T, -1).amax(1)
        else:
            column_B = torch.where(own, places_T, mask_BT.shape[1]).amin(1)
        vectors_BD = hidden_BTD[torch.arange(len(hidden_BTD), device=hidden_BTD.device), column_B]
    return functional.normalize(vectors_BD, dim=-1)
