"""Q-GaLore: GaLore with projections in 4 bits that are renewed where they still move, and 8-bit moments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from swift.tuners.optimizers import four_bits
from swift.tuners.optimizers.by_parameter import Group, State
from swift.tuners.optimizers.galore import Galore
from swift.tuners.optimizers.settings import require


class QGalore(Galore):
    r"""GaLore whose bases are stored in 4 bits, and renewed less often once they have settled.

    Each matrix has its own gap. At a renewal the new basis $P'$ is compared with the old one $P$ by

    $$ c = \frac{\lVert P^\top P' \rVert_F^2 / r - r / k}{1 - r / k} $$

    ($k$ rows; 1: the same space, 0: what unrelated spaces have in common). Whenever the mean of the last
    `queue_size` values is above `cos_threshold`, the gap is multiplied by `gamma_proj` and the count begins
    anew.

    Of the paper this class has the 4-bit projections, the lazy renewal and the 8-bit moments. It has not the
    weights in 8 bits: weights stay in the type they were loaded in. The comparison differs from the authors'
    code, which takes the cosine of the first basis vectors alone; that changes with their order and sign.

    Args:
        cos_threshold: c above which a basis counts as settled.
        queue_size: renewals that are averaged.
        gamma_proj: factor of the gap, at least 1.
        kwargs: as in Galore; base is adamw8bit by default, which needs bitsandbytes.

    Raises:
        ConfigError: as Galore, or a setting is out of its range.

    References:
        Zhang et al., "Q-GaLore", arXiv:2407.08296.
    """

    title = "q-galore"

    def __init__(
        self,
        params: Sequence[Tensor],
        lr: float = 1e-3,
        weight_decay: float = 0.0,
        model: nn.Module | None = None,
        *,
        rank: int = 128,
        update_proj_gap: int = 200,
        scale: float = 0.25,
        proj_type: str = "std",
        projection: str = "svd",
        target_modules: Sequence[str] | str = "all-linear",
        base: str = "adamw8bit",
        betas: Sequence[float] = (0.9, 0.999),
        eps: float = 1e-8,
        layerwise: bool = False,
        implementation: str = "fused",
        seed: int = 0,
        cos_threshold: float = 0.4,
        queue_size: int = 5,
        gamma_proj: float = 2.0,
    ) -> None:
        fine = 0 <= cos_threshold <= 1
        require(fine, self.title, "cos_threshold", cos_threshold, "is from 0 to 1")
        require(queue_size >= 1, self.title, "queue_size", queue_size, "is at least 1")
        require(gamma_proj >= 1, self.title, "gamma_proj", gamma_proj, "is at least 1")
        super().__init__(
            params, lr, weight_decay, model, rank=rank, update_proj_gap=update_proj_gap, scale=scale,
            proj_type=proj_type, projection=projection, target_modules=target_modules, base=base, betas=betas,
            eps=eps, layerwise=layerwise, implementation=implementation, seed=seed,
        )  # fmt: skip
        lazy: dict[str, Any] = {
            "cos_threshold": cos_threshold,
            "queue_size": queue_size,
            "gamma_proj": gamma_proj,
        }
        for group in self.param_groups:
            if "rank" in group:
                group.update(lazy)

    def due(self, state: State, group: Group) -> bool:
        """Whether this step takes a new basis."""
        return int(state["step"]) >= int(state.get("next_basis", 1))

    def renew(self, state: State, basis: Tensor, group: Group) -> None:
        """Keep a new basis in 4 bits, and decide when the next one comes."""
        gap = state.get("gap", group["update_proj_gap"])
        if "codes" in state:
            alike = [*state["alike"], overlap(self.basis(state), basis)][-group["queue_size"] :]
            settled = len(alike) == group["queue_size"] and sum(alike) / len(alike) > group["cos_threshold"]
            state["alike"] = [] if settled else alike
            gap = int(gap * group["gamma_proj"]) if settled else gap
        else:
            state["alike"] = []
        state["gap"], state["next_basis"] = gap, state["step"] + gap
        state.update(four_bits.pack(basis))

    def basis(self, state: State) -> Tensor:
        """The present basis, as its 4 bits say it."""
        return four_bits.unpack(state)


def overlap(old: Tensor, new: Tensor) -> float:
    """How much of one space lies in another: 1 all, 0 what chance puts there; the mean of a stack."""
    rows, rank = new.shape[-2:]
    chance = rank / rows
    shared = torch.linalg.matrix_norm(old.mT @ new).square().div(rank).mean().item()
    return (shared - chance) / (1 - chance) if rank < rows else 1.0
