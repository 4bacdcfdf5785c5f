"""GaLore: Adam in a low-rank space of each matrix's gradient."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, distributed, nn

from swift.core.errors import ConfigError
from swift.kernels.low_rank import Side, add_back_, project, subspace
from swift.tuners.optimizers.by_parameter import ByParameter, Group, State
from swift.tuners.optimizers.matrices import chosen_matrices, hidden_matrices, low_rank_groups
from swift.tuners.optimizers.moments import DIRECTIONS, check_base
from swift.tuners.optimizers.settings import adam_settings, one_of, require

if TYPE_CHECKING:
    from swift.core.config.run import RunConfig

PROJ_TYPES = ("std", "reverse_std", "left", "right")


class Galore(ByParameter):
    r"""AdamW whose moments live in the space of the gradient's first `rank` singular vectors.

    Every `update_proj_gap` steps the basis $P$ is taken anew from the gradient $G$; with $R = P^\top G$ (or
    $G P$) the step is

    $$ W \leftarrow (1 - \eta \lambda) W - \eta\,\alpha\,P\,\frac{\hat m(R)}{\sqrt{\hat v(R)} + \epsilon} $$

    State is float32, whatever the weights are. A matrix `[m, n]` with $m \le n$ keeps $2 r n + m r$ numbers
    instead of $2 m n$. Other parameters (embeddings, head, norms, biases) have the plain optimiser in full
    rank; vectors do not decay. A matrix's gradient is freed as soon as it is projected.

    Args:
        params: tensors that train.
        lr: eta. Usual values are those of AdamW or higher (the authors' is 0.01), since alpha scales them.
        weight_decay: lambda, decoupled.
        model: names the layers; without it every matrix is projected, embeddings too.
        rank: r, below the smaller dimension of the matrices.
        update_proj_gap: steps between two bases.
        scale: alpha.
        proj_type: std projects the smaller dimension, reverse_std the larger one, left and right that side.
        projection: svd, or randomized, which is faster and nearly as good.
        target_modules: names of layers, or all-linear: all linear layers but the head, and stacks of experts.
        base: adamw, adamw8bit (moments in 8 bits by bitsandbytes) or adafactor (no moments of full size).
        betas, eps: of Adam; adafactor does not read them.
        layerwise: update each parameter within the backward pass, so that the gradients never exist at once.
            step() then has nothing left to do. Excludes gradient accumulation, clipping and several ranks.
        implementation: of the projection, see swift.kernels.low_rank.
        seed: of randomized projections.

    Raises:
        ConfigError: a setting is out of its range, or no matrix fits the rank.

    References:
        Zhao et al., "GaLore", arXiv:2403.03507. Layerwise updates: Lv et al., arXiv:2306.09782.
    """

    title = "galore"

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
        base: str = "adamw",
        betas: Sequence[float] = (0.9, 0.999),
        eps: float = 1e-8,
        layerwise: bool = False,
        implementation: str = "fused",
        seed: int = 0,
    ) -> None:
        params, name = list(params), self.title
        require(rank >= 1, name, "rank", rank, "is at least 1")
        require(update_proj_gap >= 1, name, "update_proj_gap", update_proj_gap, "is at least 1")
        require(scale > 0, name, "scale", scale, "is above 0")
        one_of(name, "proj_type", proj_type, PROJ_TYPES)
        one_of(name, "projection", projection, ("svd", "randomized"))
        one_of(name, "base", base, tuple(DIRECTIONS))
        one_of(name, "implementation", implementation, ("fused", "reference"))
        check_base(name, base)
        common = {**adam_settings(name, lr, weight_decay, betas, eps), "base": base}
        chosen = chosen_matrices(hidden_matrices(model, params), target_modules, rank, name)
        low_rank = {
            "rank": rank,
            "update_proj_gap": update_proj_gap,
            "scale": scale,
            "proj_type": proj_type,
            "projection": projection,
            "implementation": implementation,
            "seed": seed,
        }
        super().__init__(low_rank_groups(params, chosen, low_rank), common)
        self._numbers = {parameter: number for number, parameter in enumerate(params)}
        if layerwise:
            _update_in_backward(self, params)

    def update(self, parameter: Tensor, group: Group) -> None:
        """Move one parameter along its gradient."""
        assert parameter.grad is not None
        state = self.state[parameter]
        state["step"] = state.get("step", 0) + 1
        gradient = parameter.grad.detach()
        direction = DIRECTIONS[group["base"]]
        if "rank" not in group:
            move = direction(state, gradient.float(), group)
            parameter.mul_(1 - group["lr"] * group["weight_decay"])
            parameter.add_(move, alpha=-group["lr"])
            return
        side = side_of(parameter, group["proj_type"])
        if self.due(state, group):
            self.renew(state, self._new_basis(parameter, gradient, side, state["step"], group), group)
        basis = self.basis(state)
        low = project(gradient, basis, side, implementation=group["implementation"])
        del gradient
        parameter.grad = None
        move = direction(state, low, group)
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        alpha = -group["lr"] * group["scale"]
        add_back_(parameter, move, basis, side, alpha=alpha, implementation=group["implementation"])

    def due(self, state: State, group: Group) -> bool:
        """Whether this step takes a new basis."""
        return (int(state["step"]) - 1) % int(group["update_proj_gap"]) == 0

    def renew(self, state: State, basis: Tensor, group: Group) -> None:
        """Keep a new basis; the moments stay, as in the paper."""
        state["basis"] = basis

    def basis(self, state: State) -> Tensor:
        """The present basis in float32."""
        basis: Tensor = state["basis"]
        return basis

    def _new_basis(self, parameter: Tensor, gradient: Tensor, side: Side, step: int, group: Group) -> Tensor:
        draw = random.Random(f"galore {group['seed']} {self._numbers[parameter]} {step}")
        return subspace(
            gradient, group["rank"], side, projection=group["projection"], seed=draw.getrandbits(63)
        )

    @classmethod
    def check_run(cls, run: RunConfig, settings: Mapping[str, Any]) -> None:
        """Refuse a run that layerwise updates would get wrong.

        Raises:
            ConfigError: names the setting in the way, and why.
        """
        if not settings.get("layerwise"):
            return
        steps, ways = run.loop.gradient_accumulation_steps, run.device.parallel_method
        reasons = {
            f"train.gradient_accumulation_steps={steps}": (
                steps > 1, "weights would move before the step's gradient is complete",
                "train.gradient_accumulation_steps=1 and a larger batch",
            ),
            f"device.parallel_method={ways}": (
                ways is not None, "each rank would move by its own gradient, before the mean is taken",
                "one process, or layerwise: false",
            ),
            f"train.max_grad_norm={run.optim.max_grad_norm:g}": (
                run.optim.max_grad_norm > 0, "the norm of all gradients is not known while they come in",
                "train.max_grad_norm=0",
            ),
            "train.dtype=float16": (
                run.loop.dtype == "float16", "gradients are still scaled in the backward pass", "bfloat16",
            ),
        }  # fmt: skip
        for setting, (wrong, reason, remedy) in reasons.items():
            if wrong:
                raise ConfigError(
                    f"{setting} does not go with layerwise updates of {cls.title}: {reason}", f"use {remedy}"
                )


def side_of(matrix: Tensor, proj_type: str) -> Side:
    """On which side the basis stands; std gives the smaller basis."""
    tall = matrix.shape[-2] >= matrix.shape[-1]
    sides: dict[str, Side] = {
        "std": "right" if tall else "left",
        "reverse_std": "left" if tall else "right",
        "left": "left",
        "right": "right",
    }
    return sides[proj_type]


def _update_in_backward(optimizer: Galore, params: Sequence[Tensor]) -> None:
    if distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1:
        raise ConfigError(
            f"layerwise updates of {optimizer.title} need one process, and there are "
            f"{distributed.get_world_size()}: each would move by its own gradient",
            "set layerwise: false",
        )

    @torch.no_grad()
    def update(parameter: Tensor) -> None:
        # Looked up anew: loading a state puts other groups in place.
        group = next(each for each in optimizer.param_groups if any(p is parameter for p in each["params"]))
        optimizer.update(parameter, group)
        parameter.grad = None

    for parameter in params:
        parameter.register_post_accumulate_grad_hook(update)  # type: ignore[no-untyped-call]
