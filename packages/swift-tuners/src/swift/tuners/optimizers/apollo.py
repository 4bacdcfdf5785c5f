"""APOLLO: plain gradients, scaled as AdamW would scale them, which a random low-rank space tells."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from swift.kernels.low_rank import Side, project, subspace
from swift.tuners.optimizers.by_parameter import ByParameter, Group, State
from swift.tuners.optimizers.galore import side_of
from swift.tuners.optimizers.matrices import chosen_matrices, hidden_matrices, low_rank_groups
from swift.tuners.optimizers.moments import adamw, averages
from swift.tuners.optimizers.settings import adam_settings, one_of, require

GROWTH = 1.01
"""Largest growth of an update's norm from one step to the next (Fira, arXiv:2410.01623)."""
PRESETS = {"channel": (128, 1.0), "tensor": (1, 128.0)}
"""scale_type -> rank and scale: APOLLO, and APOLLO-Mini."""


class Apollo(ByParameter):
    r"""SGD in full rank with a factor for every channel, from Adam's moments of a random projection.

    With $R = P^\top G$, $P$ Gaussian of variance $1/r$, and $N = m(R) / (\sqrt{v(R)} + \epsilon)$, a channel
    $j$ (along the larger dimension) has the factor $s_j = \lVert N_j \rVert / \lVert R_j \rVert$, and

    $$ W \leftarrow (1 - \eta \lambda) W
       - \eta \frac{\sqrt{1 - \beta_2^t}}{1 - \beta_1^t} \sqrt{\alpha}\; \mathrm{limit}(s \odot G) $$

    where the limiter lets the norm of an update grow by at most 1 % a step. APOLLO-Mini is
    `scale_type: tensor`: one factor for the matrix, from rank 1. The random basis is drawn anew from its seed
    at each step and not stored, so a matrix `[m, n]` with $m \le n$ keeps $2 r n + 1$ numbers.

    Args:
        params: tensors that train.
        lr: eta.
        weight_decay: lambda, decoupled.
        model: names the layers; without it every matrix is projected, embeddings too.
        rank: r; default 128, and 1 for scale_type=tensor.
        scale: alpha, whose root is the factor; default 1, and 128 for scale_type=tensor.
        scale_type: channel or tensor.
        update_proj_gap: steps between two bases.
        projection: random, or svd (singular vectors of the gradient, which are stored).
        target_modules: names of layers, or all-linear: all linear layers but the head, and stacks of experts.
        betas, eps: of Adam.
        seed: of the bases.

    Raises:
        ConfigError: a setting is out of its range, or no matrix fits the rank.

    References:
        Zhu et al., "APOLLO: SGD-like Memory, AdamW-level Performance", arXiv:2412.05270. Where Adam's bias
        correction goes (after the limiter) and the root of alpha are the authors' code's.
    """

    def __init__(
        self,
        params: Sequence[Tensor],
        lr: float = 1e-3,
        weight_decay: float = 0.0,
        model: nn.Module | None = None,
        *,
        rank: int | None = None,
        scale: float | None = None,
        scale_type: str = "channel",
        update_proj_gap: int = 200,
        projection: str = "random",
        target_modules: Sequence[str] | str = "all-linear",
        betas: Sequence[float] = (0.9, 0.999),
        eps: float = 1e-8,
        seed: int = 0,
    ) -> None:
        one_of("apollo", "scale_type", scale_type, tuple(PRESETS))
        one_of("apollo", "projection", projection, ("random", "svd"))
        usual_rank, usual_scale = PRESETS[scale_type]
        rank, scale = usual_rank if rank is None else rank, usual_scale if scale is None else scale
        require(rank >= 1, "apollo", "rank", rank, "is at least 1")
        require(scale > 0, "apollo", "scale", scale, "is above 0")
        require(update_proj_gap >= 1, "apollo", "update_proj_gap", update_proj_gap, "is at least 1")
        params = list(params)
        common = adam_settings("apollo", lr, weight_decay, betas, eps)
        chosen = chosen_matrices(hidden_matrices(model, params), target_modules, rank, "apollo")
        low_rank = {
            "rank": rank,
            "scale": scale,
            "scale_type": scale_type,
            "update_proj_gap": update_proj_gap,
            "projection": projection,
            "seed": seed,
        }
        super().__init__(low_rank_groups(params, chosen, low_rank), common)
        self._numbers = {parameter: number for number, parameter in enumerate(params)}

    def update(self, parameter: Tensor, group: Group) -> None:
        """Move one parameter along its gradient."""
        assert parameter.grad is not None
        state = self.state[parameter]
        state["step"] = state.get("step", 0) + 1
        gradient = parameter.grad.detach()
        if "rank" in group:
            move = self._scaled(parameter, gradient, state, group)
        else:
            move = adamw(state, gradient.float(), group)
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.add_(move, alpha=-group["lr"])

    def _scaled(self, parameter: Tensor, gradient: Tensor, state: State, group: Group) -> Tensor:
        side = side_of(parameter, "std")
        low = project(gradient, self._basis(parameter, gradient, side, state, group), side)
        mean, square = averages(state, low, group)
        normalised = mean / square.sqrt().add_(group["eps"])
        along: tuple[int, ...] = (-2, -1)
        if group["scale_type"] == "channel":
            along = (-2,) if side == "left" else (-1,)
        factor = _norm(normalised, along) / (_norm(low, along) + 1e-8)
        scaled = gradient.float() * factor
        norm = _norm(scaled, (-2, -1))
        if "norm" in state:
            limiter = (norm / (state["norm"] + 1e-8)).clamp_(min=GROWTH).div_(GROWTH)
            scaled, norm = scaled / limiter, norm / limiter
        state["norm"] = norm
        beta1, beta2 = group["betas"]
        correction = math.sqrt(1 - beta2 ** state["step"]) / (1 - beta1 ** state["step"])
        return scaled.mul_(correction * math.sqrt(group["scale"]))

    def _basis(self, parameter: Tensor, gradient: Tensor, side: Side, state: State, group: Group) -> Tensor:
        period, within = divmod(state["step"] - 1, int(group["update_proj_gap"]))
        if group["projection"] == "svd":
            if within == 0:
                state["basis"] = subspace(gradient, group["rank"], side)
            basis: Tensor = state["basis"]
            return basis
        draw = random.Random(f"apollo {group['seed']} {self._numbers[parameter]} {period}").getrandbits(63)
        generator = torch.Generator(gradient.device).manual_seed(draw)
        *stack, rows, columns = gradient.shape
        shape = (*stack, rows if side == "left" else columns, group["rank"])
        gaussian = torch.randn(shape, generator=generator, device=gradient.device)
        return gaussian.div_(math.sqrt(group["rank"]))


def _norm(values: Tensor, along: tuple[int, ...]) -> Tensor:
    return values.square().sum(along, keepdim=True).sqrt_()
