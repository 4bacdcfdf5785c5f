"""Muon for hidden matrices and AdamW for everything else, as one optimiser with one state."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from swift.core.errors import ConfigError
from swift.tuners.optimizers.by_parameter import Group, State, refuse_shards
from swift.tuners.optimizers.matrices import hidden_matrices, plain_groups
from swift.tuners.optimizers.settings import adam_settings, one_of, require

ADJUSTMENTS = ("match_rms_adamw", "original")
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic iteration: the steepest slope at zero (Jordan et al.); torch.optim.Muon has the same."""


class Muon(Optimizer):
    r"""torch.optim.Muon for the weights of linear layers, torch.optim.AdamW for the rest.

    A matrix moves along its momentum made orthogonal, $B \leftarrow \mu B + (1 - \mu) G$,
    $W \leftarrow (1 - \eta \lambda) W - \eta\,\rho\,\mathrm{NS}(\mu B + (1 - \mu) G)$. With
    `match_rms_adamw` $\rho = 0.2 \sqrt{\max(m, n)}$, so that AdamW's learning rate fits both parts.
    Stacks of experts' matrices `[experts, m, n]`, which torch.optim.Muon does not take, move by the same
    formulas, each matrix for itself. State: one number a weight for matrices, two for the rest.

    Args:
        params: tensors that train.
        lr: of both parts.
        weight_decay: decoupled; vectors do not decay.
        model: names the layers; without it every matrix is made orthogonal, embeddings too.
        momentum: mu.
        nesterov: whether the gradient is mixed in once more.
        ns_steps: Newton-Schulz iterations.
        adjust_lr_fn: match_rms_adamw, or original: rho = sqrt(max(1, m / n)), for rates around 0.02.
        adamw_lr: learning rate of AdamW's part, under the same schedule; default: lr.
        betas, eps: of AdamW.

    Raises:
        ConfigError: a setting is out of its range, or no matrix trains.

    References:
        Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024;
        Liu et al., "Muon is Scalable for LLM Training", arXiv:2502.16982.
    """

    def __init__(
        self,
        params: Sequence[Tensor],
        lr: float = 1e-3,
        weight_decay: float = 0.0,
        model: nn.Module | None = None,
        *,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_steps: int = 5,
        adjust_lr_fn: str = "match_rms_adamw",
        adamw_lr: float | None = None,
        betas: Sequence[float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        adam = adam_settings("muon", lr if adamw_lr is None else adamw_lr, weight_decay, betas, eps)
        require(lr >= 0, "muon", "lr", lr, "is at least 0")
        require(0 <= momentum < 1, "muon", "momentum", momentum, "is at least 0 and below 1")
        require(1 <= ns_steps < 100, "muon", "ns_steps", ns_steps, "is from 1 to 99")
        one_of("muon", "adjust_lr_fn", adjust_lr_fn, ADJUSTMENTS)
        params = list(params)
        hidden = list(hidden_matrices(model, params).values())
        if not hidden:
            raise ConfigError(
                "muon works on matrices of linear layers, and none of them trains", "use adamw_torch"
            )
        for parameter in hidden:
            refuse_shards("muon", parameter)
        ours = {
            "lr": lr, "weight_decay": weight_decay, "momentum": momentum, "nesterov": nesterov,
            "ns_steps": ns_steps, "adjust_lr_fn": adjust_lr_fn,
        }  # fmt: skip
        known = {id(parameter) for parameter in hidden}
        rest = [parameter for parameter in params if id(parameter) not in known]
        groups = [
            {"params": [each for each in hidden if each.ndim == 2], "kind": "matrices", **ours},
            {"params": [each for each in hidden if each.ndim == 3], "kind": "stacks", **ours},
            *({"kind": "rest", **adam, **group} for group in plain_groups(rest)),
        ]
        super().__init__([group for group in groups if group["params"]], {})
        self._link()

    def _link(self) -> None:
        """Let torch's optimisers work on the groups and the state of this one, which are the only ones."""
        parts: dict[str, Callable[[Any], Optimizer]] = {
            "matrices": torch.optim.Muon,
            "rest": torch.optim.AdamW,
        }
        self._parts: list[Optimizer] = []
        for kind, make in parts.items():
            mine = [group for group in self.param_groups if group["kind"] == kind]
            if mine:
                part = make([dict(group) for group in mine])
                for group, completed in zip(mine, part.param_groups, strict=True):
                    group.update(completed)
                part.param_groups, part.state = mine, self.state
                self._parts.append(part)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from state_dict()."""
        super().load_state_dict(dict(state_dict))
        self._link()

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One step of all parts."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self._parts:
            part.step()
        for group in self.param_groups:
            if group["kind"] == "stacks":
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        _move_stack(parameter, self.state[parameter], group)
        return loss


def _move_stack(parameter: Tensor, state: State, group: Group) -> None:
    gradient, momentum = parameter.grad, group["momentum"]
    assert gradient is not None
    buffer = state.setdefault("momentum_buffer", torch.zeros_like(gradient)).lerp_(gradient, 1 - momentum)
    mixed = gradient.lerp(buffer, momentum) if group["nesterov"] else buffer
    rows, columns = parameter.shape[-2:]
    ratio = max(1.0, rows / columns) ** 0.5
    if group["adjust_lr_fn"] == "match_rms_adamw":
        ratio = 0.2 * max(rows, columns) ** 0.5
    parameter.mul_(1 - group["lr"] * group["weight_decay"])
    parameter.add_(orthogonal(mixed, group["ns_steps"]), alpha=-group["lr"] * ratio)


def orthogonal(matrices: Tensor, steps: int) -> Tensor:
    r"""Each matrix $U S V^\top$ with its singular values moved close to 1, in bfloat16.

    `steps` times $X \leftarrow a X + (b A + c A^2) X$ with $A = X X^\top$, from $X$ scaled to norm 1.

    Args:
        matrices: `[..., m, n]`.
        steps: iterations; 5 bring singular values into about [0.7, 1.2].
    """
    a, b, c = COEFFICIENTS
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.bfloat16()
    x = x.mT if tall else x
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp(min=1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    result: Tensor = x.mT if tall else x
    return result
