"""Schedule-free AdamW: an average of the weights takes the place of a falling learning rate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from swift.core.errors import ConfigError
from swift.tuners.optimizers.by_parameter import ByParameter, Group
from swift.tuners.optimizers.matrices import plain_groups
from swift.tuners.optimizers.settings import adam_settings, require

if TYPE_CHECKING:
    from swift.core.config.run import RunConfig


class ScheduleFree(ByParameter):
    r"""AdamW on $z$, with gradients at $y = (1 - \beta_1) z + \beta_1 x$ and a running average $x$ of $z$.

    $$ z \leftarrow z - \gamma_t \left( \frac{g(y)}{\sqrt{\hat v} + \epsilon} + \lambda y \right), \quad
       x \leftarrow (1 - c_t) x + c_t z, \quad c_t = \frac{w_t}{\sum_{i \le t} w_i}, \quad
       w_t = t^r \left(\max_{i \le t} \gamma_i\right)^p $$

    The model holds y while it trains. eval() puts x into it, which is to be measured and saved; train() puts
    y back, bit for bit. State: z and v, float32, as much as AdamW's; in eval() y as well.

    Args:
        params: tensors that train.
        lr: gamma after the warm-up; usually 1 to 10 times that of AdamW.
        weight_decay: lambda, at y; vectors do not decay.
        betas: beta_1 of the interpolation, above 0; beta_2 of v.
        eps: epsilon.
        warmup_steps: steps in which gamma rises linearly.
        r: power of the step in the weights of the average.
        weight_lr_power: p.

    Raises:
        ConfigError: a setting is out of its range.

    References:
        Defazio et al., "The Road Less Scheduled", arXiv:2405.15682.
    """

    def __init__(
        self,
        params: Sequence[Tensor],
        lr: float = 2.5e-3,
        weight_decay: float = 0.0,
        model: nn.Module | None = None,
        *,
        betas: Sequence[float] = (0.9, 0.999),
        eps: float = 1e-8,
        warmup_steps: int = 0,
        r: float = 0.0,
        weight_lr_power: float = 2.0,
    ) -> None:
        common = adam_settings("schedule-free", lr, weight_decay, betas, eps)
        require(
            betas[0] > 0,
            "schedule-free",
            "betas",
            betas,
            "are above 0 (the first), for x follows from y and z",
        )
        require(warmup_steps >= 0, "schedule-free", "warmup_steps", warmup_steps, "is at least 0")
        more = {"warmup_steps": warmup_steps, "r": r, "weight_lr_power": weight_lr_power}
        counts = {"step": 0, "weight_sum": 0.0, "highest_lr": 0.0, "averaged": False}
        groups = [group for group in plain_groups(list(params)) if group["params"]]
        super().__init__(groups, {**common, **more, **counts})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One step from y to the next y.

        Raises:
            RuntimeError: the model holds the average.
        """
        if any(group["averaged"] for group in self.param_groups):
            raise RuntimeError("schedule-free: call train() before step(); the model holds the average")
        for group in self.param_groups:
            group["step"] += 1
            group["rate"] = group["lr"] * min(1.0, group["step"] / max(1, group["warmup_steps"]))
            group["highest_lr"] = max(group["highest_lr"], group["rate"])
            weight = group["step"] ** group["r"] * group["highest_lr"] ** group["weight_lr_power"]
            group["weight_sum"] += weight
            group["share"] = weight / group["weight_sum"] if group["weight_sum"] else 0.0
        return super().step(closure)

    def update(self, parameter: Tensor, group: Group) -> None:
        """Move z along the gradient, x towards z, and y between them."""
        assert parameter.grad is not None
        state, (beta1, beta2) = self.state[parameter], group["betas"]
        y, gradient = parameter.detach().float(), parameter.grad.detach().float()
        if "z" not in state:
            state["z"], state["exp_avg_sq"] = y.clone(), torch.zeros_like(y)
        z = state["z"]
        square = state["exp_avg_sq"].mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        root = (square / (1 - beta2 ** group["step"])).sqrt_().add_(group["eps"])
        move = (gradient / root).add_(y, alpha=group["weight_decay"])
        # y = (1 - beta1) z + beta1 x after both have moved, without ever writing x out
        share, rate = group["share"], group["rate"]
        y = y.lerp(z, share).add_(move, alpha=rate * (beta1 * (1 - share) - 1))
        z.sub_(move, alpha=rate)
        parameter.copy_(y)

    @torch.no_grad()
    def eval(self) -> None:
        """Put the average x into the model."""
        for group in self.param_groups:
            if not group["averaged"]:
                for parameter in group["params"]:
                    state = self.state.get(parameter, {})
                    if "z" in state:
                        state["y"] = parameter.detach().clone()
                        x = parameter.float().lerp(state["z"], 1 - 1 / group["betas"][0])
                        parameter.copy_(x)
                group["averaged"] = True

    @torch.no_grad()
    def train(self) -> None:
        """Put y back."""
        for group in self.param_groups:
            if group["averaged"]:
                for parameter in group["params"]:
                    state = self.state.get(parameter, {})
                    if "y" in state:
                        parameter.copy_(state.pop("y"))
                group["averaged"] = False

    @classmethod
    def check_run(cls, run: RunConfig, settings: Mapping[str, Any]) -> None:
        """Refuse a schedule and a second average: this one is what they would be for.

        Raises:
            ConfigError: the schedule is not constant, its warm-up is not that of the optimiser, or ema is on.
        """
        if run.optim.lr_scheduler_type != "constant":
            raise ConfigError(
                f"train.lr_scheduler_type is {run.optim.lr_scheduler_type!r}, and schedule-free needs a "
                "constant learning rate: its average takes the place of a schedule",
                "set train.lr_scheduler_type=constant",
            )
        if run.optim.warmup_steps > 0:
            raise ConfigError(
                f"train.warmup_steps={run.optim.warmup_steps:g} is of a schedule, and schedule-free has none",
                "set train.optim_config.warmup_steps, in steps: it weighs the average too",
            )
        if any(named.name == "ema" for named in run.loop.callbacks):
            raise ConfigError(
                "train.callbacks names ema, and schedule-free averages the weights itself", "leave ema out"
            )
