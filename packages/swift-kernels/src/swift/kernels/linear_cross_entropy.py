"""Cross-entropy of a linear head (a language model's output layer) without a tensor of all its logits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from swift.kernels._implementation import Implementation

if TYPE_CHECKING:
    from torch import Tensor


def linear_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    bias: Tensor | None = None,
    *,
    softcap: float | None = None,
    logit_scale: float = 1.0,
    temperature: float = 1.0,
    chunk: tuple[int, int] | None = None,
    implementation: Implementation = "auto",
) -> Tensor:
    r"""Negative log-likelihood of one target a row under a linear head, without its logits.

    $$ z_{nv} = \tfrac{1}{T}\,\mathrm{cap}\left(s\,(h_n \cdot w_v + b_v)\right), \qquad
       \ell_n = \log \sum_v e^{z_{nv}} - z_{n t_n}, \qquad \mathrm{cap}(y) = c \tanh(y / c) $$

    On a CPU the logits exist one tile at a time, with a running maximum and sum in the manner of flash
    attention. If neither weight nor bias trains, the gradient of `hidden` is computed in the same pass, so
    that the whole step costs two matrix products; else the backward pass computes the logits once more, and
    sums the weight's gradient in float32. Elsewhere torch's operators do it for some rows at a time.

    Under autocast the products have autocast's precision, as those of `nn.Linear` do; the softmax and all
    sums are float32 or better.

    Args:
        hidden: `[N, H]`, only the rows that have a target.
        weight: `[V, H]`.
        targets: `[N]` integers in `[0, V)`.
        bias: `[V]`.
        softcap: bound of the scaled logits; None: none.
        logit_scale: factor of the logits.
        temperature: divides the logits after both.
        chunk: rows and columns of logits that are in memory at once; default: what fits the cache.
        implementation: `auto`, `native` (CPU, float32 or bfloat16), or `reference` (torch's operators).

    Returns:
        float32 `[N]`, differentiable once for hidden, weight and bias.

    Raises:
        ValueError: shapes that do not belong together, a target outside of the head, a factor that is not
            positive, or `native` for tensors that it does not take.
        RuntimeError: `native` where the compiled module is missing.

    References:
        Wijmans et al., "Cut Your Losses in Large-Vocabulary Language Models", arXiv:2411.09009; Hsu et al.,
        "Liger Kernel", arXiv:2410.10989; the running softmax: Milakov and Gimelshein, arXiv:1805.02867.
    """
    from swift.kernels.cross_entropy.autograd import losses
    from swift.kernels.cross_entropy.plan import Scaling

    scaling = Scaling(logit_scale, softcap, temperature)
    return losses(hidden, weight, targets, bias, scaling, chunk, implementation, False)[0]


def linear_cross_entropy_and_entropy(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    bias: Tensor | None = None,
    *,
    softcap: float | None = None,
    logit_scale: float = 1.0,
    temperature: float = 1.0,
    chunk: tuple[int, int] | None = None,
    implementation: Implementation = "auto",
) -> tuple[Tensor, Tensor]:
    r"""linear_cross_entropy(), and each row's entropy $-\sum_v p_v \log p_v$ in nats.

    The entropies are float32 `[N]`, without gradient.
    """
    from swift.kernels.cross_entropy.autograd import losses
    from swift.kernels.cross_entropy.plan import Scaling

    scaling = Scaling(logit_scale, softcap, temperature)
    nll, entropy = losses(hidden, weight, targets, bias, scaling, chunk, implementation, True)
    assert entropy is not None
    return nll, entropy
