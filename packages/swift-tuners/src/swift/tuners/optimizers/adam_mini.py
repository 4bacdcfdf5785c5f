"""Adam-mini: AdamW with one second moment for each block of weights that belong together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from swift.core.errors import ConfigError
from swift.tuners.optimizers.by_parameter import ByParameter, Group
from swift.tuners.optimizers.settings import adam_settings

QUERY_KEY = {"q_proj", "k_proj"}
"""Last names of layers whose rows belong to heads."""


class AdamMini(ByParameter):
    r"""AdamW with $v \leftarrow \beta_2 v + (1 - \beta_2)\,\mathrm{mean}(g^2)$ over each block.

    Blocks: a head of queries or keys; an output neuron (a row) of any other matrix, so a token of embeddings
    and head, and a row of each expert. Vectors (norms, biases) keep plain AdamW. State: one number a weight
    and one a block, about half of AdamW's. State is float32, whatever the weights are.

    Args:
        params: tensors that train.
        lr: learning rate, that of AdamW.
        weight_decay: decoupled; vectors do not decay.
        model: names the layers and says how wide a head is.
        betas, eps: of Adam.

    Raises:
        ConfigError: a setting is out of its range, or the model does not say how wide its heads are.

    References:
        Zhang et al., "Adam-mini: Use Fewer Learning Rates To Gain More", arXiv:2406.16793.
    """

    def __init__(
        self,
        params: Sequence[Tensor],
        lr: float = 1e-3,
        weight_decay: float = 0.0,
        model: nn.Module | None = None,
        *,
        betas: Sequence[float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        if model is None:
            raise ConfigError(
                "adam-mini needs the model: its blocks go by layers' names and heads",
                "AdamMini(params, lr, model=model)",
            )
        trained = {id(parameter) for parameter in params}
        groups: dict[tuple[str, int], list[Tensor]] = {}
        for name, module in model.named_modules():
            for key, parameter in module.named_parameters(name, recurse=False):
                if id(parameter) in trained:
                    trained.remove(id(parameter))
                    groups.setdefault(_block(model, module, key, parameter), []).append(parameter)
        common = adam_settings("adam-mini", lr, weight_decay, betas, eps)
        super().__init__([_group(*block, members) for block, members in groups.items()], common)

    def update(self, parameter: Tensor, group: Group) -> None:
        """Move one parameter along its gradient."""
        assert parameter.grad is not None
        state, (beta1, beta2) = self.state[parameter], group["betas"]
        gradient = _by_block(parameter.grad.detach().float(), group)
        state["step"] = state.get("step", 0) + 1
        square = _mean(gradient.square(), group["block"])
        if "exp_avg" not in state:
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(gradient), torch.zeros_like(square)
        mean = state["exp_avg"].lerp_(gradient, 1 - beta1)
        second = state["exp_avg_sq"].lerp_(square, 1 - beta2)
        root = (second / (1 - beta2 ** state["step"])).sqrt_().add_(group["eps"])
        move = (mean / (1 - beta1 ** state["step"])).div_(root)
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.add_(move.view(parameter.shape), alpha=-group["lr"])


def _block(model: nn.Module, module: nn.Module, key: str, parameter: Tensor) -> tuple[str, int]:
    """What shares a second moment (element, row, column, head), and the rows of a head."""
    if parameter.ndim < 2:
        return "element", 0
    if isinstance(module, Conv1D):  # its weight is [inputs, outputs]
        return "column", 0
    if not (isinstance(module, nn.Linear) and QUERY_KEY.intersection(key.split(".")[-2:-1])):
        return "row", 0
    width = head_width(model)
    if width is None or parameter.shape[0] % width:
        raise ConfigError(
            f"adam-mini: {key!r} has {parameter.shape[0]} rows, and "
            + ("the model says no head_dim" if width is None else f"heads are {width} wide"),
            "use a model whose config has head_dim or num_attention_heads, or train.optim=adamw_torch",
        )
    return "head", width


def head_width(model: nn.Module) -> int | None:
    """Rows of a head of queries and keys."""
    config: Any = getattr(model, "config", None)
    if config is None:
        return None
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    width: int | None = getattr(text, "head_dim", None)
    heads: int | None = getattr(text, "num_attention_heads", None)
    return width or (text.hidden_size // heads if heads else None)


def _group(block: str, head_width: int, members: list[Tensor]) -> dict[str, Any]:
    settings = {"weight_decay": 0.0} if block == "element" else {}
    return {"params": members, "block": block, "head_width": head_width, **settings}


def _by_block(values: Tensor, group: Group) -> Tensor:
    return values.reshape(-1, group["head_width"] * values.shape[-1]) if group["block"] == "head" else values


def _mean(squares: Tensor, block: str) -> Tensor:
    if block == "element":
        return squares
    return squares.mean(-2 if block == "column" else -1, keepdim=True)
